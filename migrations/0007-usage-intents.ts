/**
 * Requests that a gateway is about to send upstream while Redis gives no answer: what the ledger says of one whose row
 * never comes. Apart from the rows, so that a row of rank 0 always means a request that was never sent. Spec: reliability 5.
 */
import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('usage_intents')
    .addColumn('request_id', 'uuid', (column) => column.primaryKey())
    .addColumn('started_at', 'timestamptz', (column) => column.notNull())
    // Text, not jsonb, which takes no NUL: it is read back by what reads the usage stream.
    .addColumn('record', 'text', (column) => column.notNull())
    .execute();
}
