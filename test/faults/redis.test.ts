/** A Redis that freezes, forgets everything, or whose answers get lost: what callers see, and what the books say afterwards. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { assertBooks } from './books.ts';
import { faultSeed, isSoak, startLoad } from './driver.ts';
import { eventually, openWorld } from './world.ts';

const leaseMs = 30_000;
const seed = faultSeed();
const mixed = [
  { behaviour: 'ok-20', stream: false },
  { behaviour: 'stream-10-50', stream: true },
];

/** A key's limits wide enough to be no obstacle; they are checked all the same. */
const wide = { concurrency: 500, requestsPerMinute: 1_000_000 };

t.test('15: answers 503 with retry-after at once while Redis is frozen, and goes on when it is back', async (t) => {
  const world = await openWorld(t);
  const { driver, redis } = world;
  const gateway = await world.startGateway();
  const key = await world.createKey('frozen', wide);
  const load = startLoad(t, {
    driver,
    seed,
    clients: 10,
    gateways: () => [gateway.url],
    keys: [key],
    behaviours: mixed,
  });
  await delay(1000);
  const before = driver.log.length;
  redis.signal('SIGSTOP');
  const frozenAtMs = Date.now();
  const first = await Promise.all(
    Array.from({ length: 5 }, () =>
      driver.call(gateway.url, { token: key.token, marker: driver.nextMarker('frozen'), behaviour: 'ok-0' }),
    ),
  );
  const waitedMs = Date.now() - frozenAtMs;
  await delay((isSoak() ? 30_000 : 3000) - waitedMs);
  const frozen = driver.log.slice(before).filter(({ startedAtMs }) => startedAtMs >= frozenAtMs);
  redis.signal('SIGCONT');
  t.comment(`the first five were answered after ${waitedMs} ms`);
  t.ok(waitedMs < 1500, 'long before Redis was back');
  t.same([...new Set(first.map(({ status, code }) => `${status} ${code}`))], ['503 limits_unavailable']);
  t.ok(
    first.every(({ headers }) => Number(headers['retry-after']) >= 1),
    'each says when to come again',
  );
  t.same(
    [...new Set(frozen.map(({ code }) => code))],
    ['limits_unavailable'],
    'nobody is told of a bad key or a limit',
  );
  const isBack = async (): Promise<boolean> => {
    const answer = await driver.call(gateway.url, {
      token: key.token,
      marker: driver.nextMarker('frozen'),
      behaviour: 'ok-0',
    });
    return answer.status === 200;
  };
  t.ok(await eventually(isBack, 10_000), 'it serves again');
  await load.stop();
  await assertBooks(t, world, { name: '15' });
});

t.test('17: admits nobody twice and keeps no lease when Redis works but its answers are lost', async (t) => {
  const world = await openWorld(t);
  const { driver, redis, redisProxy, upstream } = world;
  const gateway = await world.startGateway();
  const key = await world.createKey('lost', wide);
  const load = startLoad(t, {
    driver,
    seed,
    clients: 20,
    gateways: () => [gateway.url],
    keys: [key],
    behaviours: mixed,
  });
  for (let round = 0; round < (isSoak() ? 30 : 1); round += 1) {
    await delay(1000);
    redisProxy.setMode('drop-replies');
    await delay(1000);
    redisProxy.setMode('pass');
  }
  await delay(2000);
  await load.stop();
  t.ok(redisProxy.droppedBytes() > 0, 'answers were lost');
  const served = driver.log.filter(({ status }) => status === 200).length;
  t.equal(served, upstream.ledger.length, 'what was admitted is what the provider saw');
  const youngest = Number((await redis.admin.zrevrange('tg:{0}:open', 0, 0, 'WITHSCORES'))[1] ?? 0);
  t.ok(youngest <= Date.now() + leaseMs, 'no lease is longer than its time');
  await assertBooks(t, world, { name: '17' });
});

t.test('14: has every row whole when Redis forgets everything under running streams', async (t) => {
  const world = await openWorld(t);
  const { driver, redis, upstream } = world;
  const gateways = await Promise.all([world.startGateway(), world.startGateway()]);
  const key = await world.createKey('forgotten', wide);
  const load = startLoad(t, {
    driver,
    seed,
    clients: 40,
    gateways: () => gateways.map(({ url }) => url),
    keys: [key],
    behaviours: [...mixed, { behaviour: 'stream-60-20', stream: true }],
  });
  const single = await world.createKey('single', { concurrency: 1 });
  const [first] = gateways;
  const held = driver.callUntilDecided(first.url, { key: 'single', token: single.token, behaviour: 'hold' });
  const slots = async (): Promise<number> => redis.admin.zcard(`tg:{0}:c:key:${single.keyId}`);
  t.ok(await eventually(async () => (await slots()) === 1, 10_000));
  for (let round = 0; round < (isSoak() ? 20 : 2); round += 1) {
    await delay(2000);
    t.ok(upstream.inFlight() > 0, 'streams run');
    await redis.admin.flushall();
  }
  t.ok(await eventually(async () => (await slots()) === 1, 15_000), 'a running request has its slot again');
  upstream.release();
  t.equal((await held).status, 200);
  await load.stop();
  await assertBooks(t, world, { name: '14' });
  const broken = driver.log.filter(({ status, isComplete }) => status === 200 && !isComplete);
  t.same(broken, [], 'no stream was cut');
});
