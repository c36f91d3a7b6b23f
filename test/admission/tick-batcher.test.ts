import type { Command, Redis } from 'ioredis';
import t, { type Test } from 'tap';
import {
  createTickBatcher,
  type TickBatcher,
  type TickBatcherOptions,
  type TickReply,
} from '../../src/admission/tick-batcher.ts';
import {
  admitOperation,
  emptyPlan,
  markOperation,
  packPlan,
  reapOperation,
  renewOperation,
  settleOperation,
} from '../../src/admission/tick-operations.ts';
import { loadTickScript } from '../../src/admission/tick-script.ts';
import type { AdmitRequest } from '../../src/contract/admission.ts';
import { openRedis } from '../../src/platform/redis.ts';
import { admitRequest, range, requestId, settlement, usageRecord, type RequestLimits } from './engine-world.ts';
import { openRedisWorld, redisUrl, type RedisWorld } from './redis-world.ts';

type Subject = { world: RedisWorld; batcher: TickBatcher; gate: { word: string } };

async function openSubject(t: Test, options: Partial<TickBatcherOptions> = {}): Promise<Subject> {
  const world = await openRedisWorld({ clock: 'server' });
  t.teardown(() => world.close());
  const redis = openRedis(redisUrl, { info: () => {}, warn: () => {} });
  t.teardown(() => redis.disconnect());
  await new Promise<void>((resolve) => redis.once('ready', () => resolve()));
  const gate = { word: '' };
  const batcher = createTickBatcher({
    redis,
    script: loadTickScript(),
    key: `${world.keyPrefix}{0}:open`,
    header: () => [gate.word, '1', '1', '60000', '60000', '0', 'first'],
    boundMs: 5000,
    callsInFlight: 4,
    queueLimit: 2000,
    nowMs: () => performance.now(),
    onIncarnation: () => {},
    onOpen: () => {},
    onClose: () => {},
    ...options,
  });
  t.teardown(() => batcher.stop());
  return { world, batcher, gate };
}

function admission(serial: number, limits: RequestLimits = { requestsPerMinute: 10_000 }) {
  const request = admitRequest(requestId(serial), limits);
  return admitOperation(request, packPlan(request, 0));
}

t.test('gives each of many operations its own answer when they need several calls', async (t) => {
  const { batcher } = await openSubject(t);
  const replies = await Promise.all(
    range(500).map((serial) =>
      batcher.submit(admission(serial, { requestsPerMinute: 1000 + serial, scope: `key:k${serial}` })),
    ),
  );
  for (const [serial, reply] of replies.entries()) {
    t.match(reply, { kind: 'answered', reply: ['OK', (999 + serial) * 1000] });
  }
});

t.test('sends large operations in calls of their own', async (t) => {
  const { batcher } = await openSubject(t);
  const record = 'x'.repeat(200_000);
  const replies = await Promise.all(
    range(6).map((serial) => {
      const operation = admission(serial);
      return batcher.submit({ ...operation, args: operation.args.with(4, record) });
    }),
  );
  t.ok(replies.every(({ kind }) => kind === 'answered'));
});

t.test('refuses an admission at once when the queue is full, and takes a settlement', async (t) => {
  const { batcher } = await openSubject(t, { queueLimit: 5 });
  const admissions = range(8).map((serial) => batcher.submit(admission(serial)));
  const operation = settleOperation(settlement(requestId(99), 'void'), emptyPlan);
  const settled = await Promise.all(range(8).map(() => batcher.submit(operation)));
  t.ok(settled.every(({ kind }) => kind === 'answered'));
  const kinds = (await Promise.all(admissions)).map(({ kind }) => kind);
  t.same(kinds, [...range(5).map(() => 'answered'), 'unsent', 'unsent', 'unsent']);
});

