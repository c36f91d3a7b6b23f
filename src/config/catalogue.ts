/** `models.yaml` as the catalogue: tokens as numbers, list prices as whole pico-USD per token, dates as Unix seconds. */
import type { ModelSpec, Price } from '../contract/flow.ts';
import { hint } from './nearest-name.ts';
import type { Path, Report } from './report.ts';
import { CatalogueFile } from './schema.ts';
import { type Parsed, parseListPrice, parseTokens } from './units.ts';
import { checkFile } from './validation.ts';
import type { YamlFile } from './yaml-file.ts';
import { Value } from 'typebox/value';

type Entry = CatalogueFile['models'][string];
type Context = { file: YamlFile; report: Report; sets: Readonly<Record<string, readonly string[]>> };

export function readCatalogue(file: YamlFile, report: Report): readonly ModelSpec[] {
  const content = checkFile(CatalogueFile, file, report);
  if (!Value.Check(CatalogueFile, content)) return [];
  const sets = content.parameters ?? {};
  const models = Object.entries(content.models).map(([id, entry]) => readModel(id, entry, { file, report, sets }));
  for (const { id, providerId } of models) {
    if (!Object.hasOwn(content.as_of, providerId)) {
      const path = ['models', id];
      report.refuse(file.place(path, 'key'), path, `as_of has no date for ${providerId}`);
    }
  }
  return models;
}

function readModel(id: string, entry: Entry, context: Context): ModelSpec {
  const { file, report } = context;
  const path = ['models', id];
  const slash = id.indexOf('/');
  const take = <T>(step: string, parsed: Parsed<T>, fallback: T): T => {
    if (parsed.ok) return parsed.value;
    report.refuse(file.place([...path, step]), [...path, step], parsed.message);
    return fallback;
  };
  return {
    id,
    providerId: id.slice(0, slash),
    upstreamModel: id.slice(slash + 1),
    name: entry.name,
    contextTokens: take('context', parseTokens(entry.context), 0),
    maxOutputTokens: take('max_output', parseTokens(entry.max_output), 0),
    inputModalities: entry.input,
    outputModalities: entry.output,
    supportedParameters: readParameters(entry.parameters, [...path, 'parameters'], context),
    price: entry.price === undefined ? null : readPrice(entry.price, [...path, 'price'], context),
    created: take('created', parseDate(entry.created), 0),
  };
}

function readParameters(parameters: Entry['parameters'], path: Path, { file, report, sets }: Context) {
  if (typeof parameters !== 'string') return parameters;
  const set = Object.hasOwn(sets, parameters) ? sets[parameters] : undefined;
  if (set === undefined) {
    const guess = file.isInterpolated(path) ? '' : hint(parameters, Object.keys(sets));
    report.refuse(file.place(path), path, `no such parameter set${guess}`);
  }
  return set ?? [];
}

function readPrice(price: NonNullable<Entry['price']>, path: Path, { file, report }: Context): Price {
  const read = (step: keyof typeof price, fallback: number): number => {
    const written = price[step];
    if (written === undefined) return fallback;
    const parsed = parseListPrice(written);
    if (parsed.ok) return parsed.value;
    report.refuse(file.place([...path, step]), [...path, step], parsed.message);
    return fallback;
  };
  const input = read('in', 0);
  const output = read('out', 0);
  return {
    input,
    cachedInput: read('cached_in', input),
    cacheWrite: read('cache_write', input),
    output,
    reasoning: read('reasoning', output),
  };
}

/** `2025-02-30` would roll over into March without a word. */
function parseDate(text: string): Parsed<number> {
  const milliseconds = Date.parse(`${text}T00:00:00Z`);
  const isReal = !Number.isNaN(milliseconds) && new Date(milliseconds).toISOString().startsWith(text);
  return isReal ? { ok: true, value: milliseconds / 1000 } : { ok: false, message: 'not a day of the calendar' };
}
