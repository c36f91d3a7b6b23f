/**
 * Turns flags, the environment and two YAML files into the one frozen value that the house runs on, or throws a
 * `ConfigError` with every mistake and its position. It reads files and `process.env`, and is the only room that may;
 * it opens no socket, writes nothing, keeps nothing between two calls (a reload is a second call) and never lets a
 * secret into a message.
 */
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { Value } from 'typebox/value';
import type { ModelSpec } from '../contract/flow.ts';
import { overridePrices, readCatalogue } from './catalogue.ts';
import { readProviders } from './endpoints.ts';
import type { Lookup } from './interpolation.ts';
import { readAliases, readTiers } from './models.ts';
import { ConfigError, createReport, environmentPlace, formatPlace, type Report } from './report.ts';
import { GatewayFile } from './schema.ts';
import { type Flags, readSettings, readVariable } from './settings.ts';
import type { KnownSettings } from './provider-keys.ts';
import type { GatewayConfig } from './types.ts';
import { checkFile } from './validation.ts';
import { emptyYamlFile, readYamlFile, type YamlFile } from './yaml-file.ts';

export { ConfigError, type ConfigProblem } from './report.ts';

export type ConfigInput = {
  environment?: Readonly<Record<string, string | undefined>> | undefined;
  flags?: Flags | undefined;
  workingDirectory?: string | undefined;
  providerIds: readonly string[];
  /** Providers of the registry that work without a key. */
  keylessProviderIds?: readonly string[];
  /** What a private endpoint may speak. */
  dialects: readonly string[];
  /** What providers of the registry need beside a key. */
  settings?: Readonly<Record<string, KnownSettings>>;
};

type Context = {
  environment: Readonly<Record<string, string | undefined>>;
  workingDirectory: string;
  lookup: Lookup;
  report: Report;
  files: string[];
};

/** Where the shipped `gateway.yaml` and `models.yaml` are. */
export const projectConfigDirectory = join(import.meta.dirname, '..', '..', 'config');

export function loadConfig(input: ConfigInput): GatewayConfig {
  const { flags = {}, providerIds, keylessProviderIds = [], dialects } = input;
  const known = { providerIds, keylessProviderIds, dialects, settings: input.settings ?? {} };
  const context = createContext(input);
  const { environment, workingDirectory, report } = context;
  const isProduction = environment['NODE_ENV'] === 'production';
  const path = findConfigFile(flags, context);
  const file = path === null ? emptyYamlFile('gateway.yaml') : openYamlFile(path, context);
  // With broken YAML every further message would be noise.
  if (file === null) throw new ConfigError(report.problems());
  const content = readContent(file, report);
  const settings = readSettings({ flags, environment, file, content, report }, { isProduction });
  const listed = loadCatalogue(content.catalogue, path, { ...context, file });
  const catalogue = overridePrices(listed, content.prices, { file, report });
  const { demo } = settings;
  const providers = readProviders(content.providers, {
    known,
    builtIn: { demo },
    environment,
    file,
    report,
    readText: (name) => context.lookup.file(name),
  });
  const allProviderIds = [...new Set([...providerIds, ...file.namesIn('providers')])];
  const names = { file, report, providerIds: allProviderIds, catalogue };
  const aliases = readAliases(content.models, names);
  const tiers = readTiers(content.tiers, { ...names, aliases });
  checkTogether(settings, { isProduction, report, file });
  if (report.problems().length > 0) throw new ConfigError(report.problems());
  return freeze({
    ...settings,
    environment: isProduction ? 'production' : 'development',
    dataDirectory: resolve(workingDirectory, settings.dataDirectory),
    providers,
    aliases,
    tiers,
    catalogue,
    origins: report.origins(),
    warnings: report.warnings(),
    files: context.files,
  });
}

function createContext({ environment = process.env, workingDirectory = process.cwd() }: ConfigInput): Context {
  const files: string[] = [];
  const lookup: Lookup = {
    variable: (name) => (Object.hasOwn(environment, name) ? environment[name] : undefined),
    file(path) {
      const read = readText(path);
      if ('text' in read && !files.includes(path)) files.push(path);
      return read;
    },
  };
  return { environment, workingDirectory, lookup, report: createReport(), files };
}

