/**
 * The single-valued settings, each decided by flag, then environment, then file, then default, and noted with its
 * origin. A setting is named by its path in the file with a leading dot: `.timeouts.connect`.
 */
import { isIP } from 'node:net';
import { parseRedisUrl } from './redis-url.ts';
import type { Path, Place, Report } from './report.ts';
import { commandLinePlace, environmentPlace, formatPlace } from './report.ts';
import type { GatewayFile } from './schema.ts';
import { logLevels, retentionRules } from './schema.ts';
import { createSecret, redacted } from './secret.ts';
import type { RedisSettings, Retention, Secret, Timeouts } from './types.ts';
import {
  type Parsed,
  parseDuration,
  parseFlag,
  parsePort,
  parseRetentionDays,
  parseShards,
  parseSize,
  parseTokens,
} from './units.ts';
import { parseEndpointUrl, parseStoreUrl } from './url.ts';
import type { YamlFile } from './yaml-file.ts';

export type Flags = {
  config?: string | undefined;
  port?: string | number | undefined;
  host?: string | undefined;
};

export type Sources = {
  flags: Flags;
  environment: Readonly<Record<string, string | undefined>>;
  file: YamlFile;
  /** What of the file fits the schema. */
  content: GatewayFile;
  report: Report;
};

type Written = string | number | boolean | undefined;

type Setting<T> = {
  flag?: 'port' | 'host';
  variable?: string;
  written?: Written;
  parse(text: string | number | boolean): Parsed<T>;
  fallback: T;
  isSecret?: boolean;
};

/** An empty variable counts as unset: Compose and Helm pass empty ones on for everything that was left out. */
export function readVariable(environment: Sources['environment'], name: string): string | undefined {
  const value = environment[name];
  return value === undefined || value.trim() === '' ? undefined : value;
}

type Candidate = { text: string | number | boolean; place: Place; path: Path; origin: string; shown: string };

function findCandidate(name: string, setting: Setting<unknown>, sources: Sources): Candidate | null {
  const { flags, environment, file } = sources;
  const flag = setting.flag === undefined ? undefined : flags[setting.flag];
  const shown = (text: string | number | boolean): string => (setting.isSecret === true ? redacted : String(text));
  if (setting.flag !== undefined && flag !== undefined) {
    return { text: flag, place: commandLinePlace, path: [`--${setting.flag}`], origin: 'flag', shown: shown(flag) };
  }
  const { variable } = setting;
  const value = variable === undefined ? undefined : readVariable(environment, variable);
  if (variable !== undefined && value !== undefined) {
    return { text: value, place: environmentPlace, path: [variable], origin: `env ${variable}`, shown: shown(value) };
  }
  if (setting.written === undefined || setting.written === '') return null;
  const path = name.split('.').slice(1);
  const place = file.place(path);
  const text = setting.written;
  return { text, place, path, origin: formatPlace(place), shown: file.display(path, shown(text)) };
}

function read<T>(name: string, setting: Setting<T>, sources: Sources): T {
  const { report } = sources;
  const path = name.split('.').slice(1);
  const candidate = findCandidate(name, setting, sources);
  if (candidate === null) {
    report.record(path, show(setting.fallback), 'default');
    return setting.fallback;
  }
  const parsed = setting.parse(candidate.text);
  if (!parsed.ok) {
    report.refuse(candidate.place, candidate.path, parsed.message);
    return setting.fallback;
  }
  report.record(path, candidate.shown, candidate.origin);
  return parsed.value;
}

export function show(value: unknown): string {
  if (value === null || value === undefined) return '(none)';
  if (Array.isArray(value)) return value.length === 0 ? '(none)' : value.join(', ');
  return typeof value === 'string' ? value : JSON.stringify(value);
}

const accept = <T>(value: T): Parsed<T> => ({ ok: true, value });
const parseText = (text: string | number | boolean): Parsed<string> => accept(String(text).trim());
const toScalar = (text: string | number | boolean): string | number =>
  typeof text === 'boolean' ? String(text) : text;

