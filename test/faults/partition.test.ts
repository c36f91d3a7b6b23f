/** One of two processes is cut off from Redis while its streams run. */
import t from 'tap';
import { assertBooks } from './books.ts';
import { openFaultProxy } from './fault-proxy.ts';
import { eventually, openWorld } from './world.ts';

t.test('58: a process without Redis keeps its slots for a lease, then its streams end marked or are cut', async (t) => {
  const world = await openWorld(t);
  const { driver, upstream, database } = world;
  const proxy = await openFaultProxy(t, world.redis.url, 6379);
  const [cutOff, whole] = [await world.startGateway({ redisUrl: proxy.url }), await world.startGateway()];
  const strict = await world.createKey('strict', { concurrency: 1 });
  const plain = await world.createKey('plain', { concurrency: 1 });
  await world.command('users', 'set-tier', '--email', 'strict@example.com', '--tier', 'strict');
  const start = ({ name, token }: typeof strict, url: string, behaviour: string) => {
    const marker = driver.nextMarker(name);
    return { marker, answer: driver.call(url, { token, marker, behaviour, stream: true }) };
  };
  const streams = [strict, plain].map((key) => start(key, cutOff.url, 'stream-160-4'));
  t.ok(await eventually(async () => upstream.inFlight() === 2, 15_000), 'both run');
  proxy.setMode('blackhole');
  for (const key of [strict, plain]) t.match(await start(key, whole.url, 'ok-0').answer, { status: 429 });

  const [cut, marked] = streams;
  t.match(await cut?.answer, { status: 200, isComplete: false, hasErrorFrame: true });
  for (const key of [strict, plain]) {
    const isFree = async () => (await start(key, whole.url, 'ok-0').answer).status === 200;
    t.ok(await eventually(isFree, 60_000), `the slot of ${key.name} is free again`);
    t.ok(upstream.maximumInFlight(key.name) <= 2, 'one above the limit at most, and only while it is cut off');
  }
  proxy.setMode('pass');
  t.match(await marked?.answer, { status: 200, isComplete: true });

  const rowOf = async (marker = '') =>
    database.db
      .selectFrom('usage_events')
      .select(['status', 'error_code', 'rank'])
      .where('model', 'like', `%@${marker}`)
      .execute();
  const hasRank = (marker: string | undefined, rank: number) => async () => (await rowOf(marker))[0]?.rank === rank;
  t.ok(await eventually(hasRank(cut?.marker, 2), 30_000));
  t.same(await rowOf(cut?.marker), [{ status: 'lease_lost', error_code: 'lease_lost', rank: 2 }]);
  t.ok(await eventually(hasRank(marked?.marker, 3), 30_000));
  t.same(await rowOf(marked?.marker), [{ status: 'ok', error_code: 'lease_lost', rank: 3 }]);
  await assertBooks(t, world, { name: '58' });
});
