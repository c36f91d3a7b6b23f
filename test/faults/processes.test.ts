/** Gateways that are killed under load: whoever is left settles what the dead had running. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { seededRandom } from '../support/byte-feedings.ts';
import { countAnswers, countStatuses, findFaults } from './checker.ts';
import { faultSeed, isSoak, startLoad } from './driver.ts';
import { eventually, type Gateway, openWorld } from './world.ts';

const seed = faultSeed();
const wide = { concurrency: 500, requestsPerMinute: 1_000_000 };
const leaseMs = 30_000;

t.test('1: has one row for every request that ran when one of two processes is killed again and again', async (t) => {
  t.comment(`seed ${seed}`);
  const world = await openWorld(t);
  const { driver, redis, upstream } = world;
  const random = seededRandom(seed);
  const running: Gateway[] = [await world.startGateway(), await world.startGateway()];
  const kills: { gateway: string; atMs: number }[] = [];
  const key = await world.createKey('killed', wide);
  const load = startLoad({
    driver,
    seed,
    clients: 30,
    gateways: () => running.map(({ url }) => url),
    keys: [key],
    behaviours: [
      { behaviour: 'ok-20', stream: false },
      { behaviour: 'ok-300', stream: false },
      { behaviour: 'stream-20-40', stream: true },
      { behaviour: 'reset-5-40', stream: true },
    ],
  });
  for (let round = 0; round < (isSoak() ? 100 : 5); round += 1) {
    await delay(300 + random() * 900);
    const [victim] = running.splice(Math.floor(random() * running.length), 1);
    if (victim !== undefined) kills.push({ gateway: victim.url, atMs: Date.now() });
    await victim?.kill();
    running.push(await world.startGateway());
  }
  await delay(500);
  await load.stop();
  const faults = async () =>
    findFaults({ answers: driver.log, ledger: upstream.ledger, rows: await world.rows(), kills });
  await eventually(async () => (await faults()).length === 0, leaseMs + 10_000);
  t.same(await faults(), []);
  const leases = async (): Promise<number> => redis.admin.zcard('tg:{0}:open');
  t.ok(await eventually(async () => (await leases()) === 0, leaseMs + 10_000), 'no slot is held by the dead');
  t.comment(`${countStatuses(await world.rows())}; answers ${countAnswers(driver.log)}`);
});
