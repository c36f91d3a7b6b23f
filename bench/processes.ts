/** Starts every process of a run, each on its core, and ends exactly those when the run is over or broken off. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { openSync, closeSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export type Launch = {
  /** null: no pinning, where the machine has one core. */
  core: number | null;
  environment?: Readonly<Record<string, string>>;
  workingDirectory?: string;
  /** stdout and stderr go to this file; a refusal to start is explained from it. */
  logFile: string;
};

export type RunningProcess = {
  pid: number;
  hasEnded(): boolean;
  /** The last lines that it printed. */
  lastWords(): string;
  stop(): Promise<void>;
  /** Without asking, for what would first wait for a load balancer. */
  kill(): Promise<void>;
};

export type Processes = {
  start(command: string, args: readonly string[], launch: Launch): RunningProcess;
  stopAll(): Promise<void>;
};

export function pinned(command: string, args: readonly string[], core: number | null): [string, string[]] {
  return core === null ? [command, [...args]] : ['taskset', ['-c', String(core), command, ...args]];
}

const stopPatienceMs = 3_000;

function ended(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (ended(child)) return;
  const exit = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const patience = new AbortController();
  await Promise.race([exit, sleep(stopPatienceMs, undefined, { signal: patience.signal }).catch(() => undefined)]);
  patience.abort();
  await killChild(child);
}

async function killChild(child: ChildProcess): Promise<void> {
  if (ended(child)) return;
  const exit = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exit;
}

export function createProcesses(): Processes {
  const children = new Set<ChildProcess>();
  return {
    start(command, args, launch) {
      const log = openSync(launch.logFile, 'a');
      const [program, words] = pinned(command, args, launch.core);
      const child = spawn(program, words, {
        stdio: ['ignore', log, log],
        cwd: launch.workingDirectory,
        env: { ...inheritedEnvironment(), ...launch.environment },
      });
      closeSync(log);
      children.add(child);
      child.once('exit', () => children.delete(child));
      if (child.pid === undefined) throw new Error(`${command} did not start`);
      return {
        pid: child.pid,
        hasEnded: () => ended(child),
        lastWords: () => readFileSync(launch.logFile, 'utf8').trim().split('\n').slice(-6).join('\n').slice(-1500),
        stop: () => stopChild(child),
        kill: () => killChild(child),
      };
    },
    async stopAll() {
      await Promise.all([...children].map(stopChild));
    },
  };
}

/** Subjects get what they are given and nothing that happens to lie in the shell: results must not depend on it. */
function inheritedEnvironment(): Record<string, string> {
  const names = ['PATH', 'HOME', 'LANG', 'TMPDIR'];
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** Moves a living process, threads and all, to a core. False when that is not allowed. */
export function pinProcess(pid: number, core: number): boolean {
  return spawnSync('taskset', ['-apc', String(core), String(pid)]).status === 0;
}
