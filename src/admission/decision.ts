/** From the state of every check to the one answer: all pass, or the one that binds. Spec: reliability 2.4, steps 4 to 6. */
import type { AdmitRequest, AdmitResult } from '../contract/admission.ts';
import { bucketState, waitForUnitsMs, type BucketLevel } from './bucket.ts';
import { budgetWaitMs, type BudgetLevel } from './budget.ts';

type Rejection = Extract<AdmitResult, { outcome: 'rejected' }>;

export type FailedCheck = Omit<Rejection, 'outcome' | 'buckets'>;

export type CheckedState = {
  /** The concurrency checks that failed. */
  failedSlots: readonly FailedCheck[];
  /** By index of `request.buckets`. */
  levels: readonly BucketLevel[];
  /** By index of `request.budgets`. */
  budgets: readonly BudgetLevel[];
  nowMicros: number;
};

/**
 * Null when every check passes. A cost that no wait can cover comes first: a retry would fail for ever. Of equal waits
 * the first binds: slots, then requests, then tokens, then money.
 */
export function findRefusal(request: AdmitRequest, state: CheckedState): AdmitResult | null {
  const failures = [...state.failedSlots];
  for (const rule of decisionOrder) {
    for (const [index, check] of request.buckets.entries()) {
      const level = state.levels[index];
      if (check.rule !== rule || level === undefined) continue;
      const { scope, capacity: limit, cost: requested } = check;
      if (requested > limit && limit > 0) return { outcome: 'never', rule, scope, limit, requested };
      const waitMs = waitForUnitsMs(level, check, state.nowMicros);
      if (waitMs === 0) continue;
      failures.push({ rule, scope, limit, used: limit - bucketState(check, level).remaining, requested, waitMs });
    }
  }
  failures.push(...failedBudgets(request, state));
  const [first, ...others] = failures;
  if (first === undefined) return null;
  const binding = others.reduce((longest, failure) => (isLonger(failure, longest) ? failure : longest), first);
  const buckets = request.buckets.flatMap((check, index) => {
    const level = state.levels[index];
    return level === undefined ? [] : [bucketState(check, level)];
  });
  return { outcome: 'rejected', ...binding, buckets };
}

function failedBudgets(request: AdmitRequest, state: CheckedState): FailedCheck[] {
  return (request.budgets ?? []).flatMap((check, index) => {
    const level = state.budgets[index];
    const waitMs = level === undefined ? undefined : budgetWaitMs(level, check, Math.floor(state.nowMicros / 1000));
    if (level === undefined || waitMs === undefined) return [];
    const used = level.spentNanoUsd + level.heldNanoUsd;
    return [
      { rule: 'budget', scope: check.scope, limit: check.limitNanoUsd, used, requested: check.costNanoUsd, waitMs },
    ];
  });
}

const decisionOrder = ['requests', 'tokens'] as const;

const isLonger = (one: FailedCheck, other: FailedCheck): boolean =>
  (one.waitMs ?? Infinity) > (other.waitMs ?? Infinity);
