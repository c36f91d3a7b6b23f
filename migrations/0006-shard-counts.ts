/**
 * Into how many shards the limits in Redis are divided: another count would look for each account's limits in the wrong
 * place, and no replica may start with another one than the rest. Kept here and not in Redis, which may lose it.
 * Spec: reliability 2.2.
 */
import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('shard_counts')
    // Of every name in Redis: gateways that share it share the limits.
    .addColumn('key_prefix', 'text', (column) => column.primaryKey())
    .addColumn('shards', 'integer', (column) => column.notNull())
    .execute();
}