function parseLogLevel(text: string | number | boolean): Parsed<string> {
  const level = String(text).trim().toLowerCase();
  return logLevels.some((known) => known === level)
    ? accept(level)
    : { ok: false, message: `expected one of ${logLevels.join(', ')}` };
}

const parseDurability = (text: string | number | boolean): Parsed<'standard' | 'strict'> =>
  accept(text === 'strict' ? text : 'standard');

function parseSecret(minLength: number) {
  return (text: string | number | boolean): Parsed<Secret | null> => {
    const value = String(text).trim();
    return value.length < minLength
      ? { ok: false, message: `expected at least ${minLength} characters; openssl rand -hex 32 makes a good one` }
      : accept(createSecret(value));
  };
}

const parseUrl = (text: string | number | boolean): Parsed<string | null> => parseEndpointUrl(String(text));

/** Everything of the configuration that is one value and not a list or a table. */
export function readSettings(sources: Sources, defaults: { isProduction: boolean }) {
  const { content } = sources;
  const { isProduction } = defaults;
  const size = (text: string | number | boolean): Parsed<number> => parseSize(toScalar(text));
  const port = (text: string | number | boolean): Parsed<number> => parsePort(toScalar(text));
  return {
    port: read(
      '.port',
      { flag: 'port', variable: 'PORT', written: content.port, parse: port, fallback: 8080 },
      sources,
    ),
    host: read(
      '.host',
      {
        flag: 'host',
        variable: 'HOST',
        written: content.host,
        parse: parseText,
        fallback: isProduction ? '0.0.0.0' : '127.0.0.1',
      },
      sources,
    ),
    publicUrl: read('.public_url', { written: content.public_url, parse: parseUrl, fallback: null }, sources),
    logLevel: read(
      '.log_level',
      { variable: 'LOG_LEVEL', written: content.log_level, parse: parseLogLevel, fallback: 'info' },
      sources,
    ),
    bodyLimitBytes: read(
      '.body_limit',
      { written: content.body_limit, parse: size, fallback: 4 * 1024 * 1024 },
      sources,
    ),
    dataDirectory: read(
      '.data',
      { variable: 'TOLLGATE_DATA', written: content.data, parse: parseText, fallback: '.tollgate' },
      sources,
    ),
    durability: read(
      '.durability',
      { written: content.durability, parse: parseDurability, fallback: 'standard' as const },
      sources,
    ),
    demo: read(
      '.demo',
      { variable: 'TOLLGATE_DEMO', written: content.demo, parse: parseFlag, fallback: !isProduction },
      sources,
    ),
    strict: read('.strict', { written: content.strict, parse: parseFlag, fallback: false }, sources),
    trustProxy: readTrustProxy(sources),
    fetchHosts: readFetchHosts(sources),
    corsOrigins: readList('cors_origins', sources),
    redis: readRedis(sources),
    timeouts: readTimeouts(sources),
    retention: readRetention(sources),
    ...readSecrets(sources),
  };
}

function readSecrets(sources: Sources) {
  const { content } = sources;
  const secret = (name: string, variable: string, written: Written, parse: Setting<Secret | null>['parse']) =>
    read<Secret | null>(name, { variable, written, parse, fallback: null, isSecret: true }, sources);
  return {
    databaseUrl: secret('.database_url', 'DATABASE_URL', content.database_url, (text) =>
      parseStoreUrl(String(text), ['postgres:', 'postgresql:']),
    ),
    redisUrl: secret('.redis_url', 'REDIS_URL', content.redis_url, (text) => {
      const parsed = parseRedisUrl(String(text));
      return parsed.ok ? accept(createSecret(String(text).trim())) : parsed;
    }),
    secret: secret('.secret', 'TOLLGATE_SECRET', content.secret, parseSecret(32)),
    bootstrapKey: secret('.bootstrap_key', 'TOLLGATE_BOOTSTRAP_KEY', undefined, parseSecret(1)),
  };
}

