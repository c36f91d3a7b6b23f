/**
 * What the two files may say: the validator at start-up, the JSON Schema that editors use and the reference page are all
 * this one value. Objects are closed, so a mistyped key is an error and not a setting that silently does nothing.
 * `errorMessage` is said by the start-up and by editors alike. Patterns check the shape; the parsers in `units.ts` the range.
 */
import { type Static, Type } from 'typebox';
import { ModelPrice } from './catalogue-schema.ts';
import { clock, closed, flag, limit, listOf, number, text, withUnit } from './schema-fields.ts';
import * as units from './units.ts';

const keyFields = {
  key: Type.Optional(text('expected text', 'API key, best as "${NAME:-}" or "${file:/path}". Empty: switched off.')),
  key_file: Type.Optional(text('expected a path', 'File that holds the API key; read again when it changes.')),
};

const WeightedKey = Type.Object(
  {
    ...keyFields,
    weight: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1000,
        errorMessage: 'expected a whole number between 1 and 1000',
        description: 'Its share of the requests. Default 1.',
      }),
    ),
  },
  { ...closed, description: 'One of several keys.' },
);

const Endpoint = Type.Object(
  {
    ...keyFields,
    keys: Type.Optional(
      Type.Array(
        Type.Union([Type.String({ minLength: 1 }), WeightedKey], {
          errorMessage: 'expected a key as text, or { key or key_file, weight }',
        }),
        {
          minItems: 1,
          errorMessage: 'expected a list of keys, each as text or as { key or key_file, weight }',
          description: 'Several API keys, used in proportion to their weights.',
        },
      ),
    ),
    settings: Type.Optional(
      Type.Record(
        Type.String({ pattern: '^[a-z][a-z0-9_]*$' }),
        Type.String({ minLength: 1, errorMessage: 'expected text' }),
        { ...closed, description: 'What this provider needs beside a key, such as a region.' },
      ),
    ),
    base_url: Type.Optional(text('expected an http or https URL', 'Where the API is, up to and with its /v1.')),
    dialect: Type.Optional(text('expected the name of a dialect', 'Makes this a private endpoint of that dialect.')),
    allow_private: Type.Optional(flag('Permits loopback and private addresses.')),
    own_keys: Type.Optional(
      flag('Accounts may bring a key of their own, which is then used instead of ours. Default false.'),
    ),
  },
  {
    ...closed,
    description: 'A provider of the registry by its name, or a private endpoint with dialect and base_url.',
  },
);

const ModelName = Type.String({ minLength: 1, errorMessage: 'expected provider/model or the name of another model' });
const Targets = Type.Union([ModelName, Type.Array(ModelName, { minItems: 1 })], {
  errorMessage: 'expected provider/model, or a list of them in the order in which they are tried',
  description: 'One target, or several in order: the next is tried when one fails before its first byte.',
});

const money = (description: string) => number(units.budgetForm, units.parseBudgetUsd, description);

const Budget = Type.Object(
  {
    daily: Type.Optional(money('From midnight to midnight, UTC.')),
    weekly: Type.Optional(money('From Monday to Sunday, UTC.')),
    monthly: Type.Optional(money('The month of the calendar, UTC.')),
    total: Type.Optional(money('Once and for all: it never resets.')),
  },
  { ...closed, description: 'USD that an account may spend in a period. 0 denies; absent is unlimited.' },
);

const shadowForm = 'expected rpm, tpm, concurrency or budget';
export const redisDownPolicies = ['closed', 'local-share'] as const;

