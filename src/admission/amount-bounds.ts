/** Amounts are whole and bounded before any engine computes with them: beyond 1e12 milli-units would lose exactness. */
import type { AdmitRequest } from '../contract/admission.ts';

const largestAmount = 1e12;

/** Throws for what no configuration and no validated request can produce. */
export function assertBounded(request: AdmitRequest): void {
  const { buckets, concurrency } = request;
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

/** A settlement must always land, so what is out of bounds is brought inside instead of refused. */
export function clampAmount(amount: number): number {
  return amount > 0 ? Math.min(largestAmount, Math.ceil(amount)) : 0;
}

function assertAmount(name: string, amount: number): void {
  if (!Number.isInteger(amount) || amount < 0 || amount > largestAmount) {
    throw new RangeError(`${name} ${amount} is not a whole number from 0 to 1e12`);
  }
}

/** Scopes become parts of key names and of the script's packed arguments. */
function assertScope(scope: string): void {
  if (scope === '' || /[\s{}]/.test(scope)) throw new RangeError(`the scope ${JSON.stringify(scope)} has no such form`);
}
