/** Money limits beside the others: how much may be spent in each period. Whole nano-USD (1e-9); absent is no budget, 0 denies. */
import type { BudgetPeriod } from './admission.ts';
import type { Limits } from './flow.ts';

export const budgetPeriods = ['daily', 'weekly', 'monthly', 'total'] as const satisfies readonly BudgetPeriod[];

export type BudgetLimits = Readonly<Partial<Record<BudgetPeriod, number>>>;

/** `Limits` as a tier and a key carry them. */
export type MoneyLimits = Limits & { budgets?: BudgetLimits };
