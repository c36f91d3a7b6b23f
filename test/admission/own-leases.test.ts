/** Until when a running request may count on its slot, and what it does when that is over. */
import t, { type Test } from 'tap';
import { createInProcessEngine } from '../../src/admission/in-process-engine.ts';
import { admitRequest, requestId, settlement, startMs, suiteTimes } from './engine-world.ts';
import { openFaultProxy } from './fault-proxy.ts';
import { openRedisWorld, redisUrl, type RedisReplica, type RedisWorld, type ReplicaOptions } from './redis-world.ts';

const { leaseMs } = suiteTimes;
const id = requestId(1);
const request = admitRequest(id, { concurrency: 1 });

type LeaseWorld = {
  world: RedisWorld;
  replica: RedisReplica;
  /** Moves the replica's own clock and the server's. */
  pass: (milliseconds: number) => Promise<void>;
  nowMs: () => number;
};

async function openLeaseWorld(t: Test, options: ReplicaOptions = {}): Promise<LeaseWorld> {
  const world = await openRedisWorld({ boundMs: 5000 });
  t.teardown(() => world.close());
  let passedMs = 0;
  const nowMs = (): number => performance.now() + passedMs;
  const replica = await world.createReplica({ monotonicMs: nowMs, ...options });
  await replica.engine.admit(request);
  return {
    world,
    replica,
    nowMs,
    async pass(milliseconds) {
      passedMs += milliseconds;
      await world.moveClock(milliseconds);
    },
  };
}

const holders = ({ world }: LeaseWorld): Promise<string[]> =>
  world.admin.zrange(`${world.keyPrefix}{0}:c:account:a1`, '0', '-1');

const lossesOf = ({ replica }: LeaseWorld): object[] =>
  replica.lines.flatMap(({ message, details }) => (message.includes('asserted again') ? [details] : []));

t.test('lasts from the question to admission on, and longer with each heartbeat', async (t) => {
  const own = await openLeaseWorld(t);
  const lease = own.replica.engine.leaseOf(id);
  const first = lease.deadlineMs;
  t.ok(first > own.nowMs() && first <= own.nowMs() + leaseMs, 'never longer than the server grants');
  await own.pass(10_000);
  await own.replica.heartbeat();
  t.ok(lease.deadlineMs >= first + 10_000);
});

t.test('renews at once behind a freeze', async (t) => {
  const own = await openLeaseWorld(t);
  const lease = own.replica.engine.leaseOf(id);
  await own.pass(leaseMs + 1);
  t.ok(own.nowMs() > lease.deadlineMs);
  t.equal(await lease.renew(), true);
  t.ok(lease.deadlineMs > own.nowMs());
  t.same(lossesOf(own), [], 'nothing was gone');
});

t.test('asserts again what was reaped in a freeze, above the limit, and improves the row', async (t) => {
  const own = await openLeaseWorld(t);
  const other = await own.world.createReplica({ monotonicMs: own.nowMs });
  own.replica.engine.markDispatched(id, 'a1');
  await own.world.quiet();
  await own.pass(leaseMs + 1);
  await other.reap();
  t.same((await other.engine.admit(admitRequest(requestId(2), { concurrency: 1 }))).outcome, 'admitted');
  t.equal(await own.replica.engine.leaseOf(id).renew(), true);
  t.same((await holders(own)).toSorted(), [id, requestId(2)]);
  t.same(lossesOf(own), [{ lost: 1 }]);
  await own.replica.engine.settle(settlement(id, 'exact'));
  t.same(
    [other.rows.map(({ rank }) => rank), own.replica.rows.map(({ rank }) => rank)],
    [[1], [3]],
    'of rank orphan, and then final',
  );
});

t.test('asserts again what the server has forgotten', async (t) => {
  const own = await openLeaseWorld(t);
  for (const name of await own.world.keys()) await own.world.admin.del(name);
  await own.pass(leaseMs + 1);
  t.equal(await own.replica.engine.leaseOf(id).renew(), true);
  t.same(await holders(own), [id]);
});

t.test('says that nobody answered, within its bound, and holds again when somebody does', async (t) => {
  const proxy = await openFaultProxy(redisUrl);
  t.teardown(() => proxy.close());
  const own = await openLeaseWorld(t, { url: proxy.url, boundMs: 250 });
  const lease = own.replica.engine.leaseOf(id);
  await own.pass(leaseMs + 1);
  proxy.setMode('hold-requests');
  t.equal(await lease.renew(), false);
  t.ok(lease.deadlineMs < own.nowMs());
  proxy.setMode('pass');
  while (lease.deadlineMs < own.nowMs()) {
    await own.replica.heartbeat();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.same(await holders(own), [id]);
});

t.test('has no end where nobody else could give the slot away', async (t) => {
  const engine = createInProcessEngine({
    clock: { nowMicros: () => startMs * 1000 },
    sink: { append: () => {}, hasRoom: () => true },
    every: () => () => {},
  });
  await engine.admit(request);
  t.equal(engine.leaseOf(id).deadlineMs, Infinity);
  t.equal(await engine.leaseOf(id).renew(), true);
  t.equal(engine.leaseOf('unknown').deadlineMs, Infinity);
});
