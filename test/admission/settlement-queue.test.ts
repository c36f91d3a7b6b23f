import t, { type Test } from 'tap';
import {
  createSettlementQueue,
  type SettlementQueue,
  type SettlementQueueOptions,
} from '../../src/admission/settlement-queue.ts';
import type { TickBatcher, TickReply } from '../../src/admission/tick-batcher.ts';
import type { UsageRecord } from '../../src/contract/flow.ts';
import { requestId, usageRecord } from './engine-world.ts';

function createSubject(t: Test, replies: TickReply[], options: Partial<SettlementQueueOptions> = {}) {
  const rows: UsageRecord[] = [];
  const failures: string[] = [];
  const settled: string[] = [];
  const clock = { nowMs: 0, attempts: 0 };
  const batcher: TickBatcher = {
    submit: async () => {
      clock.attempts += 1;
      return replies.shift() ?? { kind: 'unsent' };
    },
    reconnected: () => undefined,
    stop: () => {},
  };
  const queue = createSettlementQueue({
    sink: { append: (record) => rows.push(record), hasRoom: () => true },
    nowMs: () => clock.nowMs,
    hasStream: false,
    capacity: 10,
    onFailure: (message) => failures.push(message),
    onSettled: ({ record }) => settled.push(record.requestId),
    ...options,
  });
  t.teardown(() => queue.close());
  const deliver = (serial: number, isGivenUp = false) =>
    queue.deliver({
      batcher,
      operation: { urgency: 0, args: [] },
      record: usageRecord(requestId(serial), 3),
      isGivenUp,
    });
  return { queue, deliver, rows, failures, settled, clock };
}

/** One more attempt for all that wait, and its end. */
async function retry(queue: SettlementQueue): Promise<void> {
  queue.retryNow();
  await new Promise((resolve) => setImmediate(resolve));
}

const answered = (word: string): TickReply => ({ kind: 'answered', reply: [word] });

t.test('hands the row over when the settlement counts', async (t) => {
  const { queue, deliver, rows } = createSubject(t, [answered('OK')]);
  await deliver(1);
  t.match(rows, [{ requestId: requestId(1) }]);
  t.equal(queue.size(), 0);
});

t.test('leaves the row to the stream of the server when it answers, and hands it over when it does not', async (t) => {
  const replies: TickReply[] = [answered('OK'), { kind: 'ambiguous' }, answered('DUP'), { kind: 'unsent' }];
  const { queue, deliver, rows, clock } = createSubject(t, replies, { hasStream: true });
  await deliver(1);
  await deliver(2);
  await retry(queue);
  t.same(rows, []);
  await deliver(3);
  clock.nowMs = 2000;
  await retry(queue);
  t.match(rows, [{ requestId: requestId(3) }]);
});

t.test('tells of every settlement that was answered, and of no admission that was given up', async (t) => {
  const { deliver, settled } = createSubject(t, [answered('OK'), answered('DUP'), answered('OK'), { kind: 'unsent' }]);
  await deliver(1);
  await deliver(2);
  await deliver(3, true);
  await deliver(4);
  t.same(settled, [requestId(1), requestId(2)]);
});

t.test('hands no row over when an earlier settlement counted', async (t) => {
  const { queue, deliver, rows } = createSubject(t, [answered('DUP'), answered('UNKNOWN')]);
  await deliver(1);
  await deliver(2);
  t.same(rows, []);
  t.equal(queue.size(), 0);
});

t.test('hands the row over once when its own earlier attempt had run', async (t) => {
  const { queue, deliver, rows } = createSubject(t, [{ kind: 'ambiguous' }, answered('DUP')]);
  await deliver(1);
  t.equal(queue.size(), 1);
  await retry(queue);
  t.equal(rows.length, 1);
  t.equal(queue.size(), 0);
});

t.test('repeats with growing pauses until it is answered', async (t) => {
  const { queue, deliver, rows, failures, clock } = createSubject(t, [
    { kind: 'unsent' },
    { kind: 'failed', message: 'WRONGTYPE' },
    { kind: 'unsent' },
    answered('OK'),
  ]);
  await deliver(1);
  for (const _ of [1, 2, 3]) await retry(queue);
  t.equal(clock.attempts, 4);
  t.same(failures, ['WRONGTYPE']);
  t.equal(rows.length, 1);
});

t.test('hands the row over after two seconds of silence, and not again', async (t) => {
  const { queue, deliver, rows, clock } = createSubject(t, [{ kind: 'unsent' }, { kind: 'unsent' }, answered('OK')]);
  await deliver(1);
  clock.nowMs = 1999;
  await retry(queue);
  t.same(rows, []);
  clock.nowMs = 2000;
  await retry(queue);
  t.equal(rows.length, 1);
  await retry(queue);
  t.equal(rows.length, 1);
  t.equal(queue.size(), 0);
});

t.test('writes a row for a given up admission only when the server knew it', async (t) => {
  const { queue, deliver, rows, clock } = createSubject(t, [
    { kind: 'ambiguous' },
    answered('UNKNOWN'),
    answered('OK'),
  ]);
  await deliver(1, true);
  clock.nowMs = 10_000;
  await retry(queue);
  t.same(rows, []);
  await deliver(2, true);
  t.match(rows, [{ requestId: requestId(2) }]);
});

t.test('keeps the row and lets the settlement go when too many wait', async (t) => {
  const { queue, deliver, rows } = createSubject(t, [], { capacity: 2 });
  for (const serial of [1, 2, 3]) await deliver(serial);
  t.equal(queue.size(), 2);
  t.match(rows, [{ requestId: requestId(3) }]);
});

t.test('tries once more and leaves the rows behind when it is closed', async (t) => {
  const { queue, deliver, rows, clock } = createSubject(t, []);
  await deliver(1);
  await deliver(2);
  await deliver(3, true);
  await queue.close();
  t.equal(clock.attempts, 6);
  t.match(rows, [{ requestId: requestId(1) }, { requestId: requestId(2) }]);
  t.equal(rows.length, 2, 'a given up admission leaves none');
  t.equal(queue.size(), 0);
});
