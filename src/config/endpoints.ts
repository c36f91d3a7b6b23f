/**
 * Which providers are on. A provider of the registry is on when it has a key; one that needs none when it is configured,
 * or, if it is built in, when its own switch says so. A private endpoint is on because it is written down. The names
 * come in as arguments: this room knows of no provider.
 */
import { hint } from './nearest-name.ts';
import { environmentPlace, formatPlace, type Report } from './report.ts';
import type { GatewayFile } from './schema.ts';
import {
  type KeyContext,
  type KnownSettings,
  readKeys,
  readProviderSettings,
  refuseUnknownSettings,
} from './provider-keys.ts';
import { readVariable } from './settings.ts';
import type { ProviderConfig } from './types.ts';
import { parseFlag } from './units.ts';
import { parseEndpointUrl } from './url.ts';

export type KnownProviders = {
  providerIds: readonly string[];
  keylessProviderIds: readonly string[];
  dialects: readonly string[];
  /** By provider, what its adapter declares beside a key. */
  settings?: Readonly<Record<string, KnownSettings>>;
};

type Entry = NonNullable<GatewayFile['providers']>[string];

type Context = {
  known: KnownProviders;
  /** The switches of built-in providers, by their id. */
  builtIn: Readonly<Record<string, boolean>>;
} & KeyContext;

export function readProviders(entries: GatewayFile['providers'], context: Context): readonly ProviderConfig[] {
  const { providerIds } = context.known;
  const written = new Map(Object.entries(entries ?? {}));
  const registered = providerIds.map((id) => readRegistered(id, written.get(id), context));
  const declared = [...written]
    .filter(([id]) => !providerIds.includes(id))
    .map(([id, entry]) => readDeclared(id, entry, context));
  return [...registered, ...declared].filter((provider) => provider !== null);
}

function readRegistered(id: string, entry: Entry | undefined, context: Context): ProviderConfig | null {
  const { known, builtIn, environment, file, report } = context;
  if (entry?.dialect !== undefined) {
    report.refuse(
      file.place(['providers', id, 'dialect'], 'key'),
      ['providers', id, 'dialect'],
      `${id} is a built-in provider and has its own; give a private endpoint another name`,
    );
  }
  const prefix = id.toUpperCase().replaceAll('-', '_');
  const keys = readKeys(id, entry, { ...context, prefix });
  const variable = `${prefix}_BASE_URL`;
  const fromEnvironment = readVariable(environment, variable);
  const baseUrl =
    fromEnvironment === undefined
      ? readBaseUrl(id, entry, context)
      : readEnvironmentUrl(fromEnvironment, { id, variable, report });
  const isKeyless = known.keylessProviderIds.includes(id);
  const ownKeys = readFlag(id, entry, { ...context, name: 'own_keys' });
  const isSwitchedOn = Object.hasOwn(builtIn, id)
    ? builtIn[id] === true
    : keys.length > 0 || ownKeys || (isKeyless && (entry !== undefined || fromEnvironment !== undefined));
  if (!isSwitchedOn) return null;
  // Whoever sets a process's environment may reach its network anyway.
  const allowPrivate = fromEnvironment !== undefined || readFlag(id, entry, { ...context, name: 'allow_private' });
  const declared = known.settings?.[id] ?? {};
  const settings = readProviderSettings(id, entry, { ...context, prefix, declared });
  return { id, dialect: null, baseUrl, keys, settings, allowPrivate, ownKeys };
}

function readDeclared(id: string, entry: Entry, context: Context): ProviderConfig | null {
  const { known, file, report } = context;
  const path = ['providers', id];
  if (entry.dialect === undefined) {
    const text = `unknown provider${hint(id, known.providerIds)} (a private endpoint needs dialect and base_url)`;
    report.refuse(file.place(path, 'key'), path, text);
    return null;
  }
  if (!known.dialects.includes(entry.dialect)) {
    const guess = file.isInterpolated([...path, 'dialect']) ? '' : hint(entry.dialect, known.dialects);
    const text = `unknown dialect${guess === '' ? `, expected ${known.dialects.join(' or ')}` : guess}`;
    report.refuse(file.place([...path, 'dialect']), [...path, 'dialect'], text);
  }
  const dialectPath = [...path, 'dialect'];
  report.record(dialectPath, file.display(dialectPath, entry.dialect), formatPlace(file.place(dialectPath)));
  if (entry.base_url === undefined && !file.isFaulty([...path, 'base_url'])) {
    report.refuse(file.place(path, 'key'), path, 'a private endpoint needs base_url');
  }
  const keys = readKeys(id, entry, { ...context, prefix: null });
  refuseUnknownSettings(id, entry, { ...context, declared: {} });
  const baseUrl = readBaseUrl(id, entry, context);
  const allowPrivate = readFlag(id, entry, { ...context, name: 'allow_private' });
  // A key that is written and empty is one that the environment did not deliver; no key at all is an open endpoint.
  const ownKeys = readFlag(id, entry, { ...context, name: 'own_keys' });
  const isUndelivered = keys.length === 0 && !ownKeys && (entry.key !== undefined || entry.keys !== undefined);
  return isUndelivered ? null : { id, dialect: entry.dialect, baseUrl, keys, settings: {}, allowPrivate, ownKeys };
}

function readBaseUrl(id: string, entry: Entry | undefined, { file, report }: Context): string | null {
  if (entry?.base_url === undefined || entry.base_url === '') return null;
  const path = ['providers', id, 'base_url'];
  const parsed = parseEndpointUrl(entry.base_url);
  if (!parsed.ok) {
    report.refuse(file.place(path), path, parsed.message);
    return null;
  }
  report.record(path, file.display(path, parsed.value), formatPlace(file.place(path)));
  return parsed.value;
}

function readEnvironmentUrl(
  text: string,
  { id, variable, report }: { id: string; variable: string; report: Report },
): string | null {
  const parsed = parseEndpointUrl(text);
  if (!parsed.ok) {
    report.refuse(environmentPlace, [variable], parsed.message);
    return null;
  }
  report.record(['providers', id, 'base_url'], parsed.value, `env ${variable}`);
  return parsed.value;
}

function readFlag(
  id: string,
  entry: Entry | undefined,
  { name, file, report }: Context & { name: 'allow_private' | 'own_keys' },
): boolean {
  const written = entry?.[name];
  if (written === undefined) return false;
  const path = ['providers', id, name];
  const parsed = parseFlag(written);
  const value = parsed.ok && parsed.value;
  report.record(path, String(value), formatPlace(file.place(path)));
  return value;
}
