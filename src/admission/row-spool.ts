/**
 * Usage rows on the local disk for as long as neither Redis nor Postgres is known to have them, in the files of the
 * journal: a folder for each process, made when the first such row comes and removed when the database has them all.
 * Takes rows, and gives those that a dead process has left, of any folder beside its own. The database keeps the best row
 * of each request, so a row that comes twice does no harm. Must never hold up a row's way into the database: a disk that
 * is full, read-only or gone costs only the protection. Spec: reliability 2.4, "Redis refuses settlements".
 */
import { randomUUID } from 'node:crypto';
import { accessSync, constants, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { UsageRecord } from '../contract/flow.ts';
import { openDataFolder, type DataFolder } from '../platform/data-folder.ts';
import { everyInterval, type Every } from './clock.ts';
import { openJournalDisk } from './journal-disk.ts';
import { replayJournal } from './journal-replay.ts';
import type { JournalLog } from './journal-segments.ts';
import { openJournal, type Journal, type OpenJournalOptions } from './journal.ts';

export type RowSpoolOptions = Pick<OpenJournalOptions, 'durability'> & {
  /** Of all processes that share a disk. */
  folder: string;
  log: JournalLog;
  /** Rows that a dead process has left. They are kept here until `allWritten`. */
  onFound: (records: readonly UsageRecord[]) => void;
  capBytes?: number;
  /** How often the disk is looked at for what the dead have left, and cleared of what is written. */
  upkeepMs?: number;
  every?: Every;
};

export interface RowSpool {
  keep(record: UsageRecord): void;
  /** The database has every row that was kept or found. */
  allWritten(): void;
  /** False at the cap: admission must then answer `journal_full`. */
  hasRoom(): boolean;
  /** What the database does not have yet stays for the next process. */
  close(): Promise<void>;
}

type OwnFolder = { name: string; lock: DataFolder; journal: Journal };

export function openRowSpool(options: RowSpoolOptions): RowSpool {
  const { folder, log, onFound, durability = 'standard', capBytes = 256 * 2 ** 20 } = options;
  const { upkeepMs = 10_000, every = everyInterval } = options;
  const isUsable = prepareFolder(folder, log);
  let own: OwnFolder | null = null;
  let opening: Promise<void> | null = null;
  /** Kept before the folder was open. */
  let early: UsageRecord[] = [];
  let isEmpty = true;
  /** Nothing was kept since the last look, so a stream of rows does not make a folder for each of them. */
  let isQuiet = true;
  const found = new Map<string, DataFolder>();
  const damaged = new Set<string>();
  const stopUpkeep = isUsable ? every(upkeepMs, lookAround) : () => undefined;
  if (isUsable) adoptDead();

  function keep(record: UsageRecord): void {
    if (!isUsable) return;
    isEmpty = false;
    isQuiet = false;
    if (own !== null) own.journal.settle(record, ignore);
    else {
      early.push(record);
      opening ??= openOwn();
    }
  }

  async function openOwn(): Promise<void> {
    const name = randomUUID();
    try {
      const lock = openDataFolder(join(folder, name));
      // Without a reserve: on a full disk the rows wait in memory, as they do without a spool.
      const { journal } = await openJournal({
        folder: lock.path,
        log,
        durability,
        reserveBytes: 0,
        readCursor: async () => 0,
      });
      own = { name, lock, journal };
      for (const record of early.splice(0)) journal.settle(record, ignore);
    } catch (error) {
      log.error({ err: error, folder }, 'usage rows cannot be kept on the local disk; they wait in memory');
    }
    opening = null;
  }

  function lookAround(): void {
    if (isEmpty && isQuiet && own !== null) void removeOwn(own);
    if (early.length > 0) opening ??= openOwn();
    isQuiet = true;
    adoptDead();
  }

  async function removeOwn({ lock, journal }: OwnFolder): Promise<void> {
    own = null;
    await journal.close();
    remove(lock);
  }

  function adoptDead(): void {
    for (const name of namesIn(folder)) {
      if (name === own?.name || found.has(name) || damaged.has(name)) continue;
      const lock = takeOver(join(folder, name));
      if (lock !== null) readDead(name, lock);
    }
  }

  function readDead(name: string, lock: DataFolder): void {
    try {
      const records = replayJournal(openJournalDisk(lock.path), log).settled.map(({ record }) => record);
      if (records.length === 0) return remove(lock);
      log.warn({ rows: records.length }, 'usage rows of a process that ended were found on the local disk');
      found.set(name, lock);
      isEmpty = false;
      onFound(records);
    } catch (error) {
      damaged.add(name);
      lock.release();
      log.error({ err: error }, 'usage rows on the local disk cannot be read; they stay where they are');
    }
  }

  function allWritten(): void {
    isEmpty = true;
    early = [];
    for (const lock of found.values()) remove(lock);
    found.clear();
  }

  async function close(): Promise<void> {
    stopUpkeep();
    await opening;
    for (const lock of found.values()) lock.release();
    if (own === null) return;
    if (isEmpty) return removeOwn(own);
    await own.journal.close();
    own.lock.release();
  }

  return { keep, allWritten, hasRoom: () => (own?.journal.sizeBytes() ?? 0) < capBytes, close };
}

function prepareFolder(folder: string, log: JournalLog): boolean {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.W_OK);
    return true;
  } catch (error) {
    log.warn(
      { err: error, folder },
      'no folder for usage rows: while Redis and Postgres are both away they wait in memory, and a killed process ' +
        'leaves estimates. Make the folder writable, or set TOLLGATE_DATA to one that is',
    );
    return false;
  }
}

/** null: its process lives, or it has just gone. */
function takeOver(path: string): DataFolder | null {
  try {
    return openDataFolder(path);
  } catch {
    // It says whose it is, which is nobody's business here.
    return null;
  }
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    // Deleted under a running process: nothing is left to be found in it.
    return [];
  }
}

function remove(lock: DataFolder): void {
  try {
    rmSync(lock.path, { recursive: true, force: true });
  } catch {
    // What stays is found again, and changes nothing in the database then.
  }
  lock.release();
}

const ignore = (): void => undefined;
