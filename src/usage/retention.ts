/**
 * Takes usage rows out of the database when their time is over: whole days as partitions, strays in batches, and refusals
 * with them. The hourly sums stay. It never drops a row that was not summed before, never more than the database's own
 * clock allows, and never loads a row into memory. Spec: console 8.
 */
import type { Kysely } from 'kysely';
import { deleteRejections } from '../store/rejections.ts';
import type { StoreSchema } from '../store/schema.ts';
import { deleteStrayUsageEvents, dropUsagePartitions } from '../store/usage-partitions.ts';
import { markRowsKeptFrom, readDatabaseTimeMs } from '../store/usage-rollups.ts';
import { rollUpClosedHours } from './rollups.ts';

export type RetentionOptions = {
  nowMs: number;
  /** Whole days in UTC before today; null keeps everything. */
  keepDays: number | null;
  batchRows?: number;
  signal?: AbortSignal;
  log: { warn(details: object, message: string): void };
};

export type RetentionResult = {
  partitions: readonly string[];
  strayRows: number;
  rejections: number;
  /** False: the hours were being summed elsewhere, a table was busy, or the run was stopped. The next run does the rest. */
  isComplete: boolean;
};

const dayMs = 86_400_000;
const nothing = { partitions: [], strayRows: 0, rejections: 0 };

export async function applyUsageRetention(
  db: Kysely<StoreSchema>,
  options: RetentionOptions,
): Promise<RetentionResult> {
  const { keepDays, batchRows = 1000, signal, log } = options;
  if (keepDays === null) return { ...nothing, isComplete: true };
  if (!Number.isInteger(keepDays) || keepDays < 1) throw new RangeError('keepDays must be a whole number from 1 on');
  // A process whose clock is years ahead would drop everything.
  const nowMs = Math.min(options.nowMs, await readDatabaseTimeMs(db));
  const beforeMs = (Math.floor(nowMs / dayMs) - keepDays) * dayMs;
  const rollUp = await rollUpClosedHours(db, { nowMs, ...(signal === undefined ? {} : { signal }) });
  if (!rollUp.isComplete) return { ...nothing, isComplete: false };
  await markRowsKeptFrom(db, beforeMs);
  const { dropped, postponed } = await dropUsagePartitions(db, { beforeMs, log });
  const limits = { beforeMs, batchRows };
  const strayRows = await repeat(() => deleteStrayUsageEvents(db, limits), { batchRows, signal });
  const rejections = await repeat(() => deleteRejections(db, limits), { batchRows, signal });
  return {
    partitions: dropped,
    strayRows,
    rejections,
    isComplete: postponed.length === 0 && signal?.aborted !== true,
  };
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
