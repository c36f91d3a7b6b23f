/**
 * What the ledger could not take: an entry of the usage stream that is broken or refused lands here, whole, so that it
 * neither stops the rows behind it nor is lost. Spec: reliability 2.4 DRAIN.
 */
import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('usage_dlq')
    .addColumn('id', 'bigint', (column) => column.primaryKey().generatedAlwaysAsIdentity())
    .addColumn('at', 'timestamptz', (column) => column.notNull().defaultTo(sql`now()`))
    // The stream's key and the entry's id: a second delivery of the same entry meets its first letter.
    .addColumn('stream_id', 'text', (column) => column.notNull().unique())
    // Text, not uuid: it is shown as it came, and it may be what was wrong.
    .addColumn('request_id', 'text')
    .addColumn('payload', 'text', (column) => column.notNull())
    .addColumn('error', 'text', (column) => column.notNull())
    .execute();
}
