/** Gateways that are killed under load: whoever is left settles what the dead had running. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { seededRandom } from '../support/byte-feedings.ts';
import { assertBooks } from './books.ts';
import { faultSeed, isSoak, startLoad } from './driver.ts';
import { eventually, type Gateway, openWorld, type World } from './world.ts';

const seed = faultSeed();
const wide = { concurrency: 500, requestsPerMinute: 1_000_000 };
// Gateways start and die, and then leases run out: more than tap gives a file when the machine is busy.
t.comment('timeout=300000');
/** A lease, and a round of the reaper. */
const freeMs = 35_000;
/** How the memory of a request begins that was finished with the lowest rank. */
const finishedVoid = 'F0';

/** By the limiter's own memory, in which no request is missing that it ever admitted; a void had nothing to account for. */
async function readAdmitted({ redis }: World): Promise<string[]> {
  const ids: string[] = [];
  for await (const keys of redis.admin.scanStream({ match: 'tg:{0}:r:*', count: 1000 })) {
    for (const key of keys as string[]) {
      if ((await redis.admin.getrange(key, 0, 1)) !== finishedVoid) ids.push(key.slice('tg:{0}:r:'.length));
    }
  }
  return ids.toSorted();
}

t.test('1: has one row for every request that ran when one of three processes is killed again and again', async (t) => {
  const world = await openWorld(t);
  const { driver, redis } = world;
  const random = seededRandom(seed);
  const running: Gateway[] = await Promise.all([world.startGateway(), world.startGateway(), world.startGateway()]);
  const kills: { gateway: string; atMs: number }[] = [];
  const key = await world.createKey('killed', wide);
  const load = startLoad(t, {
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
    abortShare: 0.05,
    invalidShare: 0.02,
  });
  const replace = async (): Promise<void> => {
    const [victim] = running.splice(Math.floor(random() * running.length), 1);
    if (victim !== undefined) kills.push({ gateway: victim.url, atMs: Date.now() });
    await victim?.kill();
    running.push(await world.startGateway());
  };
  for (let round = 0; round < (isSoak() ? 100 : 5); round += 1) {
    await delay(300 + random() * 900);
    await replace();
  }
  await delay(500);
  await load.stop();
  const stoppedAtMs = Date.now();
  const isFree = async (): Promise<boolean> => (await redis.admin.zcard('tg:{0}:open')) === 0;
  t.ok(await eventually(isFree, freeMs), 'no slot is held by the dead after their leases');
  t.comment(`${kills.length} kills; slots were free ${Date.now() - stoppedAtMs} ms after the load`);
  await assertBooks(t, world, { name: '1', kills });
  const rows = (await world.rows()).filter(({ rank }) => rank > 0).map(({ requestId }) => requestId);
  t.same(rows.toSorted(), await readAdmitted(world), 'the rows are what was admitted');
});
