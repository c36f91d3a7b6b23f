/** Postgres away, cut, locked, in conflict, refusing: known keys are served, and no row is lost. One world for all of them. */
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import t, { type Test } from 'tap';
import { rollUpClosedHours } from '../../src/usage/rollups.ts';
import { seededRandom } from '../support/byte-feedings.ts';
import { assertBooks, assertServed } from './books.ts';
import { countAnswers } from './checker.ts';
import { type Answer, faultSeed, isSoak, type Load, startLoad } from './driver.ts';
import { eventually, openWorld } from './world.ts';

const seed = faultSeed();
const world = await openWorld(t);
const { driver, databaseProxy, upstream } = world;
const { db } = world.database;
const streamKey = 'tg:{0}:u';
const wide = { concurrency: 500, requestsPerMinute: 1_000_000 };
const mixed = [
  { behaviour: 'ok-20', stream: false },
  { behaviour: 'stream-10-50', stream: true },
];

type Key = { name: string; token: string };

async function load(t: Test, name: string, more: Partial<Load> = {}): Promise<{ key: Key; stop: () => Promise<void> }> {
  const key = await world.createKey(name, wide);
  const { stop } = startLoad(t, {
    driver,
    seed,
    clients: 8,
    gateways: () => [gateway.url],
    keys: [key],
    behaviours: mixed,
    abortShare: 0.05,
    invalidShare: 0.02,
    ...more,
  });
  await eventually(async () => driver.log.some(({ marker }) => marker.startsWith(`${name}.`)), 10_000);
  return { key, stop };
}

const callsOf = (name: string): Answer[] => driver.log.filter(({ marker }) => marker.startsWith(`${name}.`));

const depth = (): Promise<number> => world.redis.admin.xlen(streamKey);

databaseProxy.setMode('refuse');
const gateway = { url: '', output: () => '' };

await t.test('35: starts while Postgres is away, and serves as soon as it is there', async (t) => {
  const late = await world.startGateway({ isLate: true });
  t.ok(
    await eventually(async () => late.output().includes('does not answer yet'), 20_000),
    'it says what it waits for',
  );
  await delay(2_000);
  databaseProxy.setMode('pass');
  const backAtMs = Date.now();
  Object.assign(gateway, { url: await late.ready(), output: late.output });
  t.comment(`ready after ${Date.now() - backAtMs} ms`);
  const key = await world.createKey('early');
  t.match(await driver.callUntilDecided(gateway.url, { key: 'early', token: key.token, behaviour: 'ok-0' }), {
    status: 200,
  });
});

await t.test('26: serves known keys while Postgres is away, and writes every row when it is back', async (t) => {
  const { key, stop } = await load(t, 'known', { abortShare: 0, invalidShare: 0 });
  const stranger = await world.createKey('stranger');
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
  const during = callsOf(key.name).filter(({ startedAtMs }) => startedAtMs > goneAtMs);
  await delay(500);
  await stop();
  t.match(uncached, { status: 503, code: 'auth_unavailable' }, 'a key that nobody knows yet is not called wrong');
  assertServed(t, during, 'a known key never notices');
  t.ok(rowsBefore < ranBefore, 'rows were waiting');
  await assertBooks(t, world, { name: '26' });
});

await t.test('29: has each row once when the backend of the drain is terminated at random under load', async (t) => {
  const random = seededRandom(seed);
  const { stop } = await load(t, 'terminated');
  let terminated = 0;
  for (let round = 0; round < (isSoak() ? 100 : 15); round += 1) {
    await delay(random() * 300);
    const { rows } = await sql<{ ok: boolean }>`
      select pg_terminate_backend(pid) as ok from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid() and query ilike '%insert into usage_events%'
    `.execute(db);
    terminated += rows.length;
  }
  await stop();
  t.ok(terminated > 0, 'backends were terminated');
  t.comment(`${terminated} backends were terminated`);
  await assertBooks(t, world, { name: '29' });
});

await t.test(
  '30: repeats an insert that met a deadlock or a serialization failure, and sums what it wrote',
  async (t) => {
    await sql`create sequence conflicts`.execute(db);
    // A sequence is not rolled back: of three inserts one is the victim of a deadlock, and one cannot be serialized.
    await sql`
    create function conflict() returns trigger language plpgsql as $$
    declare turn bigint := nextval('conflicts') % 3;
    begin
      if turn = 0 then raise exception 'planted' using errcode = '40P01'; end if;
      if turn = 1 then raise exception 'planted' using errcode = '40001'; end if;
      return null;
    end $$
  `.execute(db);
    await sql`create trigger conflict before insert on usage_events for each statement execute function conflict()`.execute(
      db,
    );
    const { stop } = await load(t, 'conflicted');
    await delay(isSoak() ? 60_000 : 3_000);
    await stop();
    await assertBooks(t, world, { name: '30' });
    await sql`drop trigger conflict on usage_events`.execute(db);
    const { rows } = await sql<{ turns: number }>`select last_value::int as turns from conflicts`.execute(db);
    t.ok((rows[0]?.turns ?? 0) >= 3, 'inserts met a conflict');
    await rollUpClosedHours(db, { nowMs: Date.now() + 2 * 3_600_000 });
    const sums = await sql<{ summed: number; written: number }>`
    select (select sum(requests)::int from usage_rollups_hour) as summed, (select count(*)::int from usage_events) as written
  `.execute(db);
    t.equal(sums.rows[0]?.summed, sums.rows[0]?.written, 'the sums are those of the rows');
  },
);

