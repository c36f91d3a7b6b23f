/**
 * The money budgets of a single process, by the same rules as those in Redis. A budget that was never seeded is
 * unknown, not empty. Kept for the life of the process: there are as many as accounts and keys that have one.
 */
import type { BudgetCheck, BudgetName } from '../contract/admission.ts';
import { largestSumNanoUsd } from './amount-bounds.ts';
import { rolled, type BudgetCharge, type BudgetLevel } from './budget.ts';
import { periodNumber } from './budget-period.ts';

export type BudgetBook = ReturnType<typeof createBudgetBook>;

export function createBudgetBook() {
  const levels = new Map<string, BudgetLevel>();
  const nameOf = ({ scope, period }: BudgetName): string => `${period}:${scope}`;

  function read(budget: BudgetName, nowMs: number): BudgetLevel | undefined {
    const level = levels.get(nameOf(budget));
    return level === undefined ? undefined : rolled(level, budget.period, nowMs);
  }

  function seed(budget: BudgetName, spentNanoUsd: number, nowMs: number): void {
    if (levels.has(nameOf(budget))) return;
    levels.set(nameOf(budget), { period: periodNumber(budget.period, nowMs), spentNanoUsd, heldNanoUsd: 0 });
  }

  function adjust(budget: BudgetName, deltaNanoUsd: number, nowMs: number): void {
    const level = read(budget, nowMs);
    if (level !== undefined)
      levels.set(nameOf(budget), { ...level, spentNanoUsd: bounded(level.spentNanoUsd + deltaNanoUsd) });
  }

  function hold(check: BudgetCheck, nowMs: number): BudgetCharge[] {
    const level = read(check, nowMs);
    if (level === undefined) return [];
    const { scope, period, costNanoUsd } = check;
    levels.set(nameOf(check), { ...level, heldNanoUsd: level.heldNanoUsd + costNanoUsd });
    return [{ scope, period, number: level.period, heldNanoUsd: costNanoUsd, chargedNanoUsd: 0 }];
  }

  /** Nothing is held any longer, and what was charged before becomes this. */
  function charge(before: BudgetCharge, chargedNanoUsd: number): BudgetCharge {
    const level = levels.get(nameOf(before));
    if (level !== undefined && level.period === before.number) {
      levels.set(nameOf(before), {
        period: level.period,
        spentNanoUsd: bounded(level.spentNanoUsd + chargedNanoUsd - before.chargedNanoUsd),
        heldNanoUsd: Math.max(0, level.heldNanoUsd - before.heldNanoUsd),
      });
    }
    return { ...before, heldNanoUsd: 0, chargedNanoUsd };
  }

  return { read, seed, adjust, hold, charge };
}

const bounded = (nanoUsd: number): number => Math.min(largestSumNanoUsd, Math.max(0, nanoUsd));
