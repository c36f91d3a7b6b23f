import { assert, integer, maxSafeInteger, property } from 'fast-check';
import t from 'tap';
import { formatUsd } from '../../src/store/decimal-usd.ts';

t.test('writes twelve places and nothing more', (t) => {
  t.equal(formatUsd(0), '0.000000000000');
  t.equal(formatUsd(1), '0.000000000001');
  t.equal(formatUsd(123_000_000_000_000), '123.000000000000');
  t.equal(formatUsd(-0), '0.000000000000');
  t.equal(formatUsd(-1_500_000_000_000), '-1.500000000000');
  t.equal(formatUsd(1e20), '100000000.000000000000', 'large numbers come without an exponent');
  t.end();
});

t.test('gives back the same number when the point is taken out', (t) => {
  assert(
    property(integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), (picoUsd) => {
      return BigInt(formatUsd(picoUsd).replace('.', '')) === BigInt(picoUsd);
    }),
  );
  assert(property(maxSafeInteger(), (picoUsd) => /^-?\d+\.\d{12}$/.test(formatUsd(picoUsd))));
  t.end();
});

t.test('refuses what is no amount', (t) => {
  t.throws(() => formatUsd(Number.NaN), RangeError);
  t.throws(() => formatUsd(Number.POSITIVE_INFINITY), RangeError);
  t.end();
});