await t.test('32: serves while the table is locked, and shows what waits', async (t) => {
  const { key, stop } = await load(t, 'locked', { abortShare: 0, invalidShare: 0 });
  const lockedAtMs = Date.now();
  const highest = await db.transaction().execute(async (trx) => {
    // The lock is held longer than a transaction may idle.
    await sql`set local idle_in_transaction_session_timeout = 0`.execute(trx);
    await sql`lock table usage_events in access exclusive mode`.execute(trx);
    // Longer than a statement may take, so that the drain has met its own limit at least once.
    await delay(isSoak() ? 30_000 : 6_000);
    return depth();
  });
  const during = callsOf(key.name).filter(({ startedAtMs }) => startedAtMs > lockedAtMs);
  assertServed(t, during, 'nobody notices');
  t.ok(highest > 0, `${highest} rows waited`);
  await stop();
  await assertBooks(t, world, { name: '32' });
});

await t.test('33: makes rows of odd texts, keeps what cannot be a row, and nothing is stuck', async (t) => {
  const key = await world.createKey('poison', wide);
  const odd = ['ok-0-\u0000', 'ok-0-\ud800', `ok-0-${'x'.repeat(200)}`, 'ok-0-\ud83d\ude00'];
  const answers: Answer[] = [];
  for (const behaviour of odd)
    answers.push(await driver.callUntilDecided(gateway.url, { key: 'poison', token: key.token, behaviour }));
  t.comment(countAnswers(answers));
  t.ok(
    answers.every(({ status }) => status === 200 || status === 400 || status === 404),
    'none of them is our failure',
  );
  const { admin } = world.redis;
  await admin.xadd(streamKey, '*', 'id', 'x', 'rank', '3', 'rec', '{"half');
  await admin.xadd(streamKey, '*', 'id', 'nul\0', 'rank', '3', 'rec', Buffer.from([0, 0xff, 0xfe]));
  await admin.xadd(streamKey, '*', 'some', 'thing');
  const last = await driver.callUntilDecided(gateway.url, { key: 'poison', token: key.token, behaviour: 'ok-0' });
  t.equal(last.status, 200);
  await assertBooks(t, world, { name: '33' });
  t.ok(await eventually(async () => (await depth()) === 0, 20_000), 'nothing is stuck');
  const letters = await db.selectFrom('usage_dlq').select('payload').execute();
  t.equal(letters.length, 3, 'what cannot be a row is kept for a person');
});

await t.test('27: closes admission when the stream is at its cap, loses nothing, and opens again', async (t) => {
  const redisUrl = `${world.redis.url}/1`;
  const streamCap = isSoak() ? 2_000 : 40;
  const capped = await world.startGateway({ redisUrl, streamCap });
  const key = await world.createKey('capped', wide);
  const ask = (behaviour: string): Promise<Answer> =>
    driver.callUntilDecided(capped.url, { key: 'capped', token: key.token, behaviour });
  t.match(await ask('ok-0'), { status: 200 });
  const running = [ask('hold'), ask('hold')];
  await eventually(async () => upstream.inFlight() === 2, 10_000);
  databaseProxy.setMode('refuse');
  let answer = await ask('ok-0');
  for (; answer.status === 200; answer = await ask('ok-0'));
  t.match(answer, { status: 503, code: 'journal_full' });
  t.ok(Number(answer.headers['retry-after']) >= 1);
  const served = callsOf('capped').filter(({ status }) => status === 200).length;
  upstream.release();
  t.same(countAnswers(await Promise.all(running)), '200 2', 'what runs ends, and its row is taken');
  const ran = upstream.ledger.filter(({ key: name }) => name === 'capped').length;
  t.ok(served >= streamCap && ran === served + 2, 'never more than one row for each that ran, and none trimmed');
  databaseProxy.setMode('pass');
  t.ok(await eventually(async () => (await ask('ok-0')).status === 200, 30_000), 'there is room again');
  await assertBooks(t, world, { name: '27' });
});
