/** A key that is revoked in one process while others serve it. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { faultSeed, isSoak, startLoad } from './driver.ts';
import { openWorld } from './world.ts';

const seed = faultSeed();
const wide = { concurrency: 500, requestsPerMinute: 1_000_000 };

t.test('66: refuses a revoked key at its next request on every process', async (t) => {
  t.comment(`seed ${seed}`);
  const world = await openWorld(t);
  const { driver } = world;
  const gateways = await Promise.all([world.startGateway(), world.startGateway()]);
  const urls = gateways.map(({ url }) => url);
  for (let round = 0; round < (isSoak() ? 50 : 3); round += 1) {
    const key = await world.createKey(`revoked${round}`, wide);
    const behaviours = [{ behaviour: 'ok-20', stream: false }];
    const load = startLoad({ driver, seed: seed + round, clients: 8, gateways: () => urls, keys: [key], behaviours });
    await delay(500);
    await world.command('keys', 'revoke', key.token.slice(0, 'sk-tg-'.length + 12));
    const revokedAtMs = Date.now();
    for (const url of urls) {
      const call = { token: key.token, marker: driver.nextMarker(key.name), behaviour: 'ok-0' };
      t.match(await driver.call(url, call), { status: 401, code: 'invalid_api_key' });
      const listed = await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${key.token}` } });
      t.equal(listed.status, 401, 'also where nothing is admitted');
    }
    await load.stop();
    const later = driver.log.filter(
      ({ marker, startedAtMs }) => marker.startsWith(`${key.name}.`) && startedAtMs > revokedAtMs,
    );
    t.same([...new Set(later.map(({ status }) => status))], [401], 'nothing but 401 from then on');
  }
});
