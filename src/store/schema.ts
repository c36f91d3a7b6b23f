/**
 * The rows as the database has them; a different truth from the wire's. What both drivers give back alike is declared here:
 * times are Date, numeric is a decimal string, jsonb comes parsed and goes in as text (an array would become a Postgres array).
 */
import type { ColumnType, Kysely, Transaction } from 'kysely';
import type { Attempt, Limits, Price, Tier, UsageRank, UsageSource, UsageStatus } from '../contract/flow.ts';

type Time = ColumnType<Date, Date, Date>;
type OptionalTime = ColumnType<Date | null, Date | null | undefined, Date | null>;
type Defaulted<T> = ColumnType<T, T | undefined, T>;
type Json<T> = ColumnType<T, string, string>;

export type AccountStatus = 'active' | 'suspended';
export type UserStatus = 'active' | 'disabled';
export type MemberRole = 'owner' | 'admin' | 'developer' | 'viewer';
export type KeyStatus = 'active' | 'disabled' | 'revoked';

export type TiersTable = { id: string; data: Json<Tier>; updated_at: Time };

export type AccountsTable = {
  id: string;
  name: string;
  tier: string;
  auth_version: Defaulted<number>;
  status: Defaulted<AccountStatus>;
  created_at: Time;
};

export type UsersTable = {
  id: string;
  /** Lower case. */
  email: string;
  display_name: string;
  /** null: no password yet, or another way in. */
  password_hash: ColumnType<string | null, string | null | undefined, string | null>;
  status: Defaulted<UserStatus>;
  created_at: Time;
};

export type MembersTable = { account_id: string; user_id: string; role: MemberRole; created_at: Time };

export type ApiKeysTable = {
  id: string;
  public_id: string;
  account_id: string;
  created_by: string | null;
  name: string;
  secret_hash: ColumnType<Uint8Array, Uint8Array, Uint8Array>;
  pepper_id: string;
  prefix: string;
  last4: string;
  status: Defaulted<KeyStatus>;
  key_version: Defaulted<number>;
  limits: Json<Limits>;
  /** null: whatever the tier allows. */
  allowed_models: ColumnType<readonly string[] | null, string | null | undefined, string | null>;
  scopes: ColumnType<readonly string[], string | undefined, string>;
  strict: Defaulted<boolean>;
  expires_at: OptionalTime;
  created_at: Time;
  last_used_at: OptionalTime;
  revoked_at: OptionalTime;
};

export type ProviderCredentialsTable = {
  account_id: string;
  provider: string;
  sealed: string;
  last4: string;
  created_at: Time;
};

export type UsageEventsTable = {
  request_id: string;
  started_at: Time;
  rank: UsageRank;
  account_id: string;
  key_id: string;
  tier: string;
  endpoint: string;
  model: string;
  provider: string | null;
  upstream_model: string | null;
  stream: boolean;
  status: UsageStatus;
  http_status: number;
  error_code: string | null;
  usage_source: UsageSource;
  prompt_tokens: number;
  cached_tokens: number;
  cache_write_tokens: number;
  completion_tokens: number;
  reasoning_tokens: number;
  /** Exact decimal with twelve places. */
  long_cache_write_tokens: Defaulted<number>;
  audio_prompt_tokens: Defaulted<number>;
  audio_completion_tokens: Defaulted<number>;
  cost_usd: string;
  /** null: the model had no price. */
  price_version: ColumnType<string | null, string | null | undefined, string | null>;
  ttft_ms: number | null;
  duration_ms: number;
  attempts: Json<Attempt[]>;
  /** When the row took its present form: a better record renews it, so a roll-up can tell what is new. */
  inserted_at: ColumnType<Date, never, never>;
};

export type PriceVersionsTable = { version: string; price: Json<Price>; first_seen_at: ColumnType<Date, never, never> };

export type UsageRollupsHourTable = {
  hour: Time;
  account_id: string;
  key_id: string;
  model: string;
  /** Empty when none was reached. */
  provider: string;
  status: UsageStatus;
  /** 64-bit counts are text in one driver and number in the other; cast them in the query. */
  requests: ColumnType<string | number, number, number>;
  prompt_tokens: ColumnType<string | number, number, number>;
  cached_tokens: ColumnType<string | number, number, number>;
  cache_write_tokens: ColumnType<string | number, number, number>;
  completion_tokens: ColumnType<string | number, number, number>;
  reasoning_tokens: ColumnType<string | number, number, number>;
  cost_usd: string;
};

/** One row: how far the jobs on the ledger came. */
export type UsageUpkeepTable = {
  id: Defaulted<number>;
  seen_until: Time;
  closed_until: Time;
  /** Rows before this moment may be gone: what was summed of them is final. */
  rows_kept_from: Time;
};

export type RejectionsMinuteTable = {
  minute: Time;
  account_id: string;
  key_id: string;
  reason: string;
  status: number;
  replica: string;
  count: ColumnType<string | number, number, number>;
};

export type JournalCursorsTable = {
  journal_id: string;
  position: ColumnType<string | number, number, number>;
  saved_at: ColumnType<Date, never, Date | string>;
};

export type UsageIntentsTable = {
  request_id: string;
  started_at: Time;
  record: string;
};

/** Entries of the usage stream that could not become rows. */
export type UsageDlqTable = {
  id: ColumnType<string | number, never, never>;
  at: ColumnType<Date, never, never>;
  stream_id: string;
  request_id: string | null;
  payload: string;
  error: string;
};

export type AuditLogTable = {
  id: string;
  at: Time;
  actor_kind: string;
  actor_id: string | null;
  account_id: string | null;
  action: string;
  target_kind: string;
  target_id: string;
  detail: Json<Readonly<Record<string, unknown>>>;
  request_id: string | null;
};

export type AuthOutboxTable = {
  id: string;
  at: Time;
  account_id: string;
  account_version: number | null;
  key_id: string | null;
  key_version: number | null;
  public_id: string | null;
};

export type ShardCountsTable = { key_prefix: string; shards: number };

export type StoreSchema = {
  shard_counts: ShardCountsTable;
  auth_outbox: AuthOutboxTable;
  tiers: TiersTable;
  accounts: AccountsTable;
  users: UsersTable;
  members: MembersTable;
  api_keys: ApiKeysTable;
  provider_credentials: ProviderCredentialsTable;
  usage_events: UsageEventsTable;
  usage_rollups_hour: UsageRollupsHourTable;
  price_versions: PriceVersionsTable;
  usage_upkeep: UsageUpkeepTable;
  rejections_minute: RejectionsMinuteTable;
  audit_log: AuditLogTable;
  usage_dlq: UsageDlqTable;
  journal_cursors: JournalCursorsTable;
  usage_intents: UsageIntentsTable;
};

/** Every function of this room takes one; inside a transaction, hand it the transaction. */
export type Store = Kysely<StoreSchema> | Transaction<StoreSchema>;