const TierEntry = Type.Object(
  {
    price: Type.Optional(number(units.priceForm, units.parsePriceUsd, 'USD per month, or custom.')),
    rpm: Type.Optional(limit('Requests per minute. 0 denies; absent is unlimited.')),
    tpm: Type.Optional(limit('Tokens per minute. 0 denies; absent is unlimited.')),
    concurrency: Type.Optional(limit('Requests at the same time. 0 denies; absent is unlimited.')),
    budget: Type.Optional(Budget),
    reservation_cap: Type.Optional(
      number(
        units.reservationCapForm,
        units.parseReservationCap,
        'The most tokens that one request reserves, or none. Default: a quarter of the tightest tpm.',
      ),
    ),
    shadow: Type.Optional(
      Type.Array(Type.Enum(['rpm', 'tpm', 'concurrency', 'budget'], { errorMessage: shadowForm }), {
        errorMessage: `${shadowForm} entries in a list`,
        description: 'Limits of this tier that refuse nobody: what they would refuse is counted in the metrics.',
      }),
    ),
    hard_cap: Type.Optional(flag('Cuts a stream that passes what was reserved for it. Default: the rest is debt.')),
    hard_revoke: Type.Optional(
      flag('Cuts running requests of a key that was revoked or disabled, within 10s. Default: they end.'),
    ),
    strict_leases: Type.Optional(
      flag('Cuts a running request whose lease ran out and cannot be renewed. Default: it ends, and its row says so.'),
    ),
    redis_down: Type.Optional(
      Type.Enum([...redisDownPolicies], {
        errorMessage: `expected ${redisDownPolicies.join(' or ')}`,
        description:
          'While Redis gives no answer: closed (default) refuses with 503; local-share lets each gateway admit its share of the limits, without budgets, for at most five minutes.',
      }),
    ),
    history: Type.Optional(
      withUnit(units.historyForm, units.parseHistoryDays, 'How long conversations are kept; absent is unlimited.'),
    ),
    models: Type.Union([Type.Enum(['*']), Type.Array(Type.String({ minLength: 1, errorMessage: 'expected a name' }))], {
      errorMessage: 'expected "*" or a list of names, provider/model ids and patterns with *',
      description: 'What its accounts may call.',
    }),
  },
  { ...closed, description: 'The limits of a plan. They belong to the account; a key may be tighter.' },
);

const Timeouts = Type.Object(
  {
    connect: Type.Optional(clock('Connecting to a provider. Default 5s.')),
    first_byte: Type.Optional(clock('Until the first byte of the answer. Default 60s.')),
    idle: Type.Optional(clock('Between two bytes of the answer. Default 120s.')),
    total: Type.Optional(clock('The whole request. Default 30m.')),
    client_stall: Type.Optional(clock('A client that takes no bytes. Default 60s.')),
    keep_alive_comment: Type.Optional(clock('Silence after which a comment is sent. Default 15s.')),
  },
  { ...closed, description: 'The clocks of a request.' },
);

/** Whole days that anything must be kept at least, and for how long it is when the file does not say. */
export const retentionRules = {
  usage: { least: 1, fallback: '400d', description: 'Usage rows, whole days in UTC; their hourly sums stay.' },
  rejections: { least: 1, fallback: '90d', description: 'Counts of refused requests.' },
  audit: { least: 90, fallback: '400d', description: 'Who changed what; never less than 90d.' },
  dead_letters: { least: 1, fallback: '90d', description: 'Usage records that no row could be made of.' },
} as const;

const keep = ({ least, fallback, description }: (typeof retentionRules)[keyof typeof retentionRules]) =>
  withUnit(units.historyForm, (input) => units.parseRetentionDays(input, least), `${description} Default ${fallback}.`);

const Retention = Type.Object(
  {
    usage: Type.Optional(keep(retentionRules.usage)),
    rejections: Type.Optional(keep(retentionRules.rejections)),
    audit: Type.Optional(keep(retentionRules.audit)),
    dead_letters: Type.Optional(keep(retentionRules.dead_letters)),
  },
  { ...closed, description: 'How long the database keeps what it was told; unlimited keeps everything.' },
);

const waitingRows = 'Usage rows of a shard that may wait for Postgres; beyond, it admits nothing.';

const Redis = Type.Object(
  {
    shards: Type.Optional(number(units.shardsForm, units.parseShards, 'How many parts hold the accounts. Default 1.')),
    sentinel_password: Type.Optional(text('expected text', 'Of the Sentinels themselves, when they ask for one.')),
    stream_entries: Type.Optional(number(units.tokensForm, units.parseTokens, `${waitingRows} Default 1m.`)),
    stream_size: Type.Optional(number(units.sizeForm, units.parseSize, 'The same in bytes. Default 512MiB.')),
  },
  { ...closed, description: 'How limits are laid out in Redis.' },
);

export const durabilities = ['standard', 'strict'] as const;
export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

