/** The arithmetic of one money budget, the same here and in the Redis script: whole nano-USD, and nothing is ever negative. */
import type { BudgetCheck, BudgetPeriod, BudgetState, Settlement } from '../contract/admission.ts';
import { clampMoney } from './amount-bounds.ts';
import { periodEndMs, periodNumber } from './budget-period.ts';

export type BudgetLevel = { period: number; spentNanoUsd: number; heldNanoUsd: number };

/** What one request holds of a budget and has been charged; to be moved only while the budget is in that period. */
export type BudgetCharge = {
  scope: string;
  period: BudgetPeriod;
  number: number;
  heldNanoUsd: number;
  chargedNanoUsd: number;
};

/** A new period starts at zero; a clock that went back does not open an old one again. */
export function rolled(level: BudgetLevel, period: BudgetPeriod, nowMs: number): BudgetLevel {
  const current = periodNumber(period, nowMs);
  return level.period < current ? { period: current, spentNanoUsd: 0, heldNanoUsd: 0 } : level;
}

/** Undefined when the cost fits; null when no reset makes it fit. */
export function budgetWaitMs(level: BudgetLevel, check: BudgetCheck, nowMs: number): number | null | undefined {
  const { limitNanoUsd, costNanoUsd } = check;
  if (limitNanoUsd > 0 && level.spentNanoUsd + level.heldNanoUsd + costNanoUsd <= limitNanoUsd) return undefined;
  const endsAtMs = periodEndMs(check.period, level.period);
  return endsAtMs === null || limitNanoUsd === 0 || costNanoUsd > limitNanoUsd ? null : endsAtMs - nowMs;
}

export function budgetState(check: Omit<BudgetCheck, 'costNanoUsd'>, level: BudgetLevel): BudgetState {
  const { scope, period, limitNanoUsd } = check;
  return {
    scope,
    period,
    limitNanoUsd,
    remainingNanoUsd: Math.max(0, limitNanoUsd - level.spentNanoUsd - level.heldNanoUsd),
    resetsAtMs: periodEndMs(period, level.period),
  };
}

/** Spent is the sum of the rows, so a settlement that does not say its cost is charged its row's. */
export function chargeOf({ actual, record }: Pick<Settlement, 'actual' | 'record'>): number {
  return clampMoney(actual.costNanoUsd ?? record.costPicoUsd / 1000);
}
