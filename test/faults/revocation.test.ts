/** A key that is revoked in one process while others serve it. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { assertBooks } from './books.ts';
import { type Answer, faultSeed, isSoak, startLoad } from './driver.ts';
import { eventually, openWorld } from './world.ts';

const seed = faultSeed();
const heartbeatMs = 10_000;
const wide = { concurrency: 500, requestsPerMinute: 1_000_000 };

t.test('66: refuses a revoked key at its next request on every process', async (t) => {
  const world = await openWorld(t);
  const { driver } = world;
  const gateways = await Promise.all([world.startGateway(), world.startGateway()]);
  const urls = gateways.map(({ url }) => url);
  for (let round = 0; round < (isSoak() ? 50 : 3); round += 1) {
    const key = await world.createKey(`revoked${round}`, wide);
    const behaviours = [{ behaviour: 'ok-20', stream: false }];
    const load = startLoad(t, {
      driver,
      seed: seed + round,
      clients: 8,
      gateways: () => urls,
      keys: [key],
      behaviours,
    });
    await delay(500);
    await world.command('keys', 'revoke', idOf(key.token));
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
  await assertBooks(t, world, { name: '66, revoked' });
});

/** What the command line calls a key. */
const idOf = (token: string): string => token.slice(0, 'sk-tg-'.length + 12);

t.test('66: a change of tier, and a key that is disabled and enabled, are in force at the next request', async (t) => {
  const world = await openWorld(t);
  const { driver } = world;
  const [one, two] = await Promise.all([world.startGateway(), world.startGateway()]);
  const key = await world.createKey('moved');
  const ask = (url: string): Promise<Answer> =>
    driver.call(url, { token: key.token, marker: driver.nextMarker(key.name), behaviour: 'ok-0' });
  const limit = ({ headers }: Answer): string | undefined => headers['x-ratelimit-limit-requests'];
  const move = (tier: string) => world.command('users', 'set-tier', '--email', 'moved@example.com', '--tier', tier);
  for (const { url } of [one, two]) t.equal(limit(await ask(url)), '1000000');

  await move('narrow');
  for (const { url } of [one, two, one])
    t.match(await ask(url), { status: 200, headers: { 'x-ratelimit-limit-requests': '3' } });
  t.match(await ask(two.url), { status: 429 }, 'the fourth, whichever process is asked');
  await move('wide');
  for (const { url } of [one, two]) t.equal(limit(await ask(url)), '1000000');

  await world.command('keys', 'disable', idOf(key.token));
  for (const { url } of [one, two]) t.match(await ask(url), { status: 401, code: 'invalid_api_key' });
  await world.command('keys', 'enable', idOf(key.token));
  for (const { url } of [one, two])
    t.ok(await eventually(async () => (await ask(url)).status === 200, 15_000), 'a refusal is not remembered for long');
  await assertBooks(t, world, { name: '66, changed' });
});

t.test(
  '66: under hard_revoke what runs is cut at the next heartbeat on every process, and otherwise ends',
  async (t) => {
    const world = await openWorld(t);
    const { driver, upstream } = world;
    const gateways = await Promise.all([world.startGateway(), world.startGateway()]);
    const [cut, kept] = [await world.createKey('cut'), await world.createKey('kept')];
    await world.command('users', 'set-tier', '--email', 'cut@example.com', '--tier', 'strict');
    const streams = [cut, kept].map((key) =>
      gateways.map(({ url }) =>
        driver.call(url, {
          token: key.token,
          marker: driver.nextMarker(key.name),
          behaviour: 'stream-100-4',
          stream: true,
        }),
      ),
    );
    t.ok(await eventually(async () => upstream.inFlight() === 4, 10_000), 'all of them run');
    await world.command('keys', 'revoke', idOf(cut.token));
    const revokedAtMs = Date.now();
    await world.command('keys', 'revoke', idOf(kept.token));
    const [cutAnswers = [], keptAnswers = []] = await Promise.all(streams.map((answers) => Promise.all(answers)));
    for (const answer of cutAnswers) {
      t.match(answer, { status: 200, isComplete: false, hasErrorFrame: true });
      t.comment(`cut after ${answer.endedAtMs - revokedAtMs} ms`);
      t.ok(answer.endedAtMs - revokedAtMs < 2 * heartbeatMs, 'a heartbeat, and what a busy machine needs');
    }
    for (const answer of keptAnswers) t.match(answer, { status: 200, isComplete: true });
    t.ok(await eventually(async () => (await world.rows()).length === 4, 15_000));
    t.same((await world.rows()).map(({ marker, status }) => `${marker.split('.')[0]} ${status}`).toSorted(), [
      'cut revoked',
      'cut revoked',
      'kept ok',
      'kept ok',
    ]);
    await assertBooks(t, world, { name: '66, cut' });
  },
);