export const GatewayFile = Type.Object(
  {
    port: Type.Optional(
      Type.Union([Type.Integer({ minimum: 0, maximum: 65_535 }), Type.String({ pattern: '^\\d{1,5}$' })], {
        errorMessage: 'expected a port between 0 and 65535',
        description: 'Default 8080.',
      }),
    ),
    host: Type.Optional(text('expected an address', 'Default 127.0.0.1, in production 0.0.0.0.')),
    public_url: Type.Optional(text('expected an http or https URL', 'How users reach this gateway.')),
    log_level: Type.Optional(
      Type.Enum([...logLevels], {
        errorMessage: `expected one of ${logLevels.join(', ')}`,
        description: 'Default info.',
      }),
    ),
    trust_proxy: Type.Optional(
      listOf('IP address or CIDR', 'Proxies whose forwarded headers are believed. Default none.'),
    ),
    body_limit: Type.Optional(number(units.sizeForm, units.parseSize, 'Largest request body. Default 4MiB.')),
    data: Type.Optional(text('expected a path', 'Folder of the embedded stores. Default .tollgate.')),
    durability: Type.Optional(
      Type.Enum([...durabilities], {
        errorMessage: `expected ${durabilities.join(' or ')}`,
        description:
          'What survives a loss of power. standard (default): all but the last moment. strict: everything that was answered; the local journal is synced before each answer, and Redis should run with appendfsync always.',
      }),
    ),
    database_url: Type.Optional(text('expected a postgres:// URL', 'Absent: an embedded Postgres.')),
    redis_url: Type.Optional(
      text(
        'expected a redis:// URL',
        'redis://host, redis+sentinel://host,host/master-name or redis+cluster://host,host. Absent: limits in this process.',
      ),
    ),
    redis: Type.Optional(Redis),
    secret: Type.Optional(text('expected text', 'At least 32 characters; all key hashes depend on it.')),
    cors_origins: Type.Optional(
      Type.Array(
        Type.String({
          pattern: '^(?:\\*|https?://[^/\\s]+)$',
          errorMessage: 'expected an origin such as https://app.example.com, or *',
        }),
        {
          errorMessage: 'expected a list of origins',
          description: 'Origins whose pages may call /v1 from a browser. Default none.',
        },
      ),
    ),
    fetch_hosts: Type.Optional(
      Type.Array(
        Type.String({
          pattern: '^(?:\\*|(?:\\*\\.)?[a-z0-9-]+(?:\\.[a-z0-9-]+)+)$',
          errorMessage: 'expected a host name such as cdn.example.com, *.example.com or *',
        }),
        {
          errorMessage: 'expected a list of host names',
          description:
            'Hosts from which images and files are fetched that a request names by URL, for models that take only bytes. Default none.',
        },
      ),
    ),
    strict: Type.Optional(
      flag('Refuse parameters that a model does not support instead of dropping and reporting them. Default false.'),
    ),
    demo: Type.Optional(flag('The built-in provider that needs no key. Default on, in production off.')),
    catalogue: Type.Optional(text('expected a path', 'The catalogue, relative to this file. Default models.yaml.')),
    providers: Type.Optional(
      Type.Record(Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,62}$' }), Endpoint, {
        ...closed,
        description: 'Providers of the registry need no entry here when their <NAME>_API_KEY is set.',
      }),
    ),
    models: Type.Optional(
      Type.Record(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$' }), Targets, {
        ...closed,
        description: 'Public names.',
      }),
    ),
    tiers: Type.Optional(
      Type.Record(Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,62}$' }), TierEntry, {
        ...closed,
        minProperties: 1,
        description: 'Plans.',
      }),
    ),
    prices: Type.Optional(
      Type.Record(Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,62}/\\S{1,200}$' }), ModelPrice, {
        ...closed,
        description: 'What a model of the catalogue costs you where that is not its list price, by provider/model.',
      }),
    ),
    timeouts: Type.Optional(Timeouts),
    retention: Type.Optional(Retention),
  },
  { ...closed, title: 'Tollgate: gateway.yaml' },
);
export type GatewayFile = Static<typeof GatewayFile>;

/** The committed `config/gateway.schema.json`, byte for byte. */
export function renderGatewaySchema(): string {
  return `${JSON.stringify({ $schema: 'http://json-schema.org/draft-07/schema#', ...GatewayFile }, null, 2)}\n`;
}
