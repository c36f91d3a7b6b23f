/** A Redis that is restarted and has lost what it did in its last second. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { assertBooks } from './books.ts';
import { faultSeed, isSoak, startLoad } from './driver.ts';
import { openWorld } from './world.ts';

t.test('13: has every row, and admits no more than a second too much, when Redis loses its last second', async (t) => {
  const world = await openWorld(t);
  const { driver, redis, upstream } = world;
  await redis.appendEverySecond();
  const gateways = await Promise.all([world.startGateway(), world.startGateway()]);
  const wide = await world.createKey('wide', { concurrency: 500, requestsPerMinute: 1_000_000 });
  const narrow = await world.createKey('narrow', { requestsPerMinute: 120 });
  const common = { driver, seed: faultSeed(), gateways: () => gateways.map(({ url }) => url) };
  const loads = [
    startLoad(t, {
      ...common,
      clients: 20,
      keys: [wide],
      behaviours: [
        { behaviour: 'ok-20', stream: false },
        { behaviour: 'stream-40-20', stream: true },
      ],
      abortShare: 0.05,
      invalidShare: 0.02,
    }),
    startLoad(t, {
      ...common,
      clients: 4,
      keys: [narrow],
      behaviours: [{ behaviour: 'ok-0', stream: false }],
      pauseMs: 20,
    }),
  ];
  const startedAtMs = Date.now();
  const losses = isSoak() ? 10 : 1;
  for (let round = 0; round < losses; round += 1) {
    await delay(5_000);
    await redis.loseLastSecond();
  }
  await delay(2_000);
  await Promise.all(loads.map(({ stop }) => stop()));
  const minutes = (Date.now() - startedAtMs) / 60_000;
  const admitted = upstream.ledger.filter(({ key }) => key === 'narrow').length;
  // A lost second gives back what was taken in it; by then the first allowance is used up.
  const allowed = 120 + 120 * minutes + losses * 2 * 2 + 1;
  t.ok(admitted <= allowed, `${admitted} of ${allowed.toFixed(0)}`);
  await assertBooks(t, world, { name: '13' });
});
