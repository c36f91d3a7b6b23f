/**
 * Public names and tiers. Checks what a schema cannot: that each target leads somewhere, that names do not run in a
 * circle, and warns of what will start but will not do what its author hoped.
 */
import type { ModelAllowance, ModelSpec, Tier } from '../contract/flow.ts';
import { readBudgets, warnOfUnpriced } from './budgets.ts';
import { hint } from './nearest-name.ts';
import { formatPlace, type Path, type Report } from './report.ts';
import type { GatewayFile } from './schema.ts';
import { readTierOptions } from './tier-options.ts';
import { type Parsed, parseCount, parseHistoryDays, parsePriceUsd, valueOr } from './units.ts';
import type { YamlFile } from './yaml-file.ts';

type Context = {
  file: YamlFile;
  report: Report;
  /** Of the registry and declared, on or off. */
  providerIds: readonly string[];
  catalogue: readonly ModelSpec[];
};

type Aliases = Readonly<Record<string, readonly string[]>>;

export function readAliases(entries: GatewayFile['models'], context: Context): Aliases {
  const { file, report } = context;
  const aliases = Object.entries(entries ?? {}).map(([name, targets]): [string, readonly string[]] => [
    name,
    typeof targets === 'string' ? [targets] : targets,
  ]);
  const names = new Set(file.namesIn('models'));
  const known = new Set(context.catalogue.map(({ id }) => id));
  for (const [name, targets] of aliases) {
    const path = ['models', name];
    targets.forEach((target, index) => {
      const step = Array.isArray(entries?.[name]) ? [...path, index] : path;
      checkTarget(target, step, { ...context, names, known });
    });
    report.record(path, file.display(path, targets.join(', ')), formatPlace(file.place(path)));
    if (context.providerIds.some((id) => name.startsWith(`${id}/`))) {
      report.refuse(file.place(path, 'key'), path, 'a public name may not look like a provider/model id');
    }
  }
  const table = Object.fromEntries(aliases);
  refuseCircles(table, context);
  return table;
}

type TargetContext = Context & { names: ReadonlySet<string>; known: ReadonlySet<string> };

function checkTarget(target: string, path: Path, { file, report, providerIds, names, known }: TargetContext): void {
  if (names.has(target)) return;
  const slash = target.indexOf('/');
  const place = file.place(path);
  // What came from a variable is not repeated: it may be a secret in the wrong place.
  const isOwnText = !file.isInterpolated(path);
  if (slash < 1 || slash === target.length - 1) {
    const guess = isOwnText ? hint(target, [...names, ...known]) : '';
    report.refuse(place, path, `expected provider/model or the name of another model${guess}`);
    return;
  }
  const providerId = target.slice(0, slash);
  if (!providerIds.includes(providerId)) {
    const subject = isOwnText ? `unknown provider ${providerId}` : 'unknown provider';
    report.refuse(place, path, `${subject}${isOwnText ? hint(providerId, providerIds) : ''}`);
  } else if (!known.has(target) && [...known].some((id) => id.startsWith(`${providerId}/`))) {
    const subject = isOwnText ? `${target} is` : 'this model is';
    report.warn(
      place,
      path,
      `${subject} not in the catalogue: no price, no context size${isOwnText ? hint(target, known) : ''}`,
    );
  }
}

function refuseCircles(aliases: Aliases, { file, report }: Context): void {
  const settled = new Set<string>();
  function visit(name: string, trail: readonly string[]): void {
    if (trail.includes(name)) {
      const circle = [...trail.slice(trail.indexOf(name)), name];
      const path = ['models', name];
      report.refuse(file.place(path, 'key'), path, `leads back to itself: ${circle.join(' -> ')}`);
      return;
    }
    if (settled.has(name)) return;
    const targets = Object.hasOwn(aliases, name) ? (aliases[name] ?? []) : [];
    for (const target of targets) visit(target, [...trail, name]);
    settled.add(name);
  }
  for (const name of Object.keys(aliases)) visit(name, []);
}

/** Without a section of tiers. Config alone decides what a plan may call, so these allow every model. */
const defaultTiers: Readonly<Record<string, Tier>> = Object.fromEntries(
  (
    [
      ['free', '0', 10, 20_000, 2, 7],
      ['pro', '49', 100, 200_000, 10, 30],
      ['plus', '99', 500, 1_000_000, 25, 90],
      ['enterprise', 'custom', 10_000, 20_000_000, 50, null],
    ] as const
  ).map(([id, priceUsd, requestsPerMinute, tokensPerMinute, concurrency, historyDays]) => [
    id,
    { id, priceUsd, limits: { requestsPerMinute, tokensPerMinute, concurrency }, historyDays, models: '*' as const },
  ]),
);

export function readTiers(
  entries: GatewayFile['tiers'],
  context: Context & { aliases: Aliases },
): Readonly<Record<string, Tier>> {
  if (entries === undefined) {
    for (const id of Object.keys(defaultTiers)) context.report.record(['tiers', id], '(built in)', 'default');
    return defaultTiers;
  }
  return Object.fromEntries(Object.entries(entries).map(([id, entry]) => [id, readTier(id, entry, context)]));
}

type TierEntry = NonNullable<GatewayFile['tiers']>[string];

function readTier(id: string, entry: TierEntry, context: Context & { aliases: Aliases }): Tier {
  const { file, report } = context;
  function take<T>(
    key: 'price' | 'rpm' | 'tpm' | 'concurrency' | 'history',
    parse: (input: string | number) => Parsed<T>,
    absent: T,
  ): T {
    const written = entry[key];
    const path = ['tiers', id, key];
    if (written === undefined) {
      report.record(path, absent === null ? 'unlimited' : String(absent), 'default');
      return absent;
    }
    report.record(path, file.display(path, String(written)), formatPlace(file.place(path)));
    return valueOr(parse(written), absent);
  }
  const budgets = readBudgets(id, entry.budget ?? {}, context);
  const hasBudgets = Object.keys(budgets).length > 0;
  const options = readTierOptions(id, entry, context);
  if (hasBudgets && options.shadow?.includes('budget') !== true) warnOfUnpriced(id, entry.models, context);
  return {
    id,
    priceUsd: take('price', parsePriceUsd, '0'),
    limits: {
      requestsPerMinute: take('rpm', parseCount, null),
      tokensPerMinute: take('tpm', parseCount, null),
      concurrency: take('concurrency', parseCount, null),
      ...(hasBudgets ? { budgets } : {}),
    },
    historyDays: take('history', parseHistoryDays, null),
    models: readAllowance(id, entry.models, context),
    ...options,
  };
}

function readAllowance(
  id: string,
  models: ModelAllowance,
  { file, report, aliases, providerIds, catalogue }: Context & { aliases: Aliases },
): ModelAllowance {
  const path = ['tiers', id, 'models'];
  const shown = typeof models === 'string' ? models : models.join(', ');
  report.record(path, file.display(path, shown), formatPlace(file.place(path)));
  if (typeof models === 'string') return models;
  if (models.length === 0) report.warn(file.place(path), path, 'empty: this tier may call nothing');
  const names = [...Object.keys(aliases), ...catalogue.map(({ upstreamModel }) => upstreamModel)];
  models.forEach((name, index) => {
    const step = [...path, index];
    const [provider = '', ...model] = name.split('/');
    const isReachable =
      name.includes('*') || names.includes(name) || (model.length > 0 && providerIds.includes(provider));
    if (isReachable) return;
    const isOwnText = !file.isInterpolated(step);
    report.warn(file.place(step), step, `matches no model${isOwnText ? hint(name, names) : ''}`);
  });
  return models;
}
