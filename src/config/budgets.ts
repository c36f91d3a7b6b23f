/** The money of a tier: its limits in nano-USD, and a warning of every model that they shut out for want of a price. */
import type { BudgetPeriod } from '../contract/admission.ts';
import { type BudgetLimits, budgetPeriods } from '../contract/budgets.ts';
import type { ModelAllowance, ModelSpec } from '../contract/flow.ts';
import { formatPlace, type Report } from './report.ts';
import type { GatewayFile } from './schema.ts';
import { parseBudgetUsd, valueOr } from './units.ts';
import type { YamlFile } from './yaml-file.ts';

type Written = NonNullable<NonNullable<GatewayFile['tiers']>[string]['budget']>;
type Context = {
  file: YamlFile;
  report: Report;
  aliases: Readonly<Record<string, readonly string[]>>;
  catalogue: readonly ModelSpec[];
};

export function readBudgets(tierId: string, written: Written, { file, report }: Context): BudgetLimits {
  const budgets = budgetPeriods.flatMap((period): [BudgetPeriod, number][] => {
    const amount = written[period];
    if (amount === undefined) return [];
    const path = ['tiers', tierId, 'budget', period];
    report.record(path, file.display(path, String(amount)), formatPlace(file.place(path)));
    return [[period, valueOr(parseBudgetUsd(amount), 0)]];
  });
  return Object.fromEntries(budgets);
}

/** Names that the file spells out, and with `*` every public name; what a pattern matches nobody counts on by name. */
export function warnOfUnpriced(
  tierId: string,
  models: ModelAllowance,
  { file, report, aliases, catalogue }: Context,
): void {
  const names = typeof models === 'string' ? Object.keys(aliases) : models.filter((name) => !name.includes('*'));
  const path = ['tiers', tierId, 'budget'];
  for (const name of names) {
    const target = firstTarget(name, aliases);
    const spec = catalogue.find(({ id, upstreamModel }) => id === target || upstreamModel === target);
    if (spec?.price === null || spec === undefined) {
      report.warn(file.place(path), path, `${name} has no price, so it is refused under a budget`);
    }
  }
}

function firstTarget(name: string, aliases: Context['aliases']): string {
  const seen = new Set<string>();
  let target = name;
  while (Object.hasOwn(aliases, target) && !seen.has(target)) {
    seen.add(target);
    target = aliases[target]?.[0] ?? target;
  }
  return target;
}