t.test('refuses admissions at the gate and lets settlements pass', async (t) => {
  const { batcher, gate } = await openSubject(t);
  await batcher.submit(admission(1));
  for (const word of ['STORE_FULL', 'JOURNAL_FULL']) {
    gate.word = word;
    t.match(await batcher.submit(admission(2)), { kind: 'answered', reply: [word] });
    t.match(await batcher.submit(admission(1)), { kind: 'answered', reply: ['OK'] });
  }
  const operation = settleOperation(settlement(requestId(1), 'exact', 1), emptyPlan);
  t.match(await batcher.submit(operation), { kind: 'answered', reply: ['OK'] });
});

t.test('refuses every operation when the work list itself is poisoned', async (t) => {
  const { world, batcher } = await openSubject(t);
  await world.admin.set(`${world.keyPrefix}{0}:open`, 'poison');
  t.match(await batcher.submit(admission(1)), { kind: 'failed', message: /WRONGTYPE/ });
  t.same(
    (await world.keys()).map((key) => key.split(':').at(-1)),
    ['open', 'rid'],
  );
});

t.test('settles an orphan only by what is known of it, and says so when it is asked again', async (t) => {
  const { world, batcher } = await openSubject(t);
  await batcher.submit(admission(1));
  await batcher.submit(renewOperation(requestId(1), { progressTokens: 70, isDispatched: true }));
  await world.admin.zadd(`${world.keyPrefix}{0}:open`, 1.5, requestId(1));
  const order = { id: requestId(1), estimatedTokens: 40, record: usageRecord(requestId(1), 1), progressTokens: 70 };
  t.match(await batcher.submit(reapOperation({ ...order, isDispatched: false })), { reply: ['CHANGED'] });
  const known = { ...order, isDispatched: true };
  t.match(await batcher.submit(reapOperation({ ...known, progressTokens: 60 })), { reply: ['CHANGED'] });
  t.match(await batcher.submit(reapOperation(known)), { reply: ['OK'] });
  t.match(await batcher.submit(reapOperation(known)), { reply: ['DUP'] });
  t.match(await batcher.submit(reapOperation({ ...known, id: requestId(2) })), { reply: ['ALIVE'] });
});

