/**
 * A server that a test run starts for itself: in a temporary directory, on a free port, under an account that it
 * accepts. It takes a command and gives a handle; it must never outlive this process, nor touch a server of others:
 * everything is stopped by the pid that was started here.
 */
import { spawn } from 'node:child_process';
import { chownSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const readyTimeoutMs = 30_000;
const pollIntervalMs = 50;

export type Account = { uid: number; gid: number };

export type RunningServer = {
  url: string;
  version: string;
  pid: number | undefined;
  /** Resolves when the process and its directory are gone. */
  stop: () => Promise<void>;
};

export type Answer = { version: string } | { failure: string };

export async function findFreePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port');
  return address.port;
}

/** Another account cannot enter a TMPDIR inside root's home, so it gets its directory in /tmp. */
export function makeServerDirectory(name: string, account: Account | null): string {
  const directory = mkdtempSync(join(account === null ? tmpdir() : '/tmp', `tollgate-${name}-`));
  if (account !== null) chownSync(directory, account.uid, account.gid);
  return directory;
}

/** Starts the program and waits until it answers; throws with the last line that it said. Its directory is removed with it. */
export async function startServer(options: {
  program: string;
  args: readonly string[];
  directory: string;
  account: Account | null;
  url: string;
  probe: (url: string) => Promise<Answer>;
  stopSignal: NodeJS.Signals;
  /** For the moment when this process ends without having waited. */
  abandonSignal: NodeJS.Signals;
}): Promise<RunningServer> {
  const child = spawnServer(options);
  const abandon = (): void => {
    child.kill(options.abandonSignal);
    try {
      removeDirectory(options.directory);
    } catch {
      // The dying server may still write into it, and nobody is left to wait for that.
    }
  };
  process.once('exit', abandon);
  const stop = async (): Promise<void> => {
    child.kill(options.stopSignal);
    await child.exited;
    process.removeListener('exit', abandon);
    removeDirectory(options.directory);
  };
  const deadlineMs = Date.now() + readyTimeoutMs;
  while (!child.hasExited() && Date.now() < deadlineMs) {
    const answer = await options.probe(options.url);
    if ('version' in answer) return { url: options.url, version: answer.version, pid: child.pid, stop };
    await delay(pollIntervalMs);
  }
  const reason = child.lastWords() || 'it did not answer in time';
  await stop();
  throw new Error(reason);
}

function spawnServer(options: {
  program: string;
  args: readonly string[];
  directory: string;
  account: Account | null;
}) {
  const logPath = join(options.directory, 'server.log');
  const log = openSync(logPath, 'a');
  // Detached: a Ctrl-C at the terminal must reach the tests first, and the server only when they are done.
  const child = spawn(options.program, options.args, {
    cwd: options.directory,
    detached: true,
    stdio: ['ignore', log, log],
    ...options.account,
  });
  closeSync(log);
  let spawnFailure = '';
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', (error) => {
      spawnFailure = error.message;
      resolve();
    });
  });
  return {
    pid: child.pid,
    exited,
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    hasExited: () => spawnFailure !== '' || child.exitCode !== null || child.signalCode !== null,
    lastWords: () => spawnFailure || (readFileSync(logPath, 'utf8').trim().split('\n').at(-1) ?? ''),
  };
}

export function removeDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
}

/** The version in `--version` output such as `postgres (PostgreSQL) 15.3` or `Redis server v=7.0.15 sha=…`. */
export function readVersion(text: string): string | null {
  return /(?:v=|\) )(\d+(?:\.\d+)*)/.exec(text)?.[1] ?? null;
}
