/**
 * Changes of keys and accounts that the engine of running requests has still to hear of. A row is written in the
 * transaction of its change and deleted once the engine knows. Budgets need no column: those of a tier are in the config
 * file, those of a key in its `limits`. Spec: reliability 2.4 REVOKE.
 */
import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('auth_outbox')
    .addColumn('id', 'uuid', (column) => column.primaryKey())
    .addColumn('at', 'timestamptz', (column) => column.notNull())
    .addColumn('account_id', 'uuid', (column) => column.notNull())
    // Null when the account itself did not change.
    .addColumn('account_version', 'integer')
    .addColumn('key_id', 'uuid')
    .addColumn('key_version', 'integer')
    .addColumn('public_id', 'text')
    .execute();
}
