import { assert, integer, property } from 'fast-check';
import t from 'tap';
import { createUuidSource, createUuidV7, uuidV7Milliseconds } from '../../src/platform/uuid.ts';

const shape = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

t.test('carries its millisecond when the moment is any that 48 bits hold', (t) => {
  assert(
    property(integer({ min: 0, max: 2 ** 48 - 1 }), (nowMs) => {
      const uuid = createUuidV7(nowMs);
      return shape.test(uuid) && uuidV7Milliseconds(uuid) === nowMs;
    }),
  );
  t.equal(uuidV7Milliseconds('017f22e2-79b0-7cc3-98c4-dc0c0c07398f'), 1_645_557_742_000, 'the example of RFC 9562');
  t.end();
});

t.test('drops a fraction of a millisecond when the clock has one', (t) => {
  t.equal(uuidV7Milliseconds(createUuidV7(1_645_557_742_000.75)), 1_645_557_742_000);
  t.end();
});

t.test('uses every random bit that the layout leaves when the source is fixed', (t) => {
  t.equal(
    createUuidV7(0x017f22e279b0, (size) => new Uint8Array(size).fill(0xff)),
    '017f22e2-79b0-7fff-bfff-ffffffffffff',
  );
  t.equal(
    createUuidV7(0x017f22e279b0, (size) => new Uint8Array(size)),
    '017f22e2-79b0-7000-8000-000000000000',
  );
  t.end();
});

t.test('gives no id twice when the pool of random bytes is refilled', (t) => {
  const next = createUuidSource();
  const ids = new Set(Array.from({ length: 5_000 }, () => next(1_700_000_000_000)));
  t.equal(ids.size, 5_000);
  t.ok([...ids].every((id) => shape.test(id) && uuidV7Milliseconds(id) === 1_700_000_000_000));
  t.end();
});

t.test('sorts by time when ids are compared as text', (t) => {
  const next = createUuidSource();
  const ids = Array.from({ length: 100 }, (_, index) => next(1_700_000_000_000 + index));
  t.same([...ids].sort(), ids);
  t.end();
});
