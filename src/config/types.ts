/** What the rest of the house gets: one frozen value, everything resolved, every number in the unit of its name. */
import type { ModelSpec, Tier } from '../contract/flow.ts';

/** A string that prints as `[redacted]` everywhere; only `reveal()` gives it. */
export interface Secret {
  reveal(): string;
  toString(): string;
}

/** One way to be let in. Of several, each is used in proportion to its weight. */
export type ProviderKey = {
  secret: Secret;
  /** Where it was read, when that is a file of its own: what it says may change while we run. */
  file: string | null;
  weight: number;
};

/** A provider that is switched on; one that lacks its key is not in the list. */
export type ProviderConfig = {
  id: string;
  /** null: the adapter of the registry; otherwise the dialect of a declared endpoint (`openai-compat`, `openai-exact`). */
  dialect: string | null;
  /** null: the adapter's own. Never ends in a slash. */
  baseUrl: string | null;
  /** Empty: it is asked without one. */
  keys: readonly ProviderKey[];
  /** What its adapter declares beside the key, such as a region; each checked. */
  settings: Readonly<Record<string, string>>;
  /** Loopback and private addresses are refused unless this is set. */
  allowPrivate: boolean;
  /** An account's own key for this provider is used where it has brought one. */
  ownKeys: boolean;
};

export type Timeouts = {
  connectMs: number;
  firstByteMs: number;
  idleMs: number;
  totalMs: number;
  /** A client that takes no bytes for this long is cut. */
  clientStallMs: number;
  /** A comment is sent after this much silence on a stream. */
  keepAliveCommentMs: number;
};

/** Whole days in UTC before today; null keeps everything. */
export type Retention = {
  usageDays: number | null;
  rejectionsDays: number | null;
  auditDays: number | null;
  deadLettersDays: number | null;
};

export type RedisSettings = {
  /** Fixed for the life of the data: an account's keys all live in one. */
  shards: number;
  sentinelPassword: Secret | null;
  /** Usage rows of one shard that may wait; beyond either cap it admits nothing. */
  streamEntries: number;
  streamBytes: number;
};

export type GatewayConfig = {
  environment: 'production' | 'development';
  host: string;
  port: number;
  publicUrl: string | null;
  logLevel: string;
  /** CIDR list of proxies whose forwarded headers are believed. */
  trustProxy: readonly string[];
  bodyLimitBytes: number;
  dataDirectory: string;
  /** `strict`: what was answered survives a loss of power; `standard`: all but the last moment. */
  durability: 'standard' | 'strict';
  databaseUrl: Secret | null;
  /** In one of the forms of `parseRedisUrl`. */
  redisUrl: Secret | null;
  redis: RedisSettings;
  /** null: embedded mode makes one in the data directory; with `DATABASE_URL` its absence stops the start in production. */
  secret: Secret | null;
  bootstrapKey: Secret | null;
  timeouts: Timeouts;
  retention: Retention;
  providers: readonly ProviderConfig[];
  /** Public name to ordered `provider/model` ids or names of other models. */
  aliases: Readonly<Record<string, readonly string[]>>;
  tiers: Readonly<Record<string, Tier>>;
  catalogue: readonly ModelSpec[];
  /** Origins whose pages may call /v1 from a browser; empty is none. */
  corsOrigins: readonly string[];
  /** Hosts from which files are fetched that a caller names by URL; empty is none. */
  fetchHosts: readonly string[];
  /** Parameters that a model does not support are refused, not dropped. */
  strict: boolean;
  /** The built-in provider that needs no key. */
  demo: boolean;
  /** What `config print` shows: dotted path to value (secrets redacted) and origin (`flag`, `env NAME`, `file:line:column`, `default`). */
  origins: ReadonlyMap<string, { value: string; origin: string }>;
  /** One line each, with its position; nothing here stops the start. */
  warnings: readonly string[];
  /** Absolute paths of everything that was read: a change of any of them is a reason to load again. */
  files: readonly string[];
};
