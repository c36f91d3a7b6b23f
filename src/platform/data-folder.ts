/**
 * The data folder of an embedded gateway belongs to one process at a time: two would corrupt the database in it and count
 * every limit twice. The lock is a file that names its holder; the file of a dead holder is taken over.
 * A process of another host or container cannot be looked up, so the holder also refreshes the file's time.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { isJsonObject } from '../contract/json.ts';

export type DataFolder = { path: string; release: () => void };

export type DataFolderOptions = {
  /** Whose process ids are ours to look up. */
  host?: string;
  clock?: () => number;
};

type Holder = { pid: number; host: string; started: string };

const refreshMs = 5_000;
/** Six missed refreshes: only a dead or frozen holder is that late. */
const silenceMs = 30_000;
const attempts = 5;

export function openDataFolder(folder: string, options: DataFolderOptions = {}): DataFolder {
  const { host = hostname(), clock = Date.now } = options;
  const path = resolve(folder);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  makePrivate(path, 0o700);
  const lockPath = join(path, 'lock');
  const content = JSON.stringify({ pid: process.pid, host, started: startOf(process.pid) } satisfies Holder);
  takeLock(lockPath, content, { host, clock, path });
  const refresh = setInterval(() => touch(lockPath, clock()), refreshMs);
  refresh.unref();
  return {
    path,
    release() {
      clearInterval(refresh);
      // Somebody who took us for dead owns the file now.
      if (readText(lockPath) === content) rmSync(lockPath, { force: true });
    },
  };
}

type LockContext = { host: string; clock: () => number; path: string };

function takeLock(lockPath: string, content: string, context: LockContext): void {
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    if (createWhole(lockPath, content)) {
      touch(lockPath, context.clock());
      return;
    }
    const found = readText(lockPath);
    if (found === null) continue;
    const refusal = whyHeld(lockPath, found, context);
    if (refusal !== null) throw new Error(refusal);
    removeStale(lockPath, found);
  }
  throw new Error(`The lock of the data folder ${context.path} changes hands too fast; try again.`);
}

/** Another process may replace the stale lock between our look and our removal; its new one must survive. */
function removeStale(lockPath: string, judged: string): void {
  const aside = `${lockPath}.${process.pid}`;
  try {
    renameSync(lockPath, aside);
  } catch {
    // Gone already: the next attempt finds out what is there now.
    return;
  }
  if (readText(aside) !== judged) createWhole(lockPath, readText(aside) ?? '');
  rmSync(aside, { force: true });
}

/** The message for the second process, or null when the holder is dead. */
function whyHeld(lockPath: string, content: string, { host, clock, path }: LockContext): string | null {
  const holder = parseHolder(content);
  const remedy =
    'Stop it first, or set TOLLGATE_DATA to another folder; with DATABASE_URL and REDIS_URL many processes may run.';
  if (holder !== null && holder.host === host) {
    if (!isAlive(holder)) return null;
    return `The data folder ${path} is in use by process ${holder.pid}. ${remedy}`;
  }
  const silentMs = clock() - modifiedMs(lockPath);
  if (silentMs > silenceMs) return null;
  const who = holder === null ? 'an unknown process' : `process ${holder.pid} on host ${holder.host}`;
  const wait = `If that one is dead, the folder is free ${Math.ceil((silenceMs - silentMs) / 1000)} s from now.`;
  return `The data folder ${path} is in use by ${who}. ${wait} ${remedy}`;
}

function isAlive({ pid, started }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives and belongs to another user.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false;
  }
  const startedNow = startOf(pid);
  // Process ids are used again, in a container always the same one; the start time tells the processes apart.
  return startedNow === '' || started === '' || startedNow === started;
}

/** Start time of a process, with the boot it counts from; empty where the system does not tell. */
function startOf(pid: number): string {
  const stat = readText(`/proc/${pid}/stat`);
  if (stat !== null) {
    // The name of the program comes second, in parentheses, and may hold spaces.
    const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
    return `${(readText('/proc/sys/kernel/random/boot_id') ?? '').trim()}:${startTicks}`;
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
  } catch {
    // No such process, or no such program.
    return '';
  }
}

function parseHolder(content: string): Holder | null {
  try {
    const value: unknown = JSON.parse(content);
    if (!isJsonObject(value)) return null;
    const { pid, host, started } = value;
    if (typeof pid !== 'number' || typeof host !== 'string' || typeof started !== 'string') return null;
    return { pid, host, started };
  } catch {
    // Half a file: its writer is either still writing or dead, which its age tells.
    return null;
  }
}

/**
 * 32 random bytes that all keys and sessions of this folder hang on; made at the first call. Whoever reads the file can
 * forge them, hence mode 600.
 */
export function readOrCreateSecret(path: string): string {
  if (!existsSync(path)) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    createWhole(path, `${randomBytes(32).toString('base64url')}\n`);
  }
  const secret = readFileSync(path, 'utf8').trim();
  if (secret.length < 32) {
    throw new Error(
      `The secret in ${path} is shorter than 32 characters. Restore it, or delete it: all keys end then.`,
    );
  }
  makePrivate(path, 0o600);
  return secret;
}

/** Creates a file with all its content or not at all; false when it is there already. */
function createWhole(path: string, content: string): boolean {
  const draft = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  writeFileSync(draft, content, { flag: 'wx', mode: 0o600, flush: true });
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'EEXIST') return false;
    // A file system without hard links; it gets the next best thing.
    return createPlain(path, content);
  } finally {
    rmSync(draft, { force: true });
  }
}

function createPlain(path: string, content: string): boolean {
  try {
    writeFileSync(path, content, { flag: 'wx', mode: 0o600, flush: true });
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

function makePrivate(path: string, mode: number): void {
  try {
    chmodSync(path, mode);
  } catch {
    // A mounted volume may belong to another user and still be ours to write; its owner decides who reads it.
  }
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Absent, or gone in this instant; both mean that there is nothing to read.
    return null;
  }
}

function modifiedMs(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function touch(path: string, nowMs: number): void {
  try {
    utimesSync(path, nowMs / 1000, nowMs / 1000);
  } catch {
    // The folder may have been deleted under a running process; its end is not the timer's business.
  }
}
