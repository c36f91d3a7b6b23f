/** `models.yaml` as the catalogue: tokens as numbers, list prices as whole pico-USD per token, dates as Unix seconds. */
import { createHash } from 'node:crypto';
import { Value } from 'typebox/value';
import type { ModelAbilities, ModelSpec, Price } from '../contract/flow.ts';
import { hint } from './nearest-name.ts';
import { formatPlace, type Path, type Report } from './report.ts';
import { type AbilitiesEntry, CatalogueFile, type PriceEntry } from './catalogue-schema.ts';
import type { GatewayFile } from './schema.ts';
import { parseDay, parseListPrice, parseTokens, valueOr } from './units.ts';
import { checkFile } from './validation.ts';
import type { YamlFile } from './yaml-file.ts';

type Entry = CatalogueFile['models'][string];
type Context = {
  file: YamlFile;
  report: Report;
  sets: Readonly<Record<string, readonly string[]>>;
  abilitySets: Readonly<Record<string, AbilitiesEntry>>;
};

export function readCatalogue(file: YamlFile, report: Report): readonly ModelSpec[] {
  const content = checkFile(CatalogueFile, file, report);
  if (!Value.Check(CatalogueFile, content)) return [];
  const sets = content.parameters ?? {};
  const context = { file, report, sets, abilitySets: content.abilities ?? {} };
  const models = Object.entries(content.models).map(([id, entry]) => readModel(id, entry, context));
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
    ...priced(entry.price === undefined ? null : readPrice(entry.price)),
    ...(entry.abilities === undefined
      ? {}
      : { abilities: readAbilities(entry.abilities, [...path, 'abilities'], context) }),
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

function readAbilities(written: string | AbilitiesEntry, path: Path, context: Context): ModelAbilities {
  if (typeof written !== 'string') return abilitiesOf(written);
  const { file, report, abilitySets } = context;
  const set = Object.hasOwn(abilitySets, written) ? abilitySets[written] : undefined;
  if (set === undefined) {
    const guess = file.isInterpolated(path) ? '' : hint(written, Object.keys(abilitySets));
    report.refuse(file.place(path), path, `no such set of abilities${guess}`);
  }
  return abilitiesOf(set ?? {});
}

/** In the file's own spelling to the house's: `can_stop_thinking` is `canStopThinking`, and `"true"` is true. */
function abilitiesOf(entry: AbilitiesEntry): ModelAbilities {
  return Object.fromEntries(
    Object.entries(entry).map(([name, value]) => [
      name.replaceAll(/_([a-z])/g, (_match, letter: string) => letter.toUpperCase()),
      value === 'true' || value === 'false' ? value === 'true' : value,
    ]),
  );
}

/** A price and its name, which is the beginning of its hash: the same price has the same name everywhere. */
function priced(price: Price | null): Pick<ModelSpec, 'price' | 'priceVersion'> {
  if (price === null) return { price };
  return { price, priceVersion: createHash('sha256').update(JSON.stringify(price)).digest('hex').slice(0, 12) };
}

/** What an operator pays where that is not the list price. */
export function overridePrices(
  catalogue: readonly ModelSpec[],
  prices: GatewayFile['prices'],
  { file, report }: Pick<Context, 'file' | 'report'>,
): readonly ModelSpec[] {
  for (const id of Object.keys(prices ?? {})) {
    const path = ['prices', id];
    report.record(path, file.display(path, '(its own)'), formatPlace(file.place(path)));
    if (catalogue.some((model) => model.id === id)) continue;
    const guess = hint(
      id,
      catalogue.map((model) => model.id),
    );
    report.refuse(file.place(path, 'key'), path, `not in the catalogue${guess}`);
  }
  return catalogue.map((model) => {
    const own = prices !== undefined && Object.hasOwn(prices, model.id) ? prices[model.id] : undefined;
    return own === undefined ? model : { ...model, ...priced(readPrice(own)) };
  });
}

function readPrice(written: PriceEntry): Price {
  const { above } = written;
  const price = ratesOf(written);
  if (above === undefined) return price;
  return { ...price, above: { promptTokens: valueOr(parseTokens(above.prompt), 0), price: ratesOf(above) } };
}

function ratesOf(written: Omit<PriceEntry, 'above'>): Price {
  const perToken = (rate: string | number | undefined, fallback: number): number =>
    rate === undefined ? fallback : valueOr(parseListPrice(rate), fallback);
  const input = perToken(written.in, 0);
  const output = perToken(written.out, 0);
  const cacheWrite = perToken(written.cache_write, input);
  const rare = {
    longCacheWrite: written.long_cache_write,
    audioInput: written.audio_in,
    audioOutput: written.audio_out,
  };
  return {
    input,
    cachedInput: perToken(written.cached_in, input),
    cacheWrite,
    output,
    reasoning: perToken(written.reasoning, output),
    ...Object.fromEntries(
      Object.entries(rare)
        .filter(([, rate]) => rate !== undefined)
        .map(([name, rate]) => [name, perToken(rate, 0)]),
    ),
  };
}
