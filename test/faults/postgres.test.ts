/** Postgres away under load: known keys are served, and no row is lost. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { countAnswers, countStatuses, findFaults } from './checker.ts';
import { faultSeed, isSoak, startLoad } from './driver.ts';
import { eventually, openWorld } from './world.ts';

const seed = faultSeed();

t.test('26: serves known keys while Postgres is away, and writes every row when it is back', async (t) => {
  t.comment(`seed ${seed}`);
  const world = await openWorld(t);
  const { driver, databaseProxy, upstream } = world;
  const gateway = await world.startGateway();
  const known = await world.createKey('known', { requestsPerMinute: 1_000_000 });
  const stranger = await world.createKey('stranger');
  const behaviours = [{ behaviour: 'ok-20', stream: false }];
  const load = startLoad({ driver, seed, clients: 8, gateways: () => [gateway.url], keys: [known], behaviours });
  await delay(1000);
  databaseProxy.setMode('refuse');
  const goneAtMs = Date.now();
  const uncached = await driver.call(gateway.url, {
    token: stranger.token,
    marker: driver.nextMarker('stranger'),
    behaviour: 'ok-0',
  });
  await delay(isSoak() ? 60_000 : 5000);
  const rowsBefore = (await world.rows()).length;
  const ranBefore = upstream.ledger.length;
  databaseProxy.setMode('pass');
  const during = driver.log.filter(({ marker, startedAtMs }) => marker.startsWith('known.') && startedAtMs > goneAtMs);
  await delay(500);
  await load.stop();
  t.match(uncached, { status: 503, code: 'auth_unavailable' }, 'a key that nobody knows yet is not called wrong');
  t.ok(during.length > 0);
  t.same(countAnswers(during), `200 ${during.length}`, 'a known key never notices');
  t.ok(rowsBefore < ranBefore, 'rows were waiting');
  const faults = async () => findFaults({ answers: driver.log, ledger: upstream.ledger, rows: await world.rows() });
  await eventually(async () => (await faults()).length === 0, 30_000);
  t.same(await faults(), []);
  t.comment(`${countStatuses(await world.rows())}; answers ${countAnswers(driver.log)}`);
});
