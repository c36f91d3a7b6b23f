import t, { type Test } from 'tap';
import { everyInterval } from '../../src/admission/clock.ts';
import { usageStreamKey } from '../../src/admission/redis-keys.ts';
import { usageRank } from '../../src/contract/flow.ts';
import { admitRequest, range, requestId, settlement, usageRecord } from './engine-world.ts';
import { openRedisWorld, type RedisWorld } from './redis-world.ts';

async function openWorld(t: Test): Promise<RedisWorld> {
  const world = await openRedisWorld({ boundMs: 5000 });
  t.teardown(() => world.close());
  return world;
}

const streaming = { usageStream: true } as const;
const limits = { requestsPerMinute: 10_000, tokensPerMinute: 1_000_000, tokens: 100, concurrency: 1000 };

t.test('leaves one row for each id in the stream and none to the sink when a settlement is answered', async (t) => {
  const world = await openWorld(t);
  const { engine, rows } = await world.createReplica(streaming);
  const ids = range(50).map(requestId);
  await Promise.all(ids.map((id) => engine.admit(admitRequest(id, limits))));
  await Promise.all(ids.flatMap((id) => range(3).map(() => engine.settle(settlement(id, 'exact', 20)))));
  const streamed = await world.streamRows();
  t.same(
    streamed.map((row) => row.requestId).sort((one, other) => (one < other ? -1 : 1)),
    ids,
  );
  t.same(streamed[0], usageRecord(streamed[0]?.requestId ?? '', usageRank.final), 'the whole record');
  t.same(rows, []);
});

t.test('appends the better row behind the first when a higher rank comes later', async (t) => {
  const world = await openWorld(t);
  const { engine } = await world.createReplica(streaming);
  await engine.admit(admitRequest(requestId(1), limits));
  for (const kind of ['under', 'under', 'exact', 'under'] as const) {
    await engine.settle(settlement(requestId(1), kind, 20));
  }
  t.match(await world.streamRows(), [{ rank: usageRank.partial }, { rank: usageRank.final }]);
});

t.test('leaves no row of a request that was never admitted when it is void', async (t) => {
  const world = await openWorld(t);
  const { engine } = await world.createReplica(streaming);
  await engine.settle(settlement(requestId(1), 'void'));
  t.same(await world.streamRows(), []);
});

t.test('leaves one row of an orphan when two replicas reap it at the same time', async (t) => {
  const world = await openWorld(t);
  const { engine } = await world.createReplica(streaming);
  const others = [await world.createReplica(streaming), await world.createReplica(streaming)];
  for (const serial of range(20)) await engine.admit(admitRequest(requestId(serial), limits));
  for (const serial of range(10)) engine.markDispatched(requestId(serial), 'a1');
  await world.quiet();
  await engine.close();
  await world.moveClock(30_000);
  await Promise.all(others.map(({ reap }) => reap()));
  const streamed = await world.streamRows();
  t.equal(new Set(streamed.map((row) => row.requestId)).size, 20);
  t.equal(streamed.length, 20);
  t.equal(streamed.filter(({ status }) => status === 'orphaned').length, 10);
  t.equal(streamed.filter(({ status }) => status === 'not_dispatched').length, 10);
});

t.test('tells nothing of a budget that could be compared with the rows while rows wait', async (t) => {
  const world = await openWorld(t);
  const { engine } = await world.createReplica(streaming);
  const budget = { scope: 'account:a1', period: 'daily' } as const;
  await engine.seedBudget('a1', budget, 5);
  const before = await engine.readBudget('a1', budget);
  const mark = before?.state === 'at_rest' ? before.mark : '';
  await engine.admit(admitRequest(requestId(1), limits));
  await engine.settle(settlement(requestId(1), 'exact', 20));
  t.match(await engine.readBudget('a1', budget), { state: 'in_use' });
  t.equal(await engine.adjustBudget('a1', budget, { mark, deltaNanoUsd: 1 }), false);
  await world.admin.xtrim(usageStreamKey(world.keyPrefix, 0), 'MAXLEN', 0);
  t.match(await engine.readBudget('a1', budget), { state: 'at_rest', spentNanoUsd: 5 });
  t.equal(await engine.adjustBudget('a1', budget, { mark, deltaNanoUsd: 1 }), false, 'a row has passed');
});

t.test('refuses with journal_full when the stream is at its cap, and still settles', async (t) => {
  const world = await openWorld(t);
  const { engine } = await world.createReplica({ ...streaming, streamCapEntries: 2 });
  for (const serial of range(4)) await engine.admit(admitRequest(requestId(serial), limits));
  for (const serial of range(2)) await engine.settle(settlement(requestId(serial), 'exact', 1));
  const refused = await engine.admit(admitRequest(requestId(9), limits));
  t.same(refused, { outcome: 'unavailable', reason: 'journal_full' });
  t.equal((await engine.admit(admitRequest(requestId(3), limits))).outcome, 'admitted', 'it was admitted before');
  await engine.settle(settlement(requestId(2), 'exact', 1));
  t.equal((await world.streamRows()).length, 3);
  await world.admin.xtrim(usageStreamKey(world.keyPrefix, 0), 'MAXLEN', 1);
  t.equal((await engine.admit(admitRequest(requestId(9), limits))).outcome, 'admitted');
});

t.test('refuses with journal_full when the stream takes more memory than it may, and still settles', async (t) => {
  const world = await openWorld(t);
  const { engine } = await world.createReplica({ ...streaming, streamCapBytes: 1000, every: everyInterval });
  await engine.admit(admitRequest(requestId(1), limits));
  await world.admin.xadd(usageStreamKey(world.keyPrefix, 0), '*', 'id', 'x', 'rec', 'y'.repeat(2000));
  let serial = 1;
  const admitAnother = () => engine.admit(admitRequest(requestId((serial += 1)), {}));
  const isFull = async () => (await admitAnother()).outcome === 'unavailable';
  await until(isFull);
  t.same(await admitAnother(), { outcome: 'unavailable', reason: 'journal_full' });
  await engine.settle(settlement(requestId(1), 'exact', 1));
  t.equal(await world.admin.xlen(usageStreamKey(world.keyPrefix, 0)), 2);
  await world.admin.xtrim(usageStreamKey(world.keyPrefix, 0), 'MAXLEN', 0);
  await until(async () => !(await isFull()));
});

t.test('frees no slot without a row when the stream is poisoned, and hands the row over when that lasts', async (t) => {
  const world = await openWorld(t);
  let monotonicMs = 0;
  const { engine, rows } = await world.createReplica({ ...streaming, monotonicMs: () => monotonicMs });
  await engine.admit(admitRequest(requestId(1), limits));
  await world.admin.set(usageStreamKey(world.keyPrefix, 0), 'poison');
  await engine.settle(settlement(requestId(1), 'exact', 1));
  t.equal(await world.admin.zcard(`${world.keyPrefix}{0}:open`), 1);
  t.same(rows, []);
  monotonicMs = 2000;
  await until(() => rows.length > 0);
  await world.admin.del(usageStreamKey(world.keyPrefix, 0));
  await until(async () => {
    // A try that is on its way now fails still, and is due again only later.
    monotonicMs += 1000;
    return (await world.admin.zcard(`${world.keyPrefix}{0}:open`)) === 0;
  });
  t.match(await world.streamRows(), [{ requestId: requestId(1) }]);
  t.match(rows, [{ requestId: requestId(1) }]);
});

/** Waits for something that happens by itself; the test's own timeout ends it when it does not. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}
