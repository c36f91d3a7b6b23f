/** Amounts are whole and bounded before any engine computes with them: beyond 1e12 milli-units would lose exactness. */
import type { AdmitRequest, AuthStamp, BudgetChange, BudgetCheck } from '../contract/admission.ts';

const largestAmount = 1e12;
/** Four million USD for one limit or one request; sums stay exact far beyond. */
export const largestMoneyNanoUsd = 4e15;
export const largestSumNanoUsd = 9e15;

/** Throws for what no configuration and no validated request can produce. */
export function assertBounded(request: AdmitRequest): void {
  const { buckets, concurrency, budgets, auth } = request;
  if (budgets !== undefined) {
    assertBudgets(budgets);
    for (const { costNanoUsd } of budgets) {
      assertMoney('costNanoUsd', costNanoUsd);
      if (costNanoUsd !== budgets[0]?.costNanoUsd) throw new RangeError('two costs of the budgets');
    }
  }
  if (auth !== undefined) assertAuth(request.accountId, auth);
  for (const [index, check] of buckets.entries()) {
    assertAmount('capacity', check.capacity);
    assertAmount('cost', check.cost);
    assertAmount('refillPerMinute', check.refillPerMinute);
    if (check.refillPerMinute === 0 && check.capacity > 0) throw new RangeError('a bucket that never refills');
    assertScope(check.scope);
    for (let other = 0; other < index; other += 1) {
      const earlier = buckets[other];
      if (earlier?.rule !== check.rule) continue;
      if (earlier.scope === check.scope) throw new RangeError(`two checks of ${check.rule} on ${check.scope}`);
      // What is held is one amount for each rule, and so is the actual cost that settles it.
      if (earlier.cost !== check.cost) throw new RangeError(`two costs of ${check.rule}`);
    }
  }
  for (const [index, check] of concurrency.entries()) {
    assertAmount('limit', check.limit);
    assertScope(check.scope);
    if (concurrency.findIndex(({ scope }) => scope === check.scope) !== index) {
      throw new RangeError(`two checks of concurrency on ${check.scope}`);
    }
  }
}

export function assertBudgets(budgets: readonly Omit<BudgetCheck, 'costNanoUsd'>[]): void {
  for (const [index, check] of budgets.entries()) {
    assertMoney('limitNanoUsd', check.limitNanoUsd);
    assertScope(check.scope);
    const isTwin = (other: typeof check): boolean => other.scope === check.scope && other.period === check.period;
    if (budgets.findIndex(isTwin) !== index) throw new RangeError(`two ${check.period} budgets on ${check.scope}`);
  }
}

export function assertDelta({ deltaNanoUsd }: BudgetChange): void {
  if (!Number.isInteger(deltaNanoUsd) || Math.abs(deltaNanoUsd) > largestSumNanoUsd) {
    throw new RangeError(`deltaNanoUsd ${deltaNanoUsd} is not a whole number of at most 9e15`);
  }
}

export function assertAuth(accountId: string, { keyId, accountVersion, keyVersion }: AuthStamp): void {
  assertScope(accountId);
  assertScope(keyId);
  assertAmount('accountVersion', accountVersion);
  assertAmount('keyVersion', keyVersion);
}

/** A settlement must always land, so what is out of bounds is brought inside instead of refused. */
export function clampAmount(amount: number): number {
  return amount > 0 ? Math.min(largestAmount, Math.ceil(amount)) : 0;
}

export function clampMoney(nanoUsd: number): number {
  return nanoUsd > 0 ? Math.min(largestMoneyNanoUsd, Math.ceil(nanoUsd)) : 0;
}

function assertMoney(name: string, nanoUsd: number): void {
  if (!Number.isInteger(nanoUsd) || nanoUsd < 0 || nanoUsd > largestMoneyNanoUsd) {
    throw new RangeError(`${name} ${nanoUsd} is not a whole number from 0 to 4e15`);
  }
}

function assertAmount(name: string, amount: number): void {
  if (!Number.isInteger(amount) || amount < 0 || amount > largestAmount) {
    throw new RangeError(`${name} ${amount} is not a whole number from 0 to 1e12`);
  }
}

/** Scopes become parts of key names and of the script's packed arguments. */
function assertScope(scope: string): void {
  if (scope === '' || /[\s{}\0]/.test(scope))
    throw new RangeError(`the scope ${JSON.stringify(scope)} has no such form`);
}
