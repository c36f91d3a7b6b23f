/** A journal on real files in a folder of its own, and an engine on it. */
import type { Test } from 'tap';
import { createInProcessEngine } from '../../src/admission/in-process-engine.ts';
import { openJournal, type OpenedJournal, type OpenJournalOptions } from '../../src/admission/journal.ts';
import { openJournalDisk, type DiskFile, type JournalDisk } from '../../src/admission/journal-disk.ts';
import type { JournalFrame } from '../../src/admission/journal-frames.ts';
import { readSegment } from '../../src/admission/journal-frames.ts';
import { createJournaledEngine, type LevelStore } from '../../src/admission/journaled-engine.ts';
import { createMonotonicWallClock } from '../../src/admission/clock.ts';
import type { AdmissionEngine, AdmitRequest, Settlement } from '../../src/contract/admission.ts';
import { usageRank, type UsageRecord } from '../../src/contract/flow.ts';
import { createUuidV7 } from '../../src/platform/uuid.ts';
import { usageRecord } from '../support/usage-record.ts';

export type LoggedLine = { level: 'info' | 'warn' | 'error'; message: string; details: Record<string, unknown> };

export type JournalWorld = {
  folder: string;
  log: LoggedLine[];
  /** What the database has: the cursor by journal. */
  cursors: Map<string, number>;
  open: (changes?: Partial<OpenJournalOptions>) => Promise<OpenedJournal>;
};

export function createJournalWorld(t: Test): JournalWorld {
  const folder = `${t.testdir({})}/journal`;
  const log: LoggedLine[] = [];
  const cursors = new Map<string, number>();
  const say = (level: LoggedLine['level']) => (details: object, message: string) =>
    void log.push({ level, message, details: { ...details } });
  return {
    folder,
    log,
    cursors,
    async open(changes = {}) {
      const opened = await openJournal({
        folder,
        readCursor: async (journalId) => cursors.get(journalId) ?? 0,
        log: { info: say('info'), warn: say('warn'), error: say('error') },
        reserveBytes: 64 * 1024,
        retryMs: 10,
        ...changes,
      });
      t.teardown(() => opened.journal.close(100));
      return opened;
    },
  };
}

export type LedgerRow = { record: UsageRecord; position: number | null };

export type EngineOptions = { levels?: LevelStore; hasRoom?: () => boolean; beat?: (run: () => void) => void };

/** An engine on an opened journal, over a ledger that only remembers. */
export function engineOn(t: Test, { journal, levels: savedLevels }: OpenedJournal, options: EngineOptions = {}) {
  const rows: LedgerRow[] = [];
  const reaps: (() => void)[] = [];
  const engine: AdmissionEngine = createJournaledEngine({
    createInner: (sink) => createInProcessEngine({ clock: createMonotonicWallClock(), sink }),
    journal,
    ledger: {
      append: (record, position) => void rows.push({ record, position: position ?? null }),
      hasRoom: options.hasRoom ?? (() => true),
    },
    savedLevels,
    ...(options.levels === undefined ? {} : { levels: options.levels }),
    every: (_periodMs, work) => {
      reaps.push(() => void work());
      return () => undefined;
    },
  });
  t.teardown(() => engine.close());
  return { engine, rows, beat: () => reaps.forEach((run) => run()) };
}

export const inputTokens = 40;
const accountId = usageRecord().accountId;

/** What a request is admitted with: an orphan's row of forty input tokens. */
export function admission(changes: Partial<AdmitRequest> = {}): AdmitRequest {
  const id = changes.id ?? createUuidV7(Date.now());
  return {
    id,
    accountId,
    buckets: [],
    concurrency: [{ scope: `account:${accountId}`, limit: 1000 }],
    record: usageRecord({
      requestId: id,
      rank: usageRank.orphan,
      status: 'orphaned',
      usageSource: 'estimated',
      usage: {
        promptTokens: inputTokens,
        cachedTokens: 0,
        cacheWriteTokens: 0,
        completionTokens: 0,
        reasoningTokens: 0,
      },
      costPicoUsd: 4000,
    }),
    outputPicoUsd: 7,
    ...changes,
  };
}

export function settlement(id: string, changes: Partial<UsageRecord> = {}): Settlement {
  return {
    id,
    accountId,
    kind: 'exact',
    actual: { requests: 1, tokens: 60 },
    record: usageRecord({ requestId: id, ...changes }),
  };
}

export function framesIn(disk: JournalDisk): JournalFrame[] {
  return disk
    .list()
    .filter((name) => name.endsWith('.log'))
    .toSorted()
    .flatMap((name) => readSegment(disk.read(name)).frames.map(({ frame }) => frame));
}

export const kindsIn = (disk: JournalDisk): string[] => framesIn(disk).map(({ kind }) => kind);

/** A real disk whose writes may be kept back or refused. */
export type TroubledDisk = {
  disk: JournalDisk;
  /** Asked before each write: waits or throws to be a disk in trouble. */
  trouble: (write: { name: string; bytes: number }) => Promise<void> | void;
};

export function createTroubledDisk(folder: string): TroubledDisk {
  const real = openJournalDisk(folder);
  const world: TroubledDisk = { disk: real, trouble: () => undefined };
  const wrap = (name: string, file: DiskFile): DiskFile => ({
    ...file,
    async write(bytes, offset) {
      await world.trouble({ name, bytes: bytes.length });
      await file.write(bytes, offset);
    },
  });
  world.disk = {
    ...real,
    create: async (name) => wrap(name, await real.create(name)),
    open: async (name) => wrap(name, await real.open(name)),
  };
  return world;
}

export const diskFull = (): Error => Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
