/**
 * Tries dead letters again: what a newer version understands, or a mended database takes, becomes the row that it should
 * have been. A letter goes in the transaction of its row, so it is never lost and never a row twice; one that is still
 * refused stays as it is.
 */
import type { Kysely } from 'kysely';
import type { StoreSchema } from '../store/schema.ts';
import {
  deleteUsageDeadLetter,
  findUsageDeadLetters,
  type StoredUsageDeadLetter,
} from '../store/usage-dead-letters.ts';
import { insertUsageEvents } from '../store/usage-events.ts';
import { parseUsageRecord } from './stream-record.ts';

export type ReplayOutcome = {
  id: string;
  requestId: string | null;
  /** null: it is a row now. */
  reason: string | null;
};

const batchLetters = 100;

/** The oldest first; `id` is for one alone. */
export async function* replayDeadLetters(db: Kysely<StoreSchema>, id: string | null): AsyncGenerator<ReplayOutcome> {
  for (let afterId = '0'; ;) {
    const letters = await findUsageDeadLetters(db, id === null ? { afterId, limit: batchLetters } : { id });
    for (const letter of letters)
      yield { id: letter.id, requestId: letter.requestId, reason: await replay(db, letter) };
    const last = letters.at(-1);
    if (last === undefined || id !== null) return;
    afterId = last.id;
  }
}

async function replay(db: Kysely<StoreSchema>, letter: StoredUsageDeadLetter): Promise<string | null> {
  const parsed = parseUsageRecord(letter.payload, letter.requestId);
  if ('reason' in parsed) return parsed.reason;
  try {
    await db.transaction().execute(async (trx) => {
      if (await deleteUsageDeadLetter(trx, letter.id)) await insertUsageEvents(trx, [parsed.record]);
    });
    return null;
  } catch (error) {
    // The database is there, or the letters could not have been read: it refuses this one.
    return error instanceof Error ? error.message : String(error);
  }
}
