/** Redis as a Cluster: a lost master and a slot that moves concern only the accounts of their shards, and no row is lost. */
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { openLeasesKey, shardOfAccount } from '../../src/admission/redis-keys.ts';
import { assertBooks, assertServed } from './books.ts';
import { type Answer, faultSeed, isSoak, startLoad } from './driver.ts';
import { migrateSlot, type RedisCluster, type RedisNode, startCluster } from './redis-nodes.ts';
import { eventually, openWorld, type TestKey, type World } from './world.ts';

const shards = 6;
const keyPrefix = 'tg:';
const seed = faultSeed();
const wide = { concurrency: 500, requestsPerMinute: 1_000_000 };
const mixed = [
  { behaviour: 'ok-20', stream: false },
  { behaviour: 'stream-10-50', stream: true },
];

const concurrency = 2;
const isLimit = (code: string | null): boolean => code === 'limits_unavailable' || code === 'rate_limit_exceeded';

const shardOf = ({ accountId }: TestKey): number => shardOfAccount(accountId, shards);

/** A key in each shard. */
async function createKeys(world: World, limits: typeof wide): Promise<TestKey[]> {
  const byShard = new Map<number, TestKey>();
  for (let serial = 0; byShard.size < shards; serial += 1) {
    const key = await world.createKey(`k${serial}`, limits);
    byShard.set(shardOf(key), key);
  }
  return [...byShard.values()];
}

async function openScene(t: Test, limits: typeof wide) {
  const [world, cluster] = await Promise.all([openWorld(t), startCluster(t, 3)]);
  const gateway = await world.startGateway({ redisUrl: cluster.url, redisShards: shards });
  const keys = await createKeys(world, limits);
  const call = (key: TestKey): Promise<Answer> =>
    world.driver.call(gateway.url, {
      token: key.token,
      marker: world.driver.nextMarker(key.name),
      behaviour: 'ok-0',
    });
  const load = startLoad(t, {
    driver: world.driver,
    seed,
    clients: 12,
    gateways: () => [gateway.url],
    keys,
    behaviours: mixed,
  });
  const isServed = async (): Promise<boolean> =>
    (await Promise.all(keys.map(call))).every(({ code }) => code !== 'limits_unavailable');
  t.ok(await eventually(isServed, 15_000), 'every shard serves');
  return { world, cluster, gateway, keys, call, load, isServed };
}

const serversOf = ({ masters }: RedisCluster) => masters.map(({ admin }) => admin);

const isHeldBy = async (cluster: RedisCluster, key: TestKey, node: RedisNode): Promise<boolean> =>
  (await cluster.ownerOf(openLeasesKey(keyPrefix, shardOf(key)))) === node;

t.test(
  '75: a lost master hurts only its accounts, and their rows are whole when it is back without its data',
  async (t) => {
    const { world, cluster, gateway, keys, call, load, isServed } = await openScene(t, wide);
    const [firstKey] = keys;
    if (firstKey === undefined) throw new Error('no key');
    const lost = await cluster.ownerOf(openLeasesKey(keyPrefix, shardOf(firstKey)));
    const isHurt = await Promise.all(keys.map((key) => isHeldBy(cluster, key, lost)));
    const hurt = keys.filter((_, index) => isHurt[index]);
    const others = keys.filter((_, index) => !isHurt[index]);
    t.ok(others.length > 0, `${hurt.length} of ${keys.length} shards are on the master that is lost`);
    await delay(1000);
    await lost.kill();
    const before = world.driver.log.length;
    const lostAtMs = Date.now();
    const first = await Promise.all(hurt.map(call));
    t.comment(`its accounts were answered after ${Date.now() - lostAtMs} ms`);
    t.same([...new Set(first.map(({ status, code }) => `${status} ${code}`))], ['503 limits_unavailable']);
    t.ok(Date.now() - lostAtMs < 1500, 'at once');
    await delay(isSoak() ? 20_000 : 3000);
    const names = new Set(others.map(({ name }) => name));
    const sinceThen = world.driver.log.slice(before).filter(({ startedAtMs }) => startedAtMs >= lostAtMs);
    const ofOthers = sinceThen.filter(({ marker }) => names.has(marker.split('.')[0] ?? ''));
    t.ok(ofOthers.length > 50, `${ofOthers.length} calls of the others`);
    assertServed(t, ofOthers, 'the others notice nothing');
    t.match(await (await fetch(`${gateway.url}/readyz`)).json(), {
      status: 'ready',
      dependencies: { redis: 'degraded' },
    });
    await lost.start();
    t.ok(await eventually(isServed, 15_000), 'its accounts are served again');
    const lines = gateway.output().split('\n').length;
    t.ok(lines < 100, `${lines} lines tell of it`);
    await load.stop();
    await assertBooks(t, world, { name: '75, lost master', servers: serversOf(cluster) });
  },
);

t.test('75: a slot moves under load, its accounts wait and nothing of theirs begins anew', async (t) => {
  const { world, cluster, gateway, keys, load, isServed } = await openScene(t, { ...wide, concurrency });
  const single = await world.createKey('single', { ...wide, concurrency: 1 });
  const held = world.driver.callUntilDecided(gateway.url, { key: 'single', token: single.token, behaviour: 'hold' });
  t.ok(await eventually(async () => world.upstream.maximumInFlight('single') === 1, 10_000), 'its slot is taken');
  const others = startLoad(t, {
    driver: world.driver,
    seed,
    clients: 2,
    gateways: () => [gateway.url],
    keys: [single],
    behaviours: mixed,
  });
  const rounds = isSoak() ? 10 : 2;
  for (let round = 0; round < rounds; round += 1) {
    const moved = openLeasesKey(keyPrefix, (shardOf(single) + round) % shards);
    const source = await cluster.ownerOf(moved);
    const target = cluster.masters.find((node) => node !== source);
    if (target === undefined) throw new Error('no other master');
    await delay(1000);
    await migrateSlot(cluster, { key: moved, target, pauseMs: 300 });
    t.equal(await cluster.ownerOf(moved), target, 'the slot has arrived');
    t.ok(await eventually(isServed, 10_000), 'all are served');
  }
  await others.stop();
  t.equal(world.upstream.maximumInFlight('single'), 1, 'a slot that is taken was never given again');
  world.upstream.release();
  t.equal((await held).status, 200);
  await load.stop();
  await assertBooks(t, world, { name: '75, moved slot', servers: serversOf(cluster) });
  const highest = keys.map(({ name }) => world.upstream.maximumInFlight(name));
  t.ok(
    highest.every((count) => count <= concurrency),
    `never more at once than ${concurrency}: ${highest.join(', ')}`,
  );
  t.same(
    world.driver.log.filter(({ status, code }) => status !== 200 && !isLimit(code)),
    [],
  );
});
