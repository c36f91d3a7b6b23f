/**
 * The arithmetic of one token bucket, the same here and in the Redis script: whole milli-units and whole microseconds
 * only, so that nothing drifts and both engines come to the same number.
 */
import type { BucketCheck, BucketState } from '../contract/admission.ts';

/** May be negative: a debt that the refill pays back first. */
export type BucketLevel = { balanceMilli: number; refilledAtMicros: number };

/** `milli` milli-units flow in exactly `micros` microseconds, and no smaller pair of whole numbers says the same. */
export type RefillStep = { milli: number; micros: number };

const milliPerUnit = 1000;
const shortestMemoryMs = 3_600_000;

export function refillStep(refillPerMinute: number): RefillStep {
  const divisor = greatestCommonDivisor(refillPerMinute, 60_000);
  return { milli: refillPerMinute / divisor, micros: 60_000 / divisor };
}

export const capacityMilli = (check: BucketCheck): number => check.capacity * milliPerUnit;

/** The level now, which is never before its last refill. A bucket that nobody touched yet is full. */
export function refilled(level: BucketLevel | undefined, check: BucketCheck, nowMicros: number): BucketLevel {
  const full = capacityMilli(check);
  if (level === undefined) return { balanceMilli: full, refilledAtMicros: nowMicros };
  const step = refillStep(check.refillPerMinute);
  const steps = Math.floor((nowMicros - level.refilledAtMicros) / step.micros);
  const balanceMilli = level.balanceMilli + steps * step.milli;
  return balanceMilli >= full
    ? { balanceMilli: full, refilledAtMicros: nowMicros }
    : { balanceMilli, refilledAtMicros: level.refilledAtMicros + steps * step.micros };
}

/** Time until the level covers the cost: 0 when it does now, null when it never will. */
export function waitForUnitsMs(level: BucketLevel, check: BucketCheck, nowMicros: number): number | null {
  if (check.capacity === 0) return null;
  const missingMilli = check.cost * milliPerUnit - level.balanceMilli;
  if (missingMilli <= 0) return 0;
  const step = refillStep(check.refillPerMinute);
  const readyAtMicros = level.refilledAtMicros + Math.ceil(missingMilli / step.milli) * step.micros;
  return Math.ceil((readyAtMicros - nowMicros) / 1000);
}

/** Debt is bounded like credit: one absurd settlement must not shut a caller out for longer than a full refill. */
export function credited(level: BucketLevel, check: BucketCheck, units: number): BucketLevel {
  const full = capacityMilli(check);
  const balanceMilli = Math.max(-full, Math.min(full, level.balanceMilli + units * milliPerUnit));
  return { balanceMilli, refilledAtMicros: level.refilledAtMicros };
}

/** How long a bucket must be remembered: long after it is full again, so that forgetting it gives nothing away. */
export function memoryMs(check: BucketCheck): number {
  return Math.max(shortestMemoryMs, 4 * windowMs(check));
}

export function bucketState(check: BucketCheck, level: BucketLevel): BucketState {
  return {
    rule: check.rule,
    scope: check.scope,
    limit: check.capacity,
    remaining: Math.max(0, Math.floor(level.balanceMilli / milliPerUnit)),
    windowMs: windowMs(check),
  };
}

function windowMs(check: BucketCheck): number {
  if (check.capacity === check.refillPerMinute) return 60_000;
  return Math.ceil((check.capacity * 60_000) / check.refillPerMinute);
}

function greatestCommonDivisor(first: number, second: number): number {
  let larger = first;
  let smaller = second;
  while (smaller !== 0) [larger, smaller] = [smaller, larger % smaller];
  return larger;
}
