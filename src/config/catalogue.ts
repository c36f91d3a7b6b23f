/** `models.yaml` as the catalogue: tokens as numbers, list prices as whole pico-USD per token, dates as Unix seconds. */
import { Value } from 'typebox/value';
import type { ModelSpec, Price } from '../contract/flow.ts';
import { hint } from './nearest-name.ts';
import type { Path, Report } from './report.ts';
import { CatalogueFile } from './schema.ts';
import { parseDay, parseListPrice, parseTokens, valueOr } from './units.ts';
import { checkFile } from './validation.ts';
import type { YamlFile } from './yaml-file.ts';

type Entry = CatalogueFile['models'][string];
type Context = { file: YamlFile; report: Report; sets: Readonly<Record<string, readonly string[]>> };

export function readCatalogue(file: YamlFile, report: Report): readonly ModelSpec[] {
  const content = checkFile(CatalogueFile, file, report);
  if (!Value.Check(CatalogueFile, content)) return [];
  const sets = content.parameters ?? {};
  const models = Object.entries(content.models).map(([id, entry]) => readModel(id, entry, { file, report, sets }));
  const dated = file.namesIn('as_of');
  for (const { id, providerId } of models) {
    if (!dated.includes(providerId)) {
      const path = ['models', id];
      report.refuse(file.place(path, 'key'), path, `as_of has no date for ${providerId}`);
    }
  }
  return models;
}

function readModel(id: string, entry: Entry, context: Context): ModelSpec {
  const path = ['models', id];
  const slash = id.indexOf('/');
  return {
    id,
    providerId: id.slice(0, slash),
    upstreamModel: id.slice(slash + 1),
    name: entry.name,
    contextTokens: valueOr(parseTokens(entry.context), 0),
    maxOutputTokens: valueOr(parseTokens(entry.max_output), 0),
    inputModalities: entry.input,
    outputModalities: entry.output,
    supportedParameters: readParameters(entry.parameters, [...path, 'parameters'], context),
    price: entry.price === undefined ? null : readPrice(entry.price),
    created: valueOr(parseDay(entry.created), 0),
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

function readPrice(price: NonNullable<Entry['price']>): Price {
  const perToken = (written: string | number | undefined, fallback: number): number =>
    written === undefined ? fallback : valueOr(parseListPrice(written), fallback);
  const input = perToken(price.in, 0);
  const output = perToken(price.out, 0);
  return {
    input,
    cachedInput: perToken(price.cached_in, input),
    cacheWrite: perToken(price.cache_write, input),
    output,
    reasoning: perToken(price.reasoning, output),
  };
}
