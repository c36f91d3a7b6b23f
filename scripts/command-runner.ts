/** Runs one command at a time and ends it when a signal asks for that, so that the caller can clean up afterwards. */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const interruptGraceMs = 3000;

export type CommandRunner = {
  /** Resolves to true when the command succeeded; false at once after an interruption. */
  run(
    command: string,
    args: readonly string[],
    options?: {
      environment?: Readonly<Record<string, string>>;
      /** Gets stdout line by line; without it the command writes to ours. */
      takeLine?: (line: string) => void;
    },
  ): Promise<boolean>;
  /** The exit code of an interrupted run, otherwise null. */
  interruptedCode(): number | null;
};

export function createCommandRunner(root: string): CommandRunner {
  let current: ChildProcess | null = null;
  let code: number | null = null;
  const interrupt = (signal: NodeJS.Signals): void => {
    // Whoever asks twice waits for nothing; servers are then killed by their exit hook.
    if (code !== null) process.exit(code);
    code = 128 + constants.signals[signal];
    const child = current;
    // A terminal sends its Ctrl-C to the running command too, which then deserves the time to end by itself.
    if (signal === 'SIGINT') setTimeout(() => child?.kill('SIGTERM'), interruptGraceMs).unref();
    else child?.kill(signal);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt);

  return {
    interruptedCode: () => code,
    async run(command, args, { environment = {}, takeLine } = {}) {
      if (code !== null) return false;
      const path = `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`;
      const child = spawn(command, args, {
        cwd: root,
        stdio: ['inherit', takeLine === undefined ? 'inherit' : 'pipe', 'inherit'],
        env: { ...process.env, PATH: path, ...environment },
      });
      current = child;
      if (child.stdout !== null && takeLine !== undefined) createInterface(child.stdout).on('line', takeLine);
      const exitCode = await new Promise<number | null>((resolve, reject) => {
        child.once('error', reject);
        child.once('close', resolve);
      });
      current = null;
      return exitCode === 0 && code === null;
    },
  };
}
