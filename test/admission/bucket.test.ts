import * as fc from 'fast-check';
import t from 'tap';
import {
  bucketState,
  credited,
  refilled,
  refillStep,
  waitForUnitsMs,
  type BucketLevel,
} from '../../src/admission/bucket.ts';
import type { BucketCheck } from '../../src/contract/admission.ts';

const startMicros = 1_790_000_000_000_000;
const anyRate = fc.oneof(fc.integer({ min: 1, max: 200_000 }), fc.constantFrom(1, 7, 9973, 1_000_000, 1e9));
const checkOf = (capacity: number, refillPerMinute: number, cost = 0): BucketCheck => ({
  rule: 'tokens',
  scope: 'key:k',
  capacity,
  refillPerMinute,
  cost,
});

t.test('never gains more than its rate nor loses more than a step when it is looked at often', (t) => {
  fc.assert(
    fc.property(
      anyRate,
      fc.array(fc.integer({ min: 0, max: 90_000 }), { minLength: 1, maxLength: 200 }),
      (rate, pauses) => {
        const check = checkOf(1e12, rate);
        let level: BucketLevel = { balanceMilli: 0, refilledAtMicros: startMicros };
        let nowMicros = startMicros;
        for (const pause of pauses) {
          nowMicros += pause;
          level = refilled(level, check, nowMicros);
        }
        // A rate of r per minute is r milli-units in each 60,000 microseconds.
        const exact = BigInt(rate) * BigInt(nowMicros - startMicros);
        const gained = BigInt(level.balanceMilli) * 60_000n;
        return gained <= exact && exact - gained < BigInt(refillStep(rate).milli) * 60_000n;
      },
    ),
  );
  t.end();
});

t.test('covers the cost after the told wait, and not a millisecond and a step before', (t) => {
  const arbitrary = fc.record({
    rate: anyRate,
    balance: fc.integer({ min: -5000, max: 4999 }),
    cost: fc.integer({ min: 5, max: 5000 }),
    lateMicros: fc.integer({ min: 0, max: 50_000 }),
  });
  fc.assert(
    fc.property(arbitrary, ({ rate, balance, cost, lateMicros }) => {
      const check = checkOf(5000, rate, cost);
      const stored = { balanceMilli: balance * 1000, refilledAtMicros: startMicros };
      const nowMicros = startMicros + lateMicros;
      const waitMs = waitForUnitsMs(refilled(stored, check, nowMicros), check, nowMicros) ?? -1;
      const levelAfter = (waitedMs: number) => refilled(stored, check, nowMicros + waitedMs * 1000).balanceMilli;
      return levelAfter(waitMs) >= cost * 1000 && (waitMs === 0 || levelAfter(waitMs - 1) < cost * 1000);
    }),
  );
  t.end();
});

t.test('bounds credit and debt by its capacity', (t) => {
  const check = checkOf(100, 60);
  const level = { balanceMilli: 50_000, refilledAtMicros: startMicros };
  t.equal(credited(level, check, 70).balanceMilli, 100_000);
  t.equal(credited(level, check, -1e12).balanceMilli, -100_000);
  t.match(bucketState(check, credited(level, check, -60)), { limit: 100, remaining: 0, windowMs: 100_000 });
  t.end();
});
