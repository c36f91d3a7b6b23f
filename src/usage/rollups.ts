/**
 * Brings the hourly sums in line with the rows: every hour that is over and in which something is new is summed again.
 * Takes a handle and a clock's reading, gives what it did. Any replica may run it at any time; it never sums an hour that
 * another one is at, and after a run that did not end well the next one begins where the last good one did.
 */
import type { Kysely } from 'kysely';
import type { StoreSchema } from '../store/schema.ts';
import { findStaleHours, markRolledUp, rebuildUsageHour } from '../store/usage-rollups.ts';

export type RollUpOptions = {
  nowMs: number;
  /** How far behind the last run rows are looked at again: longer than any transaction, and than a step of the clock. */
  lookBackHours?: number;
  /** Ends the run between two hours. */
  signal?: AbortSignal;
};

export type RollUpResult = {
  hours: number;
  /** False when another process was at one of the hours, or the run was stopped. */
  isComplete: boolean;
};

export async function rollUpClosedHours(
  db: Kysely<StoreSchema>,
  { nowMs, lookBackHours = 1, signal }: RollUpOptions,
): Promise<RollUpResult> {
  const { hours, mark } = await findStaleHours(db, { nowMs, lookBackHours });
  for (const [index, hour] of hours.entries()) {
    if (signal?.aborted === true) return { hours: index, isComplete: false };
    if ((await rebuildUsageHour(db, hour)) === 'busy') return { hours: index, isComplete: false };
  }
  await markRolledUp(db, mark);
  return { hours: hours.length, isComplete: true };
}
