/** Redis away from two gateways: a tier that asks for it runs on shares of its limit, every other one waits for Redis. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { settleOldIntents } from '../../src/usage/intents.ts';
import { silentLog } from '../support/database.ts';
import { assertBooks } from './books.ts';
import { type Answer, faultSeed, startLoad } from './driver.ts';
import { eventually, openWorld, type Gateway } from './world.ts';

const limit = 4;
const silence = 2_000;
/** A gateway counts the others, and is counted by them, after a few beats of two seconds. */
const knownMs = 8_000;

const isShared = ({ status, headers }: Answer): boolean =>
  status === 200 && headers['x-tollgate-degraded'] === 'local-share';

async function metric(gateway: Gateway, name: string): Promise<number> {
  const text = await (await fetch(`${gateway.url}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(name));
  return Number(line?.split(' ').at(-1) ?? Number.NaN);
}

t.test('A1.7: runs a tier on shares of its limit while Redis is away, and no other', async (t) => {
  const world = await openWorld(t);
  const { driver, upstream } = world;
  const gateways = await Promise.all([world.startGateway(), world.startGateway()]);
  const [first, second] = gateways;
  const shared = await world.createKey('shared', {}, 'share');
  const closed = await world.createKey('closed', { concurrency: limit });
  for (const { url } of gateways) {
    for (const { name, token } of [shared, closed])
      t.equal((await driver.callUntilDecided(url, { key: name, token, behaviour: 'ok-0' })).status, 200);
  }
  await delay(knownMs);
  world.redisProxy.setMode('refuse');
  const call = (gateway: Gateway, key: typeof shared, behaviour: string): Promise<Answer> =>
    driver.call(gateway.url, { token: key.token, marker: driver.nextMarker(key.name), behaviour });
  for (const gateway of gateways) {
    const isUp = async (): Promise<boolean> => isShared(await call(gateway, shared, 'ok-0'));
    t.ok(await eventually(isUp, silence + 15_000, 200), 'the shares begin');
  }
  const startedAtMs = Date.now();
  const refused = await Promise.all(gateways.map((gateway) => call(gateway, closed, 'ok-0')));
  t.comment(`a closed tier was answered after ${Date.now() - startedAtMs} ms`);
  t.same(
    refused.map(({ status, code }) => `${status} ${code}`),
    ['503 limits_unavailable', '503 limits_unavailable'],
  );
  const load = startLoad(t, {
    driver,
    seed: faultSeed(),
    clients: 24,
    gateways: () => gateways.map(({ url }) => url),
    keys: [shared, closed],
    behaviours: [
      { behaviour: 'ok-20', stream: false },
      { behaviour: 'stream-5-50', stream: true },
    ],
  });
  await delay(4_000);
  await load.stop();
  const loaded = driver.log.filter(({ startedAtMs: at }) => at > startedAtMs);
  t.ok(upstream.maximumInFlight('shared') > limit / 2, 'both gateways were at work');
  t.ok(upstream.maximumInFlight('shared') <= limit, `never more than ${limit} of them ran`);
  t.ok(
    loaded.every(({ status }) => status === 200 || status === 503),
    'never a 401 or a 429',
  );
  t.ok(
    loaded.every((answer) => answer.status !== 200 || isShared(answer)),
    'each reply says how it was decided',
  );
  t.ok((await metric(first, 'tollgate_decisions_total{mode="local-share"}')) > 0);
  t.ok(await eventually(async () => (await metric(second, 'tollgate_degraded{dep="redis"}')) === 1, 5_000));
  const held = gateways.map(({ url }) =>
    driver.callUntilDecided(url, { key: 'shared', token: shared.token, behaviour: 'hold' }),
  );
  t.ok(await eventually(async () => upstream.inFlight() === 2, 10_000), 'one runs on each');

  world.redisProxy.setMode('pass');
  const slots = (): Promise<number> => world.redis.admin.zcard('tg:{0}:open');
  t.ok(await eventually(async () => (await slots()) === 2, 20_000), 'what runs has its slot when Redis is back');
  for (const gateway of gateways) {
    const isWhole = async (): Promise<boolean> => {
      const { status, headers } = await call(gateway, shared, 'ok-0');
      return status === 200 && headers['x-tollgate-degraded'] === undefined;
    };
    t.ok(await eventually(isWhole, 10_000, 200), 'Redis decides again');
  }
  let refused429 = 0;
  const further = Array.from({ length: 12 }, async (_, index) => {
    const url = gateways[index % 2]?.url ?? '';
    const { status } = await driver.callUntilDecided(url, { key: 'shared', token: shared.token, behaviour: 'hold' });
    if (status === 429) refused429 += 1;
  });
  const isDecided = async (): Promise<boolean> => upstream.inFlight() === limit && refused429 === 12 - limit + 2;
  t.ok(await eventually(isDecided, 20_000), 'beside them the rest of the limit runs, and not one more');
  upstream.release();
  await Promise.all([...held, ...further]);
  t.equal(upstream.maximumInFlight('shared'), limit);
  await assertBooks(t, world, { name: 'A1.7, shares' });
  const weak = (await world.rows()).filter(({ rank }) => rank !== 3);
  t.same(weak, [], 'every row is whole');
});

t.test('makes orphans of what ran on a share when its gateway is killed, and needs Postgres for it', async (t) => {
  const world = await openWorld(t);
  const { driver, upstream } = world;
  const gateway = await world.startGateway();
  const key = await world.createKey('shared', {}, 'share');
  const call = (behaviour: string): Promise<Answer> =>
    driver.call(gateway.url, { token: key.token, marker: driver.nextMarker('shared'), behaviour });
  t.equal(
    (await driver.callUntilDecided(gateway.url, { key: 'shared', token: key.token, behaviour: 'ok-0' })).status,
    200,
  );
  await delay(knownMs);
  world.redisProxy.setMode('refuse');
  t.ok(await eventually(async () => isShared(await call('ok-0')), silence + 15_000, 200));
  const revoked = await world.createKey('revoked', {}, 'share');
  const ask = () => driver.callUntilDecided(gateway.url, { key: 'revoked', token: revoked.token, behaviour: 'ok-0' });
  t.equal((await ask()).status, 200);
  await world.database.db
    .updateTable('api_keys')
    .set(({ eb }) => ({ status: 'revoked', key_version: eb('key_version', '+', 1) }))
    .where('id', '=', revoked.keyId)
    .execute();
  t.match(await ask(), { status: 401 }, 'a key that was just used and then revoked is refused at once');
  // A busy database makes an intent late, and a 503 of its request.
  const hold = () => driver.callUntilDecided(gateway.url, { key: 'shared', token: key.token, behaviour: 'hold' });
  const held = [hold(), hold()];
  t.ok(await eventually(async () => upstream.inFlight() === 2, 10_000));
  world.databaseProxy.setMode('refuse');
  t.match(await call('ok-0'), { status: 503, code: 'limits_unavailable' }, 'without an intent nothing is sent');
  const atMs = Date.now();
  await gateway.kill();
  upstream.release();
  const cut = (await Promise.all(held)).map(({ marker }) => marker);
  world.databaseProxy.setMode('pass');
  const sweep = (nowMs: number): Promise<number> =>
    settleOldIntents(world.database.db, { nowMs, totalMs: 1_800_000, log: silentLog });
  t.equal(await sweep(Date.now()), 0, 'not while they may run');
  t.ok((await sweep(Date.now() + 3_600_000)) >= cut.length);
  await assertBooks(t, world, { name: 'A1.7, killed', kills: [{ gateway: gateway.url, atMs }] });
  const orphans = (await world.rows()).filter(({ marker }) => cut.includes(marker));
  t.same(
    orphans.map(({ rank, status }) => `${rank} ${status}`),
    ['1 orphaned', '1 orphaned'],
  );
});
