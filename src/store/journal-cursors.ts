/** How far the rows of a local journal have come into the database. Saved in the transaction that inserts the rows. */
import { sql } from 'kysely';
import type { Store } from './schema.ts';

/** 0 for a journal that this database has never seen. */
export async function readJournalCursor(db: Store, journalId: string): Promise<number> {
  const row = await db
    .selectFrom('journal_cursors')
    .select('position')
    .where('journal_id', '=', journalId)
    .executeTakeFirst();
  return Number(row?.position ?? 0);
}

/** Only ever moves forward. */
export async function saveJournalCursor(db: Store, journalId: string, position: number): Promise<void> {
  await db
    .insertInto('journal_cursors')
    .values({ journal_id: journalId, position })
    .onConflict((conflict) =>
      conflict
        .column('journal_id')
        .doUpdateSet({ position: sql`excluded.position`, saved_at: sql`now()` })
        .whereRef('journal_cursors.position', '<', 'excluded.position'),
    )
    .execute();
}