t.test('looks over unreadable and finished entries when it lists what expired', async (t) => {
  const { world, batcher } = await openSubject(t);
  const open = `${world.keyPrefix}{0}:open`;
  await batcher.submit(admission(1));
  await world.admin.zadd(open, '1', requestId(1), '2', requestId(2), '3', requestId(3));
  await world.admin.set(`${world.keyPrefix}{0}:r:${requestId(2)}`, 'poison');
  const listed = await batcher.submit({ urgency: 2, args: ['L', '10'] });
  t.match(listed, { reply: ['OK', requestId(1), 0, 0, /^\[7,\{/] });
  t.same((await world.admin.zrange(open, '0', '-1')).sort(), [requestId(1), requestId(2)].sort());
});

t.test('tells a lost lease from a reaped one when it renews', async (t) => {
  const { batcher } = await openSubject(t);
  const renewal = renewOperation(requestId(1), { progressTokens: 0, isDispatched: false });
  t.match(await batcher.submit(renewal), { reply: ['LOST'] });
  await batcher.submit(settleOperation(settlement(requestId(1), 'under'), emptyPlan));
  t.match(await batcher.submit(renewal), { reply: ['REAPED'] });
});

t.test('keeps a mark when a renewal comes that does not know of it yet', async (t) => {
  const { world, batcher } = await openSubject(t);
  await batcher.submit(admission(1));
  await batcher.submit(markOperation(requestId(1)));
  await batcher.submit(renewOperation(requestId(1), { progressTokens: 5, isDispatched: false }));
  t.match(await world.admin.zscore(`${world.keyPrefix}{0}:open`, requestId(1)), /\.5$/);
});

t.test('marks nothing that is not open', async (t) => {
  const { world, batcher } = await openSubject(t);
  const mark = markOperation(requestId(1));
  await batcher.submit(mark);
  await batcher.submit(admission(1));
  await Promise.all([
    batcher.submit(settleOperation(settlement(requestId(1), 'exact', 1), emptyPlan)),
    batcher.submit(mark),
  ]);
  t.equal(await world.admin.exists(`${world.keyPrefix}{0}:open`), 0);
});

t.test('remembers a slow bucket for its own time when a request names only the other of its scope', async (t) => {
  const { world, batcher } = await openSubject(t);
  const key = `${world.keyPrefix}{0}:b:2:account:a1`;
  const scope = 'account:a1';
  const requests = { rule: 'requests', scope, capacity: 100, refillPerMinute: 100, cost: 1 } as const;
  const tokens = { rule: 'tokens', scope, capacity: 100_000, refillPerMinute: 10, cost: 50_000 } as const;
  const ask = (serial: number, buckets: AdmitRequest['buckets']) => {
    const request = { ...admitRequest(requestId(serial), {}), buckets };
    return batcher.submit(admitOperation(request, packPlan(request, 0)));
  };
  await ask(1, [requests, tokens]);
  const memoryMs = await world.admin.pttl(key);
  t.ok(memoryMs > 3_600_000 * 2);
  await ask(2, [requests]);
  t.ok((await world.admin.pttl(key)) > memoryMs - 60_000);
  t.match(await world.admin.get(key), /^\d+:\d+:500\d{5}:\d+$/);
});

t.test('answers each bucket in its own place when the rules name the scopes in different orders', async (t) => {
  const { batcher } = await openSubject(t);
  const bucket = (rule: 'requests' | 'tokens', scope: string, capacity: number) => ({
    rule,
    scope,
    capacity,
    refillPerMinute: 1,
    cost: 1,
  });
  const request: AdmitRequest = {
    ...admitRequest(requestId(1), {}),
    buckets: [
      bucket('tokens', 'account:a1', 10),
      bucket('requests', 'key:k1', 20),
      bucket('requests', 'account:a1', 30),
      bucket('tokens', 'key:k1', 40),
    ],
    concurrency: [],
  };
  t.match(await batcher.submit(admitOperation(request, packPlan(request, 0))), {
    reply: ['OK', 19_000, 29_000, 9_000, 39_000],
  });
});

/** A client whose calls the test answers when it likes. */
function createSilentRedis() {
  const calls: Command[] = [];
  const redis = {
    status: 'ready',
    sendCommand(command: Command) {
      calls.push(command);
      return command.promise;
    },
  };
  return { calls, redis: redis as unknown as Redis };
}

function createBoundSubject(t: Test, boundMs: number) {
  const { calls, redis } = createSilentRedis();
  const opened = { times: 0 };
  const batcher = createTickBatcher({
    redis,
    script: { text: '', sha: '' },
    key: '',
    header: () => [],
    boundMs,
    callsInFlight: 1,
    queueLimit: 2000,
    nowMs: () => 0,
    onIncarnation: () => {},
    onOpen: () => {
      opened.times += 1;
    },
    onClose: () => {},
  });
  t.teardown(() => batcher.stop());
  return { calls, batcher, opened };
}

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

t.test('stays closed when one call of 64 operations from many turns is late', async (t) => {
  const { calls, batcher, opened } = createBoundSubject(t, 200);
  const first = batcher.submit(admission(0));
  await nextTurn();
  const others: Promise<TickReply>[] = [];
  for (const serial of range(63)) {
    others.push(batcher.submit(admission(1 + serial)));
    await nextTurn();
  }
  t.equal(calls.length, 1, 'the others wait for the first call');
  calls[0]?.resolve(['incarnation', ['OK']]);
  await first;
  await nextTurn();
  t.equal(calls.length, 2);
  t.ok((await Promise.all(others)).every(({ kind }) => kind === 'ambiguous'));
  calls[1]?.reject(new Error('Command timed out'));
  await nextTurn();
  t.equal(opened.times, 0);
});

t.test('counts one failure for each call that is late, and opens at the fifth', async (t) => {
  const { batcher, opened } = createBoundSubject(t, 5);
  for (const serial of range(4)) t.match(await batcher.submit(admission(serial)), { kind: 'ambiguous' });
  t.equal(opened.times, 0);
  t.match(await batcher.submit(admission(4)), { kind: 'ambiguous' });
  t.equal(opened.times, 1);
  t.same(await batcher.submit(admission(5)), { kind: 'unsent' });
});
