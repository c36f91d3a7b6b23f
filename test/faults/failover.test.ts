/** Redis with a replica: what a failover and a demotion cost while requests run, and what the books say afterwards. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { assertBooks } from './books.ts';
import { faultSeed, isSoak, startLoad } from './driver.ts';
import { isInStep, isMaster, masterName, startReplicatedPair, startSentinelSet } from './redis-nodes.ts';
import { eventually, openWorld, type Gateway, type TestKey, type World } from './world.ts';

const seed = faultSeed();
const concurrency = 5;
const mixed = [
  { behaviour: 'ok-20', stream: false },
  { behaviour: 'stream-10-50', stream: true },
];
const isLimit = (code: string | null): boolean => code === 'limits_unavailable' || code === 'rate_limit_exceeded';

/** Whether an answer of the limits came within the time, and how long it took. */
async function decidedWithin(world: World, gateway: Gateway, { name, token }: TestKey, limitMs: number) {
  const sinceMs = Date.now();
  const isDecided = async (): Promise<boolean> => {
    const marker = world.driver.nextMarker(name);
    const { code } = await world.driver.call(gateway.url, { token, marker, behaviour: 'ok-0' });
    return code !== 'limits_unavailable';
  };
  const isInTime = await eventually(isDecided, limitMs);
  return { isInTime, tookMs: Date.now() - sinceMs };
}

t.test('19: a failover by Sentinel under load loses no row and keeps to the limit', async (t) => {
  const [world, set] = await Promise.all([openWorld(t), startSentinelSet(t)]);
  const gateways = await Promise.all([
    world.startGateway({ redisUrl: set.url }),
    world.startGateway({ redisUrl: set.url }),
  ]);
  const [gateway] = gateways;
  const limited = await world.createKey('limited', { concurrency, requestsPerMinute: 1_000_000 });
  const wide = await world.createKey('wide', { concurrency: 500, requestsPerMinute: 1_000_000 });
  const load = startLoad(t, {
    driver: world.driver,
    seed,
    clients: 12,
    gateways: () => gateways.map(({ url }) => url),
    keys: [limited, wide],
    behaviours: mixed,
  });
  await delay(1000);

  await set.sentinel.admin.call('SENTINEL', ['FAILOVER', masterName]);
  t.ok(await eventually(() => isMaster(set.nodes[1]), 20_000), 'the replica is the master');
  const demoted = await decidedWithin(world, gateway, wide, 15_000);
  t.ok(demoted.isInTime, `served again ${demoted.tookMs} ms after the old master became a replica`);
  t.ok(await eventually(async () => !(await isMaster(set.nodes[0])) && isInStep(set.nodes[0]), 20_000), 'it follows');
  await delay(isSoak() ? 20_000 : 1000);

  await set.nodes[1].kill();
  t.ok(await eventually(() => isMaster(set.nodes[0]), 20_000), 'the first is the master again');
  const killed = await decidedWithin(world, gateway, wide, 15_000);
  t.ok(killed.isInTime, `served again ${killed.tookMs} ms after a killed master was replaced`);
  await delay(1000);
  await load.stop();

  await assertBooks(t, world, { name: '19, failover', servers: [set.nodes[0].admin] });
  const highest = world.upstream.maximumInFlight('limited');
  t.ok(highest <= 2 * concurrency, `at most ${highest} at once: the limit, and what the lost writes held`);
  t.same(
    world.driver.log.filter(({ status, code }) => status !== 200 && !isLimit(code)),
    [],
  );
});

t.test(
  '19: a master that is made a replica is limits_unavailable, never a limit, until it is master again',
  async (t) => {
    const [world, [master, other]] = await Promise.all([openWorld(t), startReplicatedPair(t)]);
    const gateway = await world.startGateway({ redisUrl: `redis://127.0.0.1:${master.port}` });
    const wide = await world.createKey('wide', { concurrency: 500, requestsPerMinute: 1_000_000 });
    const load = startLoad(t, {
      driver: world.driver,
      seed,
      clients: 8,
      gateways: () => [gateway.url],
      keys: [wide],
      behaviours: mixed,
    });
    await delay(1000);
    await other.admin.replicaof('NO', 'ONE');
    // What it answers from here on is lost when it becomes a replica.
    await delay(300);
    await master.admin.replicaof('127.0.0.1', other.port);
    const before = world.driver.log.length;
    const demotedAtMs = Date.now();
    await delay(isSoak() ? 20_000 : 3000);
    const since = world.driver.log.slice(before).filter(({ startedAtMs }) => startedAtMs > demotedAtMs + 100);
    t.same([...new Set(since.map(({ status, code }) => `${status} ${code}`))], ['503 limits_unavailable']);
    await master.admin.replicaof('NO', 'ONE');
    const back = await decidedWithin(world, gateway, wide, 15_000);
    t.ok(back.isInTime, `served again after ${back.tookMs} ms`);
    await delay(500);
    await load.stop();
    await assertBooks(t, world, { name: '19, demoted master', servers: [master.admin] });
  },
);