/** The code (`ENOENT`) is the reason that helps; the rest of the message repeats the path. */
function readText(path: string): { text: string } | { reason: string } {
  try {
    return { text: readFileSync(path, 'utf8') };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
    return { reason: code === 'ENOENT' ? 'no such file' : code };
  }
}

/** A file that was asked for by name must exist; the default one may be absent. */
function findConfigFile(flags: Flags, { environment, workingDirectory, report }: Context): string | null {
  const variable = readVariable(environment, 'TOLLGATE_CONFIG');
  const named = flags.config ?? variable;
  if (named !== undefined) {
    report.record(['config'], named, flags.config === undefined ? 'env TOLLGATE_CONFIG' : 'flag');
    return resolve(workingDirectory, named);
  }
  const found = [join(workingDirectory, 'config'), projectConfigDirectory]
    .map((directory) => join(directory, 'gateway.yaml'))
    .find((path) => existsSync(path));
  report.record(['config'], found ?? '(none)', 'default');
  return found ?? null;
}

function openYamlFile(path: string, { lookup, report, files }: Context): YamlFile | null {
  const read = readText(path);
  if ('reason' in read) {
    report.refuse({ file: path, line: 0, column: 0 }, [], `cannot be read: ${read.reason}`);
    return null;
  }
  files.push(path);
  return readYamlFile(basename(path), read.text, { lookup, report });
}

function readContent(file: YamlFile, report: Report): GatewayFile {
  const content = checkFile(GatewayFile, file, report);
  return Value.Check(GatewayFile, content) ? content : {};
}

function loadCatalogue(
  written: string | undefined,
  configPath: string | null,
  context: Context & { file: YamlFile },
): readonly ModelSpec[] {
  const { report, file } = context;
  const directory = configPath === null ? projectConfigDirectory : dirname(configPath);
  const candidates = [join(directory, 'models.yaml'), join(projectConfigDirectory, 'models.yaml')];
  const isNamed = written !== undefined && written !== '';
  const path = isNamed ? resolve(directory, written) : candidates.find((candidate) => existsSync(candidate));
  const place = file.place(['catalogue']);
  report.record(['catalogue'], path ?? '(none)', isNamed ? formatPlace(place) : 'default');
  if (path === undefined) return [];
  if (isNamed && !existsSync(path)) {
    report.refuse(place, ['catalogue'], 'no such file');
    return [];
  }
  const catalogue = openYamlFile(path, context);
  return catalogue === null ? [] : readCatalogue(catalogue, report);
}

type Together = Pick<GatewayConfig, 'databaseUrl' | 'secret' | 'publicUrl' | 'redisUrl' | 'redis'>;

/** Rules that need more than one setting. */
function checkTogether(
  { databaseUrl, secret, publicUrl, redisUrl, redis }: Together,
  { isProduction, report, file }: { isProduction: boolean; report: Report; file: YamlFile },
): void {
  const hasComplaint = report.problems().some(({ message }) => /^(TOLLGATE_SECRET|secret):/.test(message));
  if (isProduction && databaseUrl !== null && secret === null && !hasComplaint) {
    const text = 'needed in production with DATABASE_URL: all replicas must hash keys alike';
    report.refuse(environmentPlace, ['TOLLGATE_SECRET'], text);
  }
  if (secret !== null && new Set(secret.reveal()).size < 10) {
    report.warn(
      environmentPlace,
      ['TOLLGATE_SECRET'],
      'weak: few different characters; openssl rand -hex 32 makes a good one',
    );
  }
  if (isProduction && publicUrl !== null && publicUrl.startsWith('http://')) {
    report.warn(
      file.place(['public_url']),
      ['public_url'],
      'http in production: keys and sessions travel in the clear',
    );
  }
  if (redis.shards === 1 && redisUrl !== null && /^rediss?\+cluster:/.test(redisUrl.reveal())) {
    const text = 'a Cluster with one shard uses one of its masters; two or more per master spread the accounts';
    report.warn(file.place(['redis', 'shards']), ['redis', 'shards'], text);
  }
}

/** Maps and secrets are immutable by their own means. */
function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value) && !(value instanceof Map)) {
    Object.freeze(value);
    for (const member of Object.values(value)) freeze(member);
  }
  return value;
}
