/** The keys of a provider: from the environment, from the file, from files of their own; one or several with weights. */
import { hint } from './nearest-name.ts';
import { environmentPlace, formatPlace, type Path, type Place, type Report } from './report.ts';
import type { GatewayFile } from './schema.ts';
import { createSecret, redacted } from './secret.ts';
import { readVariable } from './settings.ts';
import type { ProviderKey } from './types.ts';
import type { YamlFile } from './yaml-file.ts';

type Entry = NonNullable<GatewayFile['providers']>[string];

export type KnownSettings = Readonly<Record<string, { description: string; isRequired: boolean; pattern: RegExp }>>;

export type KeyContext = {
  environment: Readonly<Record<string, string | undefined>>;
  file: YamlFile;
  report: Report;
  readText: (path: string) => { text: string } | { reason: string };
};

/** `prefix`: of the variables that a provider of the registry has; null for a private endpoint. */
export function readKeys(
  id: string,
  entry: Entry | undefined,
  { prefix, ...context }: KeyContext & { prefix: string | null },
): readonly ProviderKey[] {
  const { environment, report, file } = context;
  const origin = (name: string): { place: Place; path: Path } => ({ place: environmentPlace, path: [name] });
  for (const [name, isFile] of prefix === null
    ? []
    : ([
        [`${prefix}_API_KEY`, false],
        [`${prefix}_API_KEY_FILE`, true],
      ] as const)) {
    const value = readVariable(environment, name)?.trim() ?? '';
    if (value === '') continue;
    report.record(['providers', id, 'key'], redacted, `env ${name}`);
    return oneKey({ [isFile ? 'key_file' : 'key']: value }, origin(name), context);
  }
  const path = ['providers', id];
  const written = [entry?.key, entry?.key_file, entry?.keys].filter((way) => way !== undefined);
  if (written.length > 1) {
    report.refuse(file.place(path, 'key'), path, 'has more than one of key, key_file and keys; name all under keys');
    return [];
  }
  if (entry?.keys === undefined) {
    const step = [...path, entry?.key_file === undefined ? 'key' : 'key_file'];
    const keys = oneKey(entry ?? {}, { place: file.place(step), path: step }, context);
    if (keys.length > 0) report.record([...path, 'key'], redacted, formatPlace(file.place(step)));
    return keys;
  }
  report.record([...path, 'keys'], redacted, formatPlace(file.place([...path, 'keys'])));
  return entry.keys.flatMap((one, index) => {
    const step = [...path, 'keys', index];
    return oneKey(typeof one === 'string' ? { key: one } : one, { place: file.place(step), path: step }, context);
  });
}

type Written = { key?: string | undefined; key_file?: string | undefined; weight?: number | undefined };
type Origin = { place: Place; path: Path };

function oneKey(written: Written, { place, path }: Origin, { report, readText }: KeyContext): ProviderKey[] {
  const file = written.key_file ?? null;
  const read = file === null ? { text: written.key ?? '' } : readText(file);
  if ('reason' in read) {
    report.refuse(place, path, `cannot be read: ${read.reason}`);
    return [];
  }
  const text = read.text.trim();
  if (text === '') {
    if (file !== null) report.refuse(place, path, 'the file is empty');
    return [];
  }
  const problem = keyProblem(text);
  if (problem !== null) {
    report.refuse(place, path, problem);
    return [];
  }
  return [{ secret: createSecret(text), file, weight: written.weight ?? 1 }];
}

/** A service account is a JSON document, which never travels itself. */
export function keyProblem(text: string): string | null {
  if (/^[\x21-\x7e]+$/.test(text) || text.startsWith('{')) return null;
  return 'a key has no spaces, line breaks or letters beyond ASCII: it travels in a header';
}

/** Each checked against what the adapter declares; those that it needs must be there once the provider is on. */
export function readProviderSettings(
  id: string,
  entry: Entry | undefined,
  { prefix, declared, environment, file, report }: KeyContext & { prefix: string; declared: KnownSettings },
): Readonly<Record<string, string>> {
  const path = ['providers', id, 'settings'];
  refuseUnknownSettings(id, entry, { declared, file, report });
  const settings: Record<string, string> = {};
  for (const [name, { isRequired, pattern, description }] of Object.entries(declared)) {
    const variable = `${prefix}_${name.toUpperCase()}`;
    const fromEnvironment = readVariable(environment, variable);
    const step = [...path, name];
    const value = fromEnvironment ?? entry?.settings?.[name];
    const origin =
      fromEnvironment === undefined
        ? { place: file.place(step), path: step }
        : { place: environmentPlace, path: [variable] };
    if (value === undefined) {
      if (isRequired) {
        const text = `needs the setting ${name} (${description}); set it here or as ${variable}`;
        report.refuse(file.place(['providers', id], 'key'), ['providers', id], text);
      }
      continue;
    }
    report.record(step, value, fromEnvironment === undefined ? formatPlace(file.place(step)) : `env ${variable}`);
    if (pattern.test(value)) settings[name] = value;
    else report.refuse(origin.place, origin.path, `expected ${description}`);
  }
  return settings;
}

type Declared = { declared: KnownSettings } & Pick<KeyContext, 'file' | 'report'>;

export function refuseUnknownSettings(
  id: string,
  entry: Entry | undefined,
  { declared, file, report }: Declared,
): void {
  for (const name of Object.keys(entry?.settings ?? {})) {
    if (Object.hasOwn(declared, name)) continue;
    const step = ['providers', id, 'settings', name];
    report.refuse(file.place(step, 'key'), step, `${id} has no such setting${hint(name, Object.keys(declared))}`);
  }
}
