import t from 'tap';
import { createLocalShare } from '../../src/admission/local-share.ts';
import type { AdmitRequest } from '../../src/contract/admission.ts';
import { requestId, usageRecord } from './engine-world.ts';

const scope = 'account:one';
let serial = 0;

function request({ slots, tokens, cost = 0 }: { slots?: number; tokens?: number; cost?: number }): AdmitRequest {
  const id = requestId((serial += 1));
  const bucket = { rule: 'tokens' as const, scope, capacity: tokens ?? 0, refillPerMinute: tokens ?? 0, cost };
  return {
    id,
    accountId: 'one',
    buckets: tokens === undefined ? [] : [bucket],
    concurrency: slots === undefined ? [] : [{ scope, limit: slots }],
    record: usageRecord(id, 1),
  };
}

t.test('gives away the limit divided by the processes, rounded down', (t) => {
  for (const { limit, replicas, most } of [
    { limit: 4, replicas: 2, most: 2 },
    { limit: 5, replicas: 2, most: 2 },
    { limit: 3, replicas: 4, most: 0 },
    { limit: 7, replicas: 1, most: 7 },
    { limit: 0, replicas: 1, most: 0 },
  ]) {
    const share = createLocalShare(() => 0);
    const admitted = Array.from({ length: 10 }, () =>
      share.admit(request({ slots: limit }), { replicas, sinceMs: 0 }),
    ).filter((buckets) => buckets !== null);
    t.equal(admitted.length, most, `${limit} over ${replicas}`);
  }
  t.end();
});

t.test('counts what already runs here, and frees a slot once', (t) => {
  const share = createLocalShare(() => 0);
  const terms = { replicas: 2, sinceMs: 0 };
  const held = request({ slots: 4 });
  share.hold(held);
  const own = request({ slots: 4 });
  t.ok(share.admit(own, terms));
  t.equal(share.admit(request({ slots: 4 }), terms), null);
  t.notOk(share.isAdmitted(held.id));
  t.ok(share.isAdmitted(own.id));
  for (const _ of [1, 2]) share.settle({ id: held.id, kind: 'exact', actual: { requests: 1, tokens: 5 } });
  t.ok(share.admit(request({ slots: 4 }), terms));
  t.equal(share.admit(request({ slots: 4 }), terms), null);
  t.end();
});

t.test('begins with an empty bucket, and fills it at its share of the rate', (t) => {
  let nowMs = 1000;
  const share = createLocalShare(() => nowMs);
  const terms = { replicas: 3, sinceMs: 1000 };
  const ask = () => share.admit(request({ tokens: 180, cost: 10 }), terms);
  t.equal(ask(), null, 'what was admitted a moment ago may have taken all');
  nowMs += 10_000;
  t.match(ask(), [{ limit: 60, remaining: 0 }], 'sixty a minute');
  t.equal(ask(), null);
  nowMs += 600_000;
  t.equal(Array.from({ length: 20 }, ask).filter((buckets) => buckets !== null).length, 6, 'never more than it holds');
  t.end();
});

t.test('takes nothing from any limit when one of them refuses', (t) => {
  const share = createLocalShare(() => 60_000);
  const terms = { replicas: 1, sinceMs: 0 };
  t.equal(share.admit(request({ slots: 1, tokens: 60, cost: 61 }), terms), null, 'no cost that never fits');
  const first = request({ slots: 1, tokens: 60, cost: 30 });
  t.match(share.admit(first, terms), [{ remaining: 30 }]);
  t.equal(share.admit(request({ slots: 1, tokens: 60, cost: 1 }), terms), null);
  share.settle({ id: first.id, kind: 'void', actual: { requests: 0, tokens: 0 } });
  t.match(share.admit(request({ slots: 1, tokens: 60, cost: 1 }), terms), [{ remaining: 59 }], 'a void gives it back');
  t.end();
});

t.test('charges what was used, and gives an estimate nothing back', (t) => {
  const share = createLocalShare(() => 60_000);
  const terms = { replicas: 1, sinceMs: 0 };
  const left = (): number | undefined => {
    const probe = request({ tokens: 60, cost: 0 });
    const remaining = share.admit(probe, terms)?.[0]?.remaining;
    share.settle({ id: probe.id, kind: 'void', actual: { requests: 0, tokens: 0 } });
    return remaining;
  };
  const use = (kind: 'exact' | 'under', tokens: number): void => {
    const one = request({ tokens: 60, cost: 10 });
    share.admit(one, terms);
    share.settle({ id: one.id, kind, actual: { requests: 1, tokens } });
  };
  use('exact', 4);
  t.equal(left(), 56);
  use('under', 4);
  t.equal(left(), 46);
  use('exact', 30);
  t.equal(left(), 16);
  t.end();
});
