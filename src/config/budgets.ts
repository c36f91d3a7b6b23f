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
  const isPriced = (target: string): boolean =>
    catalogue.some(({ id, upstreamModel, price }) => (id === target || upstreamModel === target) && price !== null);
  for (const name of names) {
    const targets = targetsOf(name, { aliases, seen: [] });
    const unpriced = targets.filter((target) => !isPriced(target));
    if (unpriced.length === 0) continue;
    const text =
      unpriced.length === targets.length
        ? `${name} has no price, so it is refused under a budget`
        : `${name} passes over ${unpriced.join(', ')} under a budget, for want of a price`;
    report.warn(file.place(path), path, text);
  }
}

/** A circle was refused elsewhere and must only come to an end here. */
function targetsOf(
  name: string,
  { aliases, seen }: { aliases: Context['aliases']; seen: readonly string[] },
): readonly string[] {
  if (!Object.hasOwn(aliases, name) || seen.includes(name)) return [name];
  return (aliases[name] ?? []).flatMap((target) => targetsOf(target, { aliases, seen: [...seen, name] }));
}
