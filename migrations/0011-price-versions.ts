/**
 * What a row's cost was worked out from: the kinds of token that have a price of their own, and the version of the price.
 * With both, the cost of every row can be worked out again. Spec: fidelity 11.
 */
import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('price_versions')
    // The beginning of the hash of `price`.
    .addColumn('version', 'text', (column) => column.primaryKey())
    .addColumn('price', 'jsonb', (column) => column.notNull())
    .addColumn('first_seen_at', 'timestamptz', (column) => column.notNull().defaultTo(sql`now()`))
    .execute();
  await db.schema
    .alterTable('usage_events')
    .addColumn('long_cache_write_tokens', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('audio_prompt_tokens', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('audio_completion_tokens', 'integer', (column) => column.notNull().defaultTo(0))
    // Null: the model had no price.
    .addColumn('price_version', 'text')
    .execute();
}
