/**
 * Takes out of the database what its time is over for: usage rows as whole days, strays in batches, and what grows beside
 * them. The hourly sums stay. It never drops a row that was not summed before, never more than the database's own clock
 * allows, and never loads a row into memory. Spec: console 8.
 */
import type { Kysely } from 'kysely';
import { deleteAuditEntries } from '../store/audit-log.ts';
import { deleteRejections } from '../store/rejections.ts';
import type { StoreSchema } from '../store/schema.ts';
import { deleteUsageDeadLetters } from '../store/usage-dead-letters.ts';
import { deleteStrayUsageEvents, dropUsagePartitions } from '../store/usage-partitions.ts';
import { markRowsKeptFrom, readDatabaseTimeMs } from '../store/usage-rollups.ts';
import { rollUpClosedHours } from './rollups.ts';

type Run = {
  nowMs: number;
  batchRows?: number;
  signal?: AbortSignal;
  log: { warn(details: object, message: string): void };
};

/** Whole days in UTC before today; null keeps everything. */
export type RetentionOptions = Run & {
  keep: {
    usageDays: number | null;
    rejectionsDays: number | null;
    auditDays: number | null;
    deadLettersDays: number | null;
  };
};

export type RetentionResult = {
  partitions: readonly string[];
  strayRows: number;
  rejections: number;
  auditEntries: number;
  deadLetters: number;
  /** False: the hours were being summed elsewhere, a table was busy, or the run was stopped. The next run does the rest. */
  isComplete: boolean;
};

const dayMs = 86_400_000;

export async function applyRetention(db: Kysely<StoreSchema>, options: RetentionOptions): Promise<RetentionResult> {
  const { keep, batchRows = 1000, signal } = options;
  // A process whose clock is years ahead would drop everything.
  const nowMs = Math.min(options.nowMs, await readDatabaseTimeMs(db));
  const usage = await dropUsage(db, keep.usageDays, { ...options, nowMs, batchRows });
  const clear = async (days: number | null, deleteBatch: typeof deleteRejections): Promise<number> => {
    const beforeMs = startOfKept(days, nowMs);
    return beforeMs === null ? 0 : repeat(() => deleteBatch(db, { beforeMs, batchRows }), { batchRows, signal });
  };
  const rejections = await clear(keep.rejectionsDays, deleteRejections);
  const auditEntries = await clear(keep.auditDays, deleteAuditEntries);
  const deadLetters = await clear(keep.deadLettersDays, deleteUsageDeadLetters);
  const isComplete = usage.isComplete && signal?.aborted !== true;
  return { ...usage, rejections, auditEntries, deadLetters, isComplete };
}

function startOfKept(keepDays: number | null, nowMs: number): number | null {
  if (keepDays === null) return null;
  if (!Number.isInteger(keepDays) || keepDays < 1) throw new RangeError('days to keep are a whole number from 1 on');
  return (Math.floor(nowMs / dayMs) - keepDays) * dayMs;
}

async function dropUsage(
  db: Kysely<StoreSchema>,
  keepDays: number | null,
  { nowMs, batchRows, signal, log }: Run & { batchRows: number },
): Promise<Pick<RetentionResult, 'partitions' | 'strayRows' | 'isComplete'>> {
  const beforeMs = startOfKept(keepDays, nowMs);
  if (beforeMs === null) return { partitions: [], strayRows: 0, isComplete: true };
  const rollUp = await rollUpClosedHours(db, { nowMs, ...(signal === undefined ? {} : { signal }) });
  if (!rollUp.isComplete) return { partitions: [], strayRows: 0, isComplete: false };
  await markRowsKeptFrom(db, beforeMs);
  const { dropped, postponed } = await dropUsagePartitions(db, { beforeMs, log });
  const strayRows = await repeat(() => deleteStrayUsageEvents(db, { beforeMs, batchRows }), { batchRows, signal });
  return { partitions: dropped, strayRows, isComplete: postponed.length === 0 };
}

/** Until a batch is not full. */
async function repeat(
  deleteBatch: () => Promise<number>,
  { batchRows, signal }: { batchRows: number; signal: AbortSignal | undefined },
): Promise<number> {
  for (let total = 0; ;) {
    if (signal?.aborted === true) return total;
    const deleted = await deleteBatch();
    total += deleted;
    if (deleted < batchRows) return total;
  }
}
