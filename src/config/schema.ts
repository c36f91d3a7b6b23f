/**
 * What the two files may say: the validator at start-up, the JSON Schema that editors use and the reference page are all
 * this one value. Objects are closed, so a mistyped key is an error and not a setting that silently does nothing.
 * `errorMessage` is said by the start-up and by editors alike. Patterns check the shape; the parsers in `units.ts` the range.
 */
import { type Static, type TSchema, Type } from 'typebox';
import * as units from './units.ts';

const closed = { additionalProperties: false };

const text = (errorMessage: string, description: string) => Type.String({ errorMessage, description });
type Parse = (input: string | number) => units.Parsed<unknown>;

/** The range is checked by the very parser that later gives the number; JSON Schema sees the pattern alone. */
function inRange<T extends TSchema>(schema: T, parse: Parse) {
  const read = (value: unknown): units.Parsed<unknown> =>
    typeof value === 'string' || typeof value === 'number' ? parse(value) : parse('');
  const messageOf = (parsed: units.Parsed<unknown>): string => (parsed.ok ? '' : parsed.message);
  return Type.Refine<T, unknown>(
    schema,
    (value) => read(value).ok,
    (value) => messageOf(read(value)),
  );
}

const number = ({ pattern, expected }: units.Form, parse: Parse, description: string) =>
  inRange(
    Type.Union([Type.Integer({ minimum: 0 }), Type.String({ pattern })], { errorMessage: expected, description }),
    parse,
  );
const withUnit = ({ pattern, expected }: units.Form, parse: Parse, description: string) =>
  inRange(Type.String({ pattern, errorMessage: expected, description }), parse);
const clock = (description: string) => withUnit(units.durationForm, units.parseDuration, description);
const limit = (description: string) => number(units.countForm, units.parseCount, description);
const flag = (description: string) =>
  Type.Union([Type.Boolean(), Type.Enum(['true', 'false'])], { errorMessage: 'expected true or false', description });
const listOf = (item: string, description: string) =>
  Type.Array(Type.String({ minLength: 1, errorMessage: `expected ${item}` }), {
    errorMessage: `expected a list of ${item} entries`,
    description,
  });

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
const listPrice = (description: string) => number(units.listPriceForm, units.parseListPrice, description);

const rates = {
  in: listPrice('Fresh input.'),
  cached_in: Type.Optional(listPrice('Input read from the cache. Default: as input.')),
  cache_write: Type.Optional(listPrice('Input written to the cache. Default: as input.')),
  long_cache_write: Type.Optional(listPrice('Input written to the cache for an hour. Default: as cache_write.')),
  audio_in: Type.Optional(listPrice('Audio that it hears. Default: as input.')),
  out: listPrice('Output.'),
  reasoning: Type.Optional(listPrice('Reasoning. Default: as output.')),
  audio_out: Type.Optional(listPrice('Audio that it speaks. Default: as output.')),
};

const ModelPrice = Type.Object(
  {
    ...rates,
    above: Type.Optional(
      Type.Object(
        { prompt: number(units.tokensForm, units.parseTokens, 'Longer prompts than this many tokens.'), ...rates },
        { ...closed, description: 'Rates of the whole request when its prompt is longer.' },
      ),
    ),
  },
  { ...closed, description: 'USD per million tokens.' },
);

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

const date = (description: string) => withUnit(units.dayForm, units.parseDay, description);
const parameterList = listOf('parameter name', 'Request parameters that the model accepts.');
const modalityNames = ['text', 'image', 'audio', 'video', 'file', 'embedding'] as const;
const modalities = (description: string) =>
  Type.Array(Type.Enum([...modalityNames], { errorMessage: `expected one of ${modalityNames.join(', ')}` }), {
    minItems: 1,
    errorMessage: `expected a list of ${modalityNames.join(', ')}`,
    description,
  });

const oneOf = <const T extends readonly string[]>(names: T, description: string) =>
  Type.Enum([...names] as T[number][], { errorMessage: `expected one of ${names.join(', ')}`, description });

const Abilities = Type.Object(
  {
    thinking: Type.Optional(oneOf(['none', 'budget', 'adaptive', 'level'], 'How its thinking is steered.')),
    can_stop_thinking: Type.Optional(flag('False: it always thinks.')),
    thinks_by_default: Type.Optional(flag('It thinks unless told not to.')),
    efforts: Type.Optional(listOf('effort', 'Values of reasoning_effort that it knows by their own names.')),
    sampling: Type.Optional(oneOf(['both', 'one', 'none'], 'Whether temperature and top_p may be set.')),
    top_k: Type.Optional(flag('Takes top_k.')),
    json_schema: Type.Optional(flag('Answers by a schema natively.')),
    strict_tools: Type.Optional(flag('Takes strict tools.')),
    forced_tool: Type.Optional(oneOf(['accepted', 'unless-thinking', 'never'], 'Whether a tool may be forced.')),
    inline_system: Type.Optional(flag('Takes system messages in the middle of a conversation.')),
    prefill: Type.Optional(flag('Goes on from a last message of the assistant.')),
    reasoning_history: Type.Optional(
      oneOf(['strip', 'content', 'blocks', 'details'], "What of an earlier answer's reasoning is sent back."),
    ),
    parse_think: Type.Optional(flag('Its text begins with <think>, to be told apart from the answer.')),
  },
  { ...closed, description: 'What a model can do beyond its parameters.' },
);
export type AbilitiesEntry = Static<typeof Abilities>;
export type PriceEntry = Static<typeof ModelPrice>;

const CatalogueEntry = Type.Object(
  {
    name: text('expected text', 'For people.'),
    context: number(units.tokensForm, units.parseTokens, 'Context window.'),
    max_output: number(units.tokensForm, units.parseTokens, 'Longest answer.'),
    input: modalities('What it reads.'),
    output: modalities('What it gives.'),
    parameters: Type.Union([Type.String({ minLength: 1 }), parameterList], {
      errorMessage: 'expected the name of a parameter set or a list of parameters',
      description: 'A set of the section parameters, or a list.',
    }),
    abilities: Type.Optional(
      Type.Union([Type.String({ minLength: 1 }), Abilities], {
        errorMessage: 'expected the name of a set of abilities or a mapping of abilities',
        description: 'A set of the section abilities, or a mapping.',
      }),
    ),
    price: Type.Optional(ModelPrice),
    created: date('Constant per model; clients sort by it.'),
  },
  { ...closed },
);

export const CatalogueFile = Type.Object(
  {
    as_of: Type.Record(Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,62}$' }), date('When its prices were read.'), {
      ...closed,
      description: 'Per provider, the day for which its prices are known to be right.',
    }),
    parameters: Type.Optional(
      Type.Record(Type.String({ pattern: '^[a-z][a-z0-9_]*$' }), parameterList, {
        ...closed,
        description: 'Named sets of parameters.',
      }),
    ),
    abilities: Type.Optional(
      Type.Record(Type.String({ pattern: '^[a-z][a-z0-9_]*$' }), Abilities, {
        ...closed,
        description: 'Named sets of abilities.',
      }),
    ),
    models: Type.Record(Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,62}/\\S{1,200}$' }), CatalogueEntry, {
      ...closed,
      description: 'By provider/upstream-model.',
    }),
  },
  { ...closed, title: 'Tollgate: models.yaml' },
);
export type CatalogueFile = Static<typeof CatalogueFile>;

/** The committed `config/gateway.schema.json`, byte for byte. */
export function renderGatewaySchema(): string {
  return `${JSON.stringify({ $schema: 'http://json-schema.org/draft-07/schema#', ...GatewayFile }, null, 2)}\n`;
}
