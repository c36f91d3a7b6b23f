import * as fc from 'fast-check';
import t from 'tap';
import { quantile, shuffled, slope, summarize } from '../../bench/statistics.ts';

t.test('quantile interpolates between the nearest ranks when the fraction falls between two', (t) => {
  t.equal(quantile([4, 1, 3, 2], 0.5), 2.5);
  t.equal(quantile([10, 20, 30, 40, 50], 0.25), 20);
  t.equal(quantile([7], 0.99), 7);
  t.ok(Number.isNaN(quantile([], 0.5)), 'nothing has no median');
  t.end();
});

t.test('summarize gives median and quartiles when there are values, and null when there are none', (t) => {
  t.same(summarize([1, 2, 3, 4, 5]), { median: 3, q1: 2, q3: 4, count: 5 });
  t.equal(summarize([]), null);
  t.end();
});

t.test('quantile leaves its argument in order when it sorts', (t) => {
  const values = [3, 1, 2];
  quantile(values, 0.5);
  t.same(values, [3, 1, 2]);
  t.end();
});

const inOrder = (items: readonly number[]): number[] => [...items].sort((left, right) => left - right);

t.test('shuffled keeps every item when it changes the order', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer()),
      fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })),
      (items, numbers) => {
        const mixed = shuffled(items, () => numbers.next().value ?? 0);
        t.same(inOrder(mixed), inOrder(items));
      },
    ),
    { numRuns: 50 },
  );
  t.same(
    shuffled([1, 2, 3], () => 0),
    [2, 3, 1],
  );
  t.end();
});

t.test('slope is the cost of one more unit when points lie on a line', (t) => {
  t.equal(slope([4, 32, 300].map((x) => ({ x, y: 50 + 1.5 * x }))), 1.5);
  t.equal(slope([{ x: 1, y: 1 }]), null, 'one point has no slope');
  t.equal(slope([1, 1].map((x) => ({ x, y: 2 }))), null, 'nor have two at the same place');
  t.end();
});
