/** The gateway without Redis and Postgres, killed under load: its journal has what it had admitted. */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { generateApiKey } from '../../src/auth/api-key.ts';
import { openDatabase } from '../../src/platform/postgres.ts';
import type { StoreSchema } from '../../src/store/schema.ts';
import { seededRandom } from '../support/byte-feedings.ts';
import { silentLog } from '../support/database.ts';
import { describeBooks } from './books.ts';
import { countAnswers, countStatuses, findFaults, type UsageRow } from './checker.ts';
import { createDriver, faultSeed, isSoak, startLoad } from './driver.ts';
import { startMockUpstream } from './mock-upstream.ts';
import { eventually, readRows, secret, strictConcurrency, startGateway, temporaryFolder } from './world.ts';

const seed = faultSeed();

/** The embedded database has one user at a time: this works only while no gateway runs. */
async function readFolder(folder: string): Promise<UsageRow[]> {
  const { db, close } = await openDatabase<StoreSchema>({
    url: null,
    dataDirectory: join(folder, 'data'),
    log: silentLog,
  });
  try {
    return await readRows({ db });
  } finally {
    await close();
  }
}

t.test('76: has one row for every request that ran when an embedded gateway is killed', async (t) => {
  const random = seededRandom(seed);
  const upstream = await startMockUpstream(t);
  const driver = createDriver();
  t.teardown(() => driver.close());
  const folder = temporaryFolder(t);
  const kills: { gateway: string; atMs: number }[] = [];
  const { token } = generateApiKey();
  const place = { stores: { TOLLGATE_SECRET: secret, TOLLGATE_BOOTSTRAP_KEY: token }, folder };
  for (let round = 0; round < (isSoak() ? 200 : 3); round += 1) {
    const gateway = await startGateway(t, upstream, place);
    const load = startLoad(t, {
      driver,
      seed: seed + round,
      clients: 20,
      gateways: () => [gateway.url],
      keys: [{ name: 'embedded', token }],
      behaviours: [
        { behaviour: 'ok-20', stream: false },
        { behaviour: 'stream-20-40', stream: true },
      ],
    });
    await delay(500 + random() * 1500);
    kills.push({ gateway: gateway.url, atMs: Date.now() });
    await gateway.kill();
    await load.stop();
  }
  const last = await startGateway(t, upstream, place);
  const held = Array.from({ length: strictConcurrency }, () =>
    driver.call(last.url, { token, marker: driver.nextMarker('embedded'), behaviour: 'hold' }),
  );
  await eventually(async () => upstream.inFlight() === strictConcurrency, 20_000);
  const leaked = strictConcurrency - upstream.inFlight();
  t.equal(leaked, 0, 'the dead hold no slot: as many run as the limit allows');
  upstream.release();
  await Promise.all(held);
  t.equal(await last.stop(), 0);
  const rows = await readFolder(folder);
  t.same(findFaults({ answers: driver.log, ledger: upstream.ledger, rows, kills }), []);
  t.ok(upstream.ledger.length > 0);
  t.comment(describeBooks({ name: '76', answers: driver.log, ledger: upstream.ledger, rows, leaked }));
  t.comment(`${countStatuses(rows)}; answers ${countAnswers(driver.log)}`);
});
