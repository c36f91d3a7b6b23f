/**
 * Up to where the rows of an embedded gateway's local journal are in `usage_events`: saved with the rows, in one
 * transaction, so that a start knows which of them to bring again. Spec: reliability 2.5.
 */
import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('journal_cursors')
    // A folder that was emptied begins a journal of another id: its positions start again and mean other rows.
    .addColumn('journal_id', 'uuid', (column) => column.primaryKey())
    .addColumn('position', 'bigint', (column) => column.notNull())
    .addColumn('saved_at', 'timestamptz', (column) => column.notNull().defaultTo(sql`now()`))
    .execute();
}
