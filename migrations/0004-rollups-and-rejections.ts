/**
 * Roll-ups gain the status, so that one table answers "how much" and "how did it end"; the job that keeps them remembers
 * how far it came; refusals are counted per minute. Forward only. Spec: reliability 2.2.
 */
import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await reshapeRollups(db);
  await createUpkeep(db);
  await createRejections(db);
}

/** Roll-ups are derived, so their rows are dropped and not converted: the first run of the job makes them again. */
async function reshapeRollups(db: Kysely<unknown>): Promise<void> {
  await sql`truncate usage_rollups_hour`.execute(db);
  await db.schema.alterTable('usage_rollups_hour').dropConstraint('usage_rollups_hour_pkey').execute();
  await db.schema
    .alterTable('usage_rollups_hour')
    .addColumn('status', 'text', (column) => column.notNull())
    .addColumn('cache_write_tokens', 'bigint', (column) => column.notNull())
    .addColumn('reasoning_tokens', 'bigint', (column) => column.notNull())
    // The statuses say it now, each by its name.
    .dropColumn('errors')
    .execute();
  await db.schema
    .alterTable('usage_rollups_hour')
    .addPrimaryKeyConstraint('usage_rollups_hour_pkey', ['hour', 'account_id', 'key_id', 'model', 'provider', 'status'])
    .execute();
  // What is new since the last run; rows arrive in this order, so BRIN finds them at a hundredth of a b-tree's size.
  await sql`create index usage_events_inserted_at on usage_events using brin (inserted_at)`.execute(db);
}

async function createUpkeep(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('usage_upkeep')
    .addColumn('id', 'smallint', (column) => column.primaryKey().defaultTo(1))
    .addColumn('seen_until', 'timestamptz', (column) => column.notNull())
    .addColumn('closed_until', 'timestamptz', (column) => column.notNull())
    .addColumn('rows_kept_from', 'timestamptz', (column) => column.notNull())
    .addCheckConstraint('usage_upkeep_one_row', sql`id = 1`)
    .execute();
  await sql`
    insert into usage_upkeep (seen_until, closed_until, rows_kept_from) values ('epoch', 'epoch', 'epoch')
  `.execute(db);
}

async function createRejections(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('rejections_minute')
    .addColumn('minute', 'timestamptz', (column) => column.notNull())
    // All zeros when nobody could be named: a primary key has no place for null.
    .addColumn('account_id', 'uuid', (column) => column.notNull())
    .addColumn('key_id', 'uuid', (column) => column.notNull())
    .addColumn('reason', 'text', (column) => column.notNull())
    .addColumn('status', 'integer', (column) => column.notNull())
    .addColumn('replica', 'text', (column) => column.notNull())
    .addColumn('count', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('rejections_minute_pkey', [
      'minute',
      'account_id',
      'key_id',
      'reason',
      'status',
      'replica',
    ])
    .execute();
  await db.schema
    .createIndex('rejections_minute_account_id')
    .on('rejections_minute')
    .columns(['account_id', 'minute'])
    .execute();
}
