/**
 * Who may call (accounts, users, members, tiers, keys), what was done to them (audit log), and what every request cost
 * (usage events, roll-ups). Forward only. Spec: reliability 2.2 and 8.2.
 */
import { type Kysely, sql } from 'kysely';

const usageStatuses = [
  'ok',
  'client_abort',
  'upstream_error',
  'unknown',
  'orphaned',
  'not_dispatched',
  'client_stall',
  'total_timeout',
  'drained',
  'revoked',
];

export async function up(db: Kysely<unknown>): Promise<void> {
  await createPeople(db);
  await createKeys(db);
  await createUsage(db);
  await createAudit(db);
}

async function createPeople(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('tiers')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('data', 'jsonb', (column) => column.notNull())
    .addColumn('updated_at', 'timestamptz', (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('accounts')
    .addColumn('id', 'uuid', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull())
    // No reference to `tiers`: the config file is where tiers are made, and it may know one that was never seeded.
    .addColumn('tier', 'text', (column) => column.notNull())
    .addColumn('auth_version', 'integer', (column) => column.notNull().defaultTo(1))
    .addColumn('status', 'text', (column) => column.notNull().defaultTo('active'))
    .addColumn('created_at', 'timestamptz', (column) => column.notNull())
    .addCheckConstraint('accounts_status_known', sql`status in ('active', 'suspended')`)
    .execute();
  await db.schema
    .createTable('users')
    .addColumn('id', 'uuid', (column) => column.primaryKey())
    .addColumn('email', 'text', (column) => column.notNull().unique())
    .addColumn('display_name', 'text', (column) => column.notNull())
    .addColumn('password_hash', 'text')
    .addColumn('status', 'text', (column) => column.notNull().defaultTo('active'))
    .addColumn('created_at', 'timestamptz', (column) => column.notNull())
    .addCheckConstraint('users_email_lower_case', sql`email = lower(email)`)
    .addCheckConstraint('users_status_known', sql`status in ('active', 'disabled')`)
    .execute();
  await db.schema
    .createTable('members')
    .addColumn('account_id', 'uuid', (column) => column.notNull().references('accounts.id').onDelete('cascade'))
    .addColumn('user_id', 'uuid', (column) => column.notNull().references('users.id').onDelete('cascade'))
    .addColumn('role', 'text', (column) => column.notNull())
    .addColumn('created_at', 'timestamptz', (column) => column.notNull())
    .addPrimaryKeyConstraint('members_pkey', ['account_id', 'user_id'])
    .addCheckConstraint('members_role_known', sql`role in ('owner', 'admin', 'developer', 'viewer')`)
    .execute();
  await db.schema.createIndex('members_user_id').on('members').column('user_id').execute();
}

async function createKeys(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('api_keys')
    .addColumn('id', 'uuid', (column) => column.primaryKey())
    .addColumn('public_id', 'text', (column) => column.notNull().unique())
    .addColumn('account_id', 'uuid', (column) => column.notNull().references('accounts.id').onDelete('cascade'))
    .addColumn('created_by', 'uuid', (column) => column.references('users.id').onDelete('set null'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('secret_hash', 'bytea', (column) => column.notNull())
    .addColumn('pepper_id', 'text', (column) => column.notNull())
    .addColumn('prefix', 'text', (column) => column.notNull())
    .addColumn('last4', 'text', (column) => column.notNull())
    .addColumn('status', 'text', (column) => column.notNull().defaultTo('active'))
    .addColumn('key_version', 'integer', (column) => column.notNull().defaultTo(1))
    .addColumn('limits', 'jsonb', (column) => column.notNull())
    .addColumn('allowed_models', 'jsonb')
    .addColumn('scopes', 'jsonb', (column) => column.notNull().defaultTo(sql`'[]'::jsonb`))
    .addColumn('expires_at', 'timestamptz')
    .addColumn('created_at', 'timestamptz', (column) => column.notNull())
    .addColumn('last_used_at', 'timestamptz')
    .addColumn('revoked_at', 'timestamptz')
    .addCheckConstraint('api_keys_status_known', sql`status in ('active', 'disabled', 'revoked')`)
    .addCheckConstraint('api_keys_hash_whole', sql`octet_length(secret_hash) = 32`)
    .execute();
  await db.schema.createIndex('api_keys_account_id').on('api_keys').column('account_id').execute();
}

/** No foreign keys: a row must go in whatever became of its account, and a look-up per row would cost more than the row. */
async function createUsage(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('usage_events')
    .addColumn('request_id', 'uuid', (column) => column.notNull())
    .addColumn('started_at', 'timestamptz', (column) => column.notNull())
    .addColumn('rank', 'smallint', (column) => column.notNull())
    .addColumn('account_id', 'uuid', (column) => column.notNull())
    .addColumn('key_id', 'uuid', (column) => column.notNull())
    .addColumn('tier', 'text', (column) => column.notNull())
    .addColumn('endpoint', 'text', (column) => column.notNull())
    .addColumn('model', 'text', (column) => column.notNull())
    .addColumn('provider', 'text')
    .addColumn('upstream_model', 'text')
    .addColumn('stream', 'boolean', (column) => column.notNull())
    .addColumn('status', 'text', (column) => column.notNull())
    .addColumn('http_status', 'integer', (column) => column.notNull())
    .addColumn('error_code', 'text')
    .addColumn('usage_source', 'text', (column) => column.notNull())
    .addColumn('prompt_tokens', 'integer', (column) => column.notNull())
    .addColumn('cached_tokens', 'integer', (column) => column.notNull())
    .addColumn('cache_write_tokens', 'integer', (column) => column.notNull())
    .addColumn('completion_tokens', 'integer', (column) => column.notNull())
    .addColumn('reasoning_tokens', 'integer', (column) => column.notNull())
    .addColumn('cost_usd', 'numeric(20, 12)', (column) => column.notNull())
    .addColumn('ttft_ms', 'integer')
    .addColumn('duration_ms', 'integer', (column) => column.notNull())
    .addColumn('attempts', 'jsonb', (column) => column.notNull())
    .addColumn('inserted_at', 'timestamptz', (column) => column.notNull().defaultTo(sql`now()`))
    .addPrimaryKeyConstraint('usage_events_pkey', ['request_id', 'started_at'])
    .addCheckConstraint('usage_events_rank_known', sql`rank between 0 and 3`)
    .addCheckConstraint(
      'usage_events_status_known',
      sql`status in (${sql.join(usageStatuses.map((status) => sql.lit(status)))})`,
    )
    .addCheckConstraint('usage_events_source_known', sql`usage_source in ('provider', 'estimated')`)
    .addCheckConstraint('usage_events_cost_not_negative', sql`cost_usd >= 0`)
    .modifyEnd(sql`partition by range (started_at)`)
    .execute();
  // BRIN costs a load a tenth of what a b-tree on time does, and the rows arrive almost in its order.
  await sql`create index usage_events_started_at on usage_events using brin (started_at)`.execute(db);
  await db.schema
    .createIndex('usage_events_account_id')
    .on('usage_events')
    .columns(['account_id', 'started_at'])
    .execute();
  // Days are created ahead; should that ever be late, the rows land here instead of nowhere.
  await sql`create table usage_events_default partition of usage_events default`.execute(db);
  await db.schema
    .createTable('usage_rollups_hour')
    .addColumn('hour', 'timestamptz', (column) => column.notNull())
    .addColumn('account_id', 'uuid', (column) => column.notNull())
    .addColumn('key_id', 'uuid', (column) => column.notNull())
    .addColumn('model', 'text', (column) => column.notNull())
    // Empty when no provider was reached: a primary key has no place for null.
    .addColumn('provider', 'text', (column) => column.notNull().defaultTo(''))
    .addColumn('requests', 'bigint', (column) => column.notNull())
    .addColumn('errors', 'bigint', (column) => column.notNull())
    .addColumn('prompt_tokens', 'bigint', (column) => column.notNull())
    .addColumn('cached_tokens', 'bigint', (column) => column.notNull())
    .addColumn('completion_tokens', 'bigint', (column) => column.notNull())
    .addColumn('cost_usd', 'numeric(24, 12)', (column) => column.notNull())
    .addPrimaryKeyConstraint('usage_rollups_hour_pkey', ['hour', 'account_id', 'key_id', 'model', 'provider'])
    .execute();
  await db.schema
    .createIndex('usage_rollups_hour_account_id')
    .on('usage_rollups_hour')
    .columns(['account_id', 'hour'])
    .execute();
}

async function createAudit(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('audit_log')
    .addColumn('id', 'uuid', (column) => column.primaryKey())
    .addColumn('at', 'timestamptz', (column) => column.notNull())
    .addColumn('actor_kind', 'text', (column) => column.notNull())
    .addColumn('actor_id', 'text')
    .addColumn('account_id', 'uuid')
    .addColumn('action', 'text', (column) => column.notNull())
    .addColumn('target_kind', 'text', (column) => column.notNull())
    .addColumn('target_id', 'text', (column) => column.notNull())
    .addColumn('detail', 'jsonb', (column) => column.notNull().defaultTo(sql`'{}'::jsonb`))
    .addColumn('request_id', 'uuid')
    .execute();
  await db.schema.createIndex('audit_log_account_id').on('audit_log').columns(['account_id', 'at']).execute();
}
