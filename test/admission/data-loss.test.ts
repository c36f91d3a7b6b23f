/** Redis loses what it was told while the replicas live on. Spec: reliability 2.4 REASSERT and replay ring, section 3. */
import t, { type Test } from 'tap';
import { usageStreamKey } from '../../src/admission/redis-keys.ts';
import { usageRank } from '../../src/contract/flow.ts';
import { admitRequest, range, requestId, settlement } from './engine-world.ts';
import { openFaultProxy } from './fault-proxy.ts';
import { openRedisWorld, redisUrl, type RedisReplica, type RedisWorld } from './redis-world.ts';

type Scene = { world: RedisWorld; owner: RedisReplica; other: RedisReplica; key: (name: string) => string };

async function openScene(t: Test): Promise<Scene> {
  const world = await openRedisWorld({ boundMs: 5000 });
  t.teardown(() => world.close());
  const owner = await world.createReplica({ usageStream: true });
  const other = await world.createReplica({ usageStream: true });
  return { world, owner, other, key: (name) => `${world.keyPrefix}{0}:${name}` };
}

/** What FLUSHALL does, for this world alone. */
async function loseEverything(world: RedisWorld): Promise<void> {
  await world.admin.unlink(...(await world.keys()));
}

/** Waits for something that happens by itself; the test's own timeout ends it when it does not. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

const limits = { requestsPerMinute: 10, tokensPerMinute: 1000, tokens: 300, concurrency: 2 };
const view = { accountId: 'a1', buckets: admitRequest('', limits).buckets, concurrency: [] };

t.test('asserts a running request again when its record is lost, and settles it once', async (t) => {
  const { world, owner, other, key } = await openScene(t);
  for (const serial of [1, 2]) await owner.engine.admit(admitRequest(requestId(serial), limits));
  owner.engine.markDispatched(requestId(1), 'a1');
  owner.engine.reportProgress(requestId(1), 'a1', 350);
  await loseEverything(world);
  await owner.heartbeat();
  t.match(await other.engine.admit(admitRequest(requestId(3), { ...limits, tokens: 0 })), {
    outcome: 'rejected',
    rule: 'concurrency',
    used: 2,
    buckets: [{ remaining: 8 }, { remaining: 400 }],
  });
  // Open, 350 tokens so far; one request and 300 tokens are held. The half says that it was dispatched.
  t.match(await world.admin.get(key(`r:${requestId(1)}`)), /^O00(?:0{10}350)\t1\t300\t/);
  t.match(await world.admin.zscore(key('open'), requestId(1)), /\.5$/);
  t.ok((await world.admin.pttl(key(`r:${requestId(1)}`))) > 0);
  await owner.engine.settle(settlement(requestId(1), 'exact', 100));
  await owner.engine.settle(settlement(requestId(1), 'exact', 100));
  t.match(await other.engine.inspect(view), { buckets: [{ remaining: 8 }, { remaining: 600 }] });
  t.match(await world.streamRows(), [{ requestId: requestId(1), rank: usageRank.final }]);
  t.match(
    owner.lines.map(({ message }) => message),
    /gone and are asserted again|lost the data/,
  );
});

t.test('bills an asserted request when its owner dies after the loss', async (t) => {
  const { world, owner, other } = await openScene(t);
  await owner.engine.admit(admitRequest(requestId(1), limits));
  owner.engine.markDispatched(requestId(1), 'a1');
  await loseEverything(world);
  await owner.heartbeat();
  await owner.engine.close();
  await world.moveClock(30_000);
  await other.reap();
  t.match(await world.streamRows(), [{ requestId: requestId(1), rank: usageRank.orphan, status: 'orphaned' }]);
});

t.test('brings rows and charges back when the settlements of the last minute are lost', async (t) => {
  const { world, owner, key } = await openScene(t);
  for (const serial of range(300)) {
    await owner.engine.settle(settlement(requestId(serial), 'exact', 1));
  }
  await owner.engine.admit(admitRequest(requestId(500), limits));
  await owner.engine.settle(settlement(requestId(500), 'exact', 250));
  await loseEverything(world);
  await owner.reap();
  await until(async () => (await world.admin.xlen(usageStreamKey(world.keyPrefix, 0))) === 301);
  await owner.heartbeat();
  const ids = (await world.streamRows()).map((row) => row.requestId);
  t.equal(new Set(ids).size, 301);
  t.equal(ids.length, 301);
  t.match(await world.admin.get(key('b:2:account:a1')), /^.*:750000:\d+$/);
  t.equal(await world.admin.zcard(key('open')), 0);
});

t.test('doubles nothing when settlements are sent again that were not lost', async (t) => {
  const { world, owner, other, key } = await openScene(t);
  const seen = { accountId: 'a1', keyId: 'k1' };
  await owner.engine.seedBudget(seen.accountId, { scope: 'account:a1', period: 'total' }, 0);
  const budgets = [{ scope: 'account:a1', period: 'total', limitNanoUsd: 1000, costNanoUsd: 10 }] as const;
  for (const serial of range(20)) {
    await owner.engine.admit(
      admitRequest(requestId(serial), { ...limits, tokens: 10, requestsPerMinute: 100, budgets }),
    );
    await owner.engine.settle(settlement(requestId(serial), serial % 2 === 0 ? 'exact' : 'under', 20));
  }
  const before = await Promise.all([world.streamRows(), other.engine.inspect({ ...view, budgets })]);
  await world.admin.set(key('rid'), 'another');
  await owner.heartbeat();
  await owner.engine.admit(admitRequest(requestId(900), {}));
  await until(() => owner.lines.some(({ message }) => message === 'redis has lost the data of a shard'));
  await owner.heartbeat();
  await world.quiet();
  t.same(await Promise.all([world.streamRows(), other.engine.inspect({ ...view, budgets })]), before);
});

t.test('takes its slot back when another replica took it for dead, and improves the row', async (t) => {
  const { world, owner, other } = await openScene(t);
  await owner.engine.admit(admitRequest(requestId(1), { ...limits, concurrency: 1 }));
  owner.engine.markDispatched(requestId(1), 'a1');
  await world.quiet();
  await world.moveClock(30_000);
  await other.reap();
  t.match(await world.streamRows(), [{ rank: usageRank.orphan }]);
  await owner.heartbeat();
  const refused = await other.engine.admit(admitRequest(requestId(2), { ...limits, concurrency: 1 }));
  t.match(refused, { outcome: 'rejected', rule: 'concurrency' });
  await owner.engine.settle(settlement(requestId(1), 'exact', 100));
  t.match(await world.streamRows(), [{ rank: usageRank.orphan }, { rank: usageRank.final }]);
  t.equal((await other.engine.admit(admitRequest(requestId(3), { ...limits, concurrency: 1 }))).outcome, 'admitted');
  t.match(await other.engine.inspect(view), { buckets: [{}, { remaining: 700 }] }, 'it was full again, 300 are held');
});

t.test('is reaped again when it was taken for dead, came back, and then died', async (t) => {
  const { world, owner, other, key } = await openScene(t);
  await owner.engine.admit(admitRequest(requestId(1), limits));
  await world.moveClock(30_000);
  await other.reap();
  owner.engine.markDispatched(requestId(1), 'a1');
  await owner.heartbeat();
  await owner.engine.close();
  await world.moveClock(30_000);
  await other.reap();
  t.equal(await world.admin.zcard(key('open')), 0);
  t.match(await world.streamRows(), [{ status: 'not_dispatched' }, { status: 'orphaned' }]);
});

t.test('leaves a request alone that its owner has settled while a heartbeat was on its way', async (t) => {
  const { world, owner, key } = await openScene(t);
  await owner.engine.admit(admitRequest(requestId(1), limits));
  await world.admin.unlink(key(`r:${requestId(1)}`));
  const beat = owner.heartbeat();
  await owner.engine.settle(settlement(requestId(1), 'under', 10));
  await beat;
  await owner.heartbeat();
  t.equal(await world.admin.zcard(key('open')), 0);
  t.match(await world.admin.get(key(`r:${requestId(1)}`)), /^F/);
});

t.test('sums the budgets again after a loss, and charges what ran through it', async (t) => {
  const { world, owner, other } = await openScene(t);
  const budgets = [{ scope: 'account:a1', period: 'total', limitNanoUsd: 1000, costNanoUsd: 100 }] as const;
  const [budget] = budgets;
  await owner.engine.seedBudget('a1', budget, 0);
  await owner.engine.admit(admitRequest(requestId(1), { budgets }));
  await loseEverything(world);
  await owner.heartbeat();
  t.match(await other.engine.admit(admitRequest(requestId(2), { budgets })), { outcome: 'need_seed' });
  await other.engine.seedBudget('a1', budget, 500);
  t.match(await other.engine.admit(admitRequest(requestId(2), { budgets })), { budgets: [{ remainingNanoUsd: 400 }] });
  const settled = settlement(requestId(1), 'exact', 0);
  await owner.engine.settle({ ...settled, actual: { ...settled.actual, costNanoUsd: 70 } });
  t.match(await other.engine.inspect({ ...view, budgets }), { budgets: [{ remainingNanoUsd: 330 }] });
});

t.test('sends the settlements of the last minute again when a silent server is back without them', async (t) => {
  const proxy = await openFaultProxy(redisUrl);
  t.teardown(() => proxy.close());
  const world = await openRedisWorld();
  t.teardown(() => world.close());
  const { engine, lines } = await world.createReplica({ usageStream: true, url: proxy.url });
  await engine.admit(admitRequest(requestId(1), limits));
  await until(async () => {
    await engine.settle(settlement(requestId(1), 'exact', 100));
    return (await world.streamRows()).length === 1;
  });
  await world.admin.unlink(usageStreamKey(world.keyPrefix, 0), `${world.keyPrefix}{0}:r:${requestId(1)}`);
  proxy.setMode('hold-requests');
  const isOpen = () => lines.some(({ message }) => message.startsWith('redis does not answer'));
  for (let serial = 10; !isOpen(); serial += 1) await engine.admit(admitRequest(requestId(serial), limits));
  proxy.setMode('pass');
  await until(async () => (await world.streamRows()).some((row) => row.requestId === requestId(1)));
  const rows = await world.streamRows();
  t.equal(rows.filter((row) => row.requestId === requestId(1)).length, 1);
});
