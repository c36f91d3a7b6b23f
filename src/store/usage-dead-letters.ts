/**
 * Entries of the usage stream that could not become rows, kept for a person to look at. Whatever they hold is made
 * storable first: a dead letter that the database refuses would be delivered for ever.
 */
import { type Selectable, sql } from 'kysely';
import type { Store, UsageDlqTable } from './schema.ts';

export type UsageDeadLetter = {
  /** The stream's key and the entry's id. A second letter about the same entry changes nothing. */
  streamId: string;
  /** As the entry has it, well-formed or not. */
  requestId: string | null;
  payload: string;
  error: string;
};

export type StoredUsageDeadLetter = UsageDeadLetter & { id: string; atMs: number };

/** As long as a record may be, so that a letter can be tried again whole. */
const longestPayload = 262_144;
const longestLabel = 1_000;

export async function insertUsageDeadLetters(db: Store, letters: readonly UsageDeadLetter[]): Promise<void> {
  if (letters.length === 0) return;
  await db
    .insertInto('usage_dlq')
    .values(
      letters.map((letter) => ({
        stream_id: storable(letter.streamId, longestLabel),
        request_id: letter.requestId === null ? null : storable(letter.requestId, longestLabel),
        payload: storable(letter.payload, longestPayload),
        error: storable(letter.error, longestLabel),
      })),
    )
    .onConflict((conflict) => conflict.column('stream_id').doNothing())
    .execute();
}

/** Newest first. */
export async function listUsageDeadLetters(db: Store, limit: number): Promise<readonly StoredUsageDeadLetter[]> {
  const rows = await db.selectFrom('usage_dlq').selectAll().orderBy('id', 'desc').limit(limit).execute();
  return rows.map(letterOf);
}

/** Oldest first, or the one with this id. */
export async function findUsageDeadLetters(
  db: Store,
  wanted: { id: string } | { afterId: string; limit: number },
): Promise<readonly StoredUsageDeadLetter[]> {
  const letters = db.selectFrom('usage_dlq').selectAll();
  const found =
    'id' in wanted
      ? letters.where('id', '=', wanted.id)
      : letters.where('id', '>', wanted.afterId).orderBy('id').limit(wanted.limit);
  return (await found.execute()).map(letterOf);
}

/** False: somebody else has deleted it. */
export async function deleteUsageDeadLetter(db: Store, id: string): Promise<boolean> {
  const { numDeletedRows } = await db.deleteFrom('usage_dlq').where('id', '=', id).executeTakeFirstOrThrow();
  return numDeletedRows > 0n;
}

function letterOf(row: Selectable<UsageDlqTable>): StoredUsageDeadLetter {
  return {
    id: String(row.id),
    atMs: row.at.getTime(),
    streamId: row.stream_id,
    requestId: row.request_id,
    payload: row.payload,
    error: row.error,
  };
}

/** Deletes at most `batchRows` and gives how many it were. */
export async function deleteUsageDeadLetters(
  db: Store,
  { beforeMs, batchRows }: { beforeMs: number; batchRows: number },
): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from usage_dlq where ctid = any(array(
      select ctid from usage_dlq where at < ${new Date(beforeMs)} limit ${batchRows}
    ))
  `.execute(db);
  return Number(numAffectedRows ?? 0n);
}

/** Postgres takes neither NUL nor half a surrogate pair; the cut may make one, so it comes first. */
function storable(text: string, longest: number): string {
  const cut = text.length <= longest ? text : `${text.slice(0, longest - 1)}…`;
  return cut.replaceAll('\0', '\uFFFD').toWellFormed();
}
