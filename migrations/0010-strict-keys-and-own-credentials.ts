/**
 * Keys that refuse what a model does not support instead of dropping it, and the provider keys that an account brings
 * itself: sealed with a key derived from TOLLGATE_SECRET, one for each provider. Spec: fidelity 10.
 */
import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('api_keys')
    .addColumn('strict', 'boolean', (column) => column.notNull().defaultTo(false))
    .execute();
  await db.schema
    .createTable('provider_credentials')
    .addColumn('account_id', 'uuid', (column) => column.notNull().references('accounts.id').onDelete('cascade'))
    .addColumn('provider', 'text', (column) => column.notNull())
    // Says which secret it was sealed under.
    .addColumn('sealed', 'text', (column) => column.notNull())
    .addColumn('last4', 'text', (column) => column.notNull())
    .addColumn('created_at', 'timestamptz', (column) => column.notNull())
    .addPrimaryKeyConstraint('provider_credentials_pkey', ['account_id', 'provider'])
    .execute();
}
