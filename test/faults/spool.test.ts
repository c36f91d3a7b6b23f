/** Redis and Postgres both away: the row of a request that ended is on the local disk, whatever becomes of its gateway. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { assertBooks } from './books.ts';
import type { Answer } from './driver.ts';
import { eventually, openWorld, temporaryFolder, type Gateway, type World } from './world.ts';

const requests = 5;
const wide = { concurrency: 500, requestsPerMinute: 1_000_000 };

/** Requests that run, and the stores that go away under them. */
async function endWithout(
  world: World,
  gateway: Gateway,
  stores: readonly ('redisProxy' | 'databaseProxy')[],
): Promise<readonly Answer[]> {
  const key = await world.createKey('spool', wide);
  const calls = Array.from({ length: requests }, () =>
    world.driver.callUntilDecided(gateway.url, { key: key.name, token: key.token, behaviour: 'hold' }),
  );
  await eventually(async () => world.upstream.inFlight() === requests, 20_000);
  for (const store of stores) world[store].setMode('refuse');
  world.upstream.release();
  return Promise.all(calls);
}

/** Rows in the files under the data folder. */
function rowsOnDisk(folder: string): number {
  const spool = join(folder, 'data', 'spool');
  const files = readdirSync(spool, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.log'));
  const texts = files.map((name) => readFileSync(join(spool, name), 'latin1'));
  return texts.join('').split('"kind":"settle"').length - 1;
}

/** What was on the disk is no estimate of what was used. */
async function assertWhole(t: Test, world: World, name: string): Promise<void> {
  const isWhole = async (): Promise<boolean> => {
    const rows = await world.rows();
    return rows.length === requests && rows.every(({ rank }) => rank === 3);
  };
  t.ok(await eventually(isWhole, 20_000), 'every row is there, and final');
  await assertBooks(t, world, { name });
  t.ok(await isWhole(), 'also when the leases of the dead are settled');
}

// Each waits for leases to end.
t.jobs = 3;

t.test('has the rows of a gateway that was killed with both stores away, once it is started again', async (t) => {
  const world = await openWorld(t);
  const folder = temporaryFolder(t);
  const gateway = await world.startGateway({ folder });
  const answers = await endWithout(world, gateway, ['redisProxy', 'databaseProxy']);
  t.same([...new Set(answers.map(({ status }) => status))], [200], 'who was served notices nothing');
  t.ok(await eventually(async () => rowsOnDisk(folder) === requests, 20_000), 'the rows are on the disk');
  await gateway.kill();
  world.redisProxy.setMode('pass');
  world.databaseProxy.setMode('pass');
  await world.startGateway({ folder });
  await assertWhole(t, world, 'spool, killed');
  t.ok(await eventually(async () => rowsOnDisk(folder) === 0, 20_000), 'the disk is cleared');
});

t.test('writes its rows to Postgres and ends when it is told to stop with Redis away', async (t) => {
  const world = await openWorld(t);
  const gateway = await world.startGateway();
  await endWithout(world, gateway, ['redisProxy']);
  t.equal(await gateway.stop(), 0, gateway.output());
  t.equal((await world.rows()).length, requests, 'before it ended');
  world.redisProxy.setMode('pass');
  await world.startGateway();
  await assertWhole(t, world, 'spool, stopped without Redis');
});

t.test('leaves its rows on the disk and ends when it is told to stop with both away', async (t) => {
  const world = await openWorld(t);
  const folder = temporaryFolder(t);
  const gateway = await world.startGateway({ folder });
  await endWithout(world, gateway, ['redisProxy', 'databaseProxy']);
  const startedMs = performance.now();
  t.equal(await gateway.stop(), 0, gateway.output());
  t.comment(`stopped after ${Math.round(performance.now() - startedMs)} ms`);
  t.equal(rowsOnDisk(folder), requests);
  world.redisProxy.setMode('pass');
  world.databaseProxy.setMode('pass');
  await world.startGateway({ folder });
  await assertWhole(t, world, 'spool, stopped without both');
});