/** A setting of a section, whose default is shown as it would be written. */
function readIn<T>(
  section: string,
  name: string,
  { written, fallback, parse }: { written: Written; fallback: string; parse: (text: string | number) => Parsed<T> },
  sources: Sources,
): T | undefined {
  const parsed = parse(fallback);
  const value = parsed.ok ? parsed.value : undefined;
  if (written === undefined) {
    sources.report.record([section, name], fallback, 'default');
    return value;
  }
  return read(`.${section}.${name}`, { written, parse: (text) => parse(toScalar(text)), fallback: value }, sources);
}

function readRedis(sources: Sources): RedisSettings {
  const written = sources.content.redis ?? {};
  const readOne = <T>(name: keyof typeof written, setting: Omit<Setting<T>, 'written'>): T =>
    read(`.redis.${name}`, { ...setting, written: written[name] }, sources);
  return {
    shards: readOne<number>('shards', {
      variable: 'REDIS_SHARDS',
      parse: (text) => parseShards(toScalar(text)),
      fallback: 1,
    }),
    sentinelPassword: readOne<Secret | null>('sentinel_password', {
      variable: 'REDIS_SENTINEL_PASSWORD',
      parse: parseSecret(1),
      fallback: null,
      isSecret: true,
    }),
    streamEntries: readOne<number>('stream_entries', {
      parse: (text) => parseTokens(toScalar(text)),
      fallback: 1_000_000,
    }),
    streamBytes: readOne<number>('stream_size', {
      parse: (text) => parseSize(toScalar(text)),
      fallback: 512 * 1024 * 1024,
    }),
  };
}

function readTimeouts(sources: Sources): Timeouts {
  const written = sources.content.timeouts ?? {};
  const clock = (name: keyof typeof written, fallback: string): number =>
    readIn('timeouts', name, { written: written[name], fallback, parse: parseDuration }, sources) ?? 0;
  return {
    connectMs: clock('connect', '5s'),
    firstByteMs: clock('first_byte', '60s'),
    idleMs: clock('idle', '120s'),
    totalMs: clock('total', '30m'),
    clientStallMs: clock('client_stall', '60s'),
    keepAliveCommentMs: clock('keep_alive_comment', '15s'),
  };
}

function readRetention(sources: Sources): Retention {
  const written = sources.content.retention ?? {};
  const days = (name: keyof typeof retentionRules): number | null => {
    const { least, fallback } = retentionRules[name];
    const parse = (text: string | number): Parsed<number | null> => parseRetentionDays(text, least);
    return readIn('retention', name, { written: written[name], fallback, parse }, sources) ?? null;
  };
  return {
    usageDays: days('usage'),
    rejectionsDays: days('rejections'),
    auditDays: days('audit'),
    deadLettersDays: days('dead_letters'),
  };
}

function readList(name: 'fetch_hosts' | 'cors_origins', sources: Sources): readonly string[] {
  const { content, file, report } = sources;
  const entries = content[name] ?? [];
  const path = [name];
  const origin = entries.length === 0 ? 'default' : formatPlace(file.place(path));
  report.record(path, file.display(path, show(entries)), origin);
  return entries;
}

function readFetchHosts(sources: Sources): readonly string[] {
  const hosts = readList('fetch_hosts', sources);
  if (hosts.includes('*')) {
    const text = 'every public host: callers choose where this gateway connects to';
    sources.report.warn(sources.file.place(['fetch_hosts']), ['fetch_hosts'], text);
  }
  return hosts;
}

function readTrustProxy({ content, file, report }: Sources): readonly string[] {
  const entries = content.trust_proxy;
  const path = ['trust_proxy'];
  if (entries === undefined) {
    report.record(path, show([]), 'default');
    return [];
  }
  entries.forEach((entry, index) => {
    if (!isNetwork(entry)) {
      report.refuse(
        file.place([...path, index]),
        [...path, index],
        'expected an IP address or a CIDR such as 10.0.0.0/8',
      );
    }
  });
  report.record(path, file.display(path, show(entries)), formatPlace(file.place(path)));
  return entries;
}

function isNetwork(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/');
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128));
}
