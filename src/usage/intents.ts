/**
 * Gives an orphan's row to each request that a gateway has sent upstream while Redis was silent and then never settled:
 * its process died. Younger ones may still run; one that has a row, of any rank, needs none. Spec: reliability 5.
 */
import type { Kysely } from 'kysely';
import type { StoreSchema } from '../store/schema.ts';
import { insertUsageEvents } from '../store/usage-events.ts';
import { takeUsageIntents } from '../store/usage-intents.ts';
import { parseUsageRecord } from './stream-record.ts';

export type IntentSweepOptions = {
  nowMs: number;
  /** The longest that a request may run. */
  totalMs: number;
  log: { error(details: object, message: string): void };
  signal?: AbortSignal;
  batchRows?: number;
};

/** For rows on their way: a late one still wins over an orphan's, but is better not preceded by it. */
const marginMs = 300_000;

/** Gives how many orphans there were. */
export async function settleOldIntents(db: Kysely<StoreSchema>, options: IntentSweepOptions): Promise<number> {
  const { nowMs, totalMs, log, signal, batchRows = 500 } = options;
  const beforeMs = nowMs - totalMs - marginMs;
  for (let orphans = 0; ;) {
    const { count, unsettled } = await db.transaction().execute(async (trx) => {
      const taken = await takeUsageIntents(trx, { beforeMs, limit: batchRows });
      const parsed = taken.unsettled.map((text) => parseUsageRecord(text, null));
      for (const [index, one] of parsed.entries())
        if ('reason' in one) log.error({ ...one, record: taken.unsettled[index] }, 'an intent cannot be read');
      const records = parsed.flatMap((one) => ('record' in one ? [one.record] : []));
      await insertUsageEvents(trx, records);
      return { count: taken.count, unsettled: records.length };
    });
    orphans += unsettled;
    if (count < batchRows || signal?.aborted === true) return orphans;
  }
}
