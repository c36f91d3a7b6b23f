/** A Redis that cuts its connections, forgets scripts, is full, is tampered with, is busy, or may not be used at all. */
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { seededRandom } from '../support/byte-feedings.ts';
import { assertBooks, assertServed } from './books.ts';
import { countAnswers } from './checker.ts';
import { type Answer, faultSeed, isSoak, startLoad } from './driver.ts';
import { eventually, openWorld } from './world.ts';

const seed = faultSeed();
const world = await openWorld(t);
const { driver, redisProxy, upstream } = world;
const { admin } = world.redis;
const gateway = await world.startGateway();
const wide = { concurrency: 500, requestsPerMinute: 1_000_000, tokensPerMinute: 100_000_000 };
const behaviours = [{ behaviour: 'ok-20', stream: false }];

type Key = { name: string; token: string; keyId: string };

const ask = ({ name, token }: Key, behaviour = 'ok-0', url = gateway.url): Promise<Answer> =>
  driver.call(url, { token, marker: driver.nextMarker(name), behaviour });
const askUntilDecided = ({ name, token }: Key, behaviour = 'ok-0', url = gateway.url): Promise<Answer> =>
  driver.callUntilDecided(url, { key: name, token, behaviour });
const callsOf = ({ name }: Key): Answer[] => driver.log.filter(({ marker }) => marker.startsWith(`${name}.`));

function load(t: Test, ...keys: readonly Key[]): { stop: () => Promise<void> } {
  return startLoad(t, { driver, seed, clients: 10, gateways: () => [gateway.url], keys, behaviours });
}

/** Every answer was a good one or said that limits cannot be asked; and what was admitted is what ran. */
function judge(answers: readonly Answer[]): { served: number; refused: number; others: string } {
  const served = answers.filter(({ status }) => status === 200);
  const refused = answers.filter(({ code }) => code === 'limits_unavailable');
  const others = answers.filter((answer) => !served.includes(answer) && !refused.includes(answer));
  return { served: served.length, refused: refused.length, others: countAnswers(others) };
}

t.test('18: admits nobody twice when its connections are reset every half second', async (t) => {
  const key = await world.createKey('reset', wide);
  const { stop } = load(t, key);
  for (let round = 0; round < (isSoak() ? 120 : 8); round += 1) {
    await delay(500);
    redisProxy.reset();
  }
  await stop();
  const { served, refused, others } = judge(callsOf(key));
  t.comment(`${served} served, ${refused} could not be decided`);
  t.equal(others, '');
  t.equal(upstream.ledger.filter((line) => line.key === 'reset').length, served, 'what was admitted ran, once');
  const [, score = '0'] = await admin.zrevrange('tg:{0}:open', 0, 0, 'WITHSCORES');
  t.ok(Number(score) <= Date.now() + 30_000, 'no lease is longer than its time');
  t.notMatch(gateway.output(), /unhandled/i);
  await assertBooks(t, world, { name: '18' });
});

t.test('20: serves on when Redis forgets its scripts, again and again', async (t) => {
  const key = await world.createKey('flushed', wide);
  const { stop } = load(t, key);
  for (let round = 0; round < (isSoak() ? 600 : 30); round += 1) {
    await delay(100);
    await admin.script('FLUSH');
  }
  await stop();
  // A script that nobody loads again would fail them all.
  assertServed(t, callsOf(key), 'nobody notices');
  await assertBooks(t, world, { name: '20' });
});

t.test('20: serves a user without SCRIPT, and is never ready for one without EVAL', async (t) => {
  const urlFor = (user: string): string => world.redis.url.replace('redis://', `redis://${user}:secret@`);
  await admin.acl('SETUSER', 'noscript', 'on', '>secret', '~*', '&*', '+@all', '-script');
  await admin.acl('SETUSER', 'noeval', 'on', '>secret', '~*', '&*', '+@all', '-script', '-eval', '-evalsha');
  await admin.script('FLUSH');
  const key = await world.createKey('acl', wide);
  const allowed = await world.startGateway({ redisUrl: urlFor('noscript') });
  t.match(await askUntilDecided(key, 'ok-0', allowed.url), { status: 200 });
  await allowed.stop();
  const denied = await world.startGateway({ redisUrl: urlFor('noeval'), isLate: true });
  t.ok(await eventually(async () => denied.output().includes('NOPERM'), 20_000), 'it says what it may not do');
  await eventually(async () => denied.output().includes('up at'), 20_000);
  const url = `http://127.0.0.1:${/up at http:\/\/localhost:(\d+)/.exec(denied.output())?.[1]}`;
  t.equal((await fetch(`${url}/readyz`)).status, 503, 'no traffic is sent to it');
  await denied.kill();
});

t.test('22: is never ready on a server that evicts', async (t) => {
  await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
  const refusing = await world.startGateway({ isLate: true });
  const says = async (): Promise<boolean> => refusing.output().includes('maxmemory-policy must be noeviction');
  t.ok(await eventually(says, 20_000), 'it says why');
  await eventually(async () => refusing.output().includes('up at'), 20_000);
  const url = `http://127.0.0.1:${/up at http:\/\/localhost:(\d+)/.exec(refusing.output())?.[1]}`;
  t.equal((await fetch(`${url}/readyz`)).status, 503);
  const key = await world.createKey('evicting', wide);
  t.match(await ask(key, 'ok-0', url), { status: 503, code: 'limits_unavailable' });
  await refusing.kill();
  await admin.config('SET', 'maxmemory-policy', 'noeviction');
});

t.test('21: admits nobody when Redis is full, settles what runs, and evicts nothing', async (t) => {
  const key = await world.createKey('full', wide);
  t.match(await askUntilDecided(key), { status: 200 });
  const running = [askUntilDecided(key, 'hold'), askUntilDecided(key, 'hold')];
  await eventually(async () => upstream.inFlight() === 2, 10_000);
  const used = Number(/used_memory:(\d+)/.exec(await admin.info('memory'))?.[1]);
  await admin.config('SET', 'maxmemory', String(Math.floor(used / 0.9)));
  const isRefused = async (): Promise<boolean> => (await ask(key)).code === 'store_full';
  t.ok(await eventually(isRefused, 10_000), 'before it is full');
  await admin.config('SET', 'maxmemory', String(Math.floor(used / 2)));
  await t.rejects(admin.set('another', 'key'), /OOM/, 'it is full');
  upstream.release();
  t.same(countAnswers(await Promise.all(running)), '200 2');
  const ran = upstream.ledger.filter((line) => line.key === 'full').length;
  const finals = async () =>
    (await world.rows()).filter(({ marker, rank }) => marker.startsWith('full.') && rank === 3);
  t.ok(await eventually(async () => (await finals()).length === ran, 20_000), 'and every row arrives');
  t.match(await admin.info('stats'), /evicted_keys:0\r/);
  await admin.config('SET', 'maxmemory', '0');
  t.ok(await eventually(async () => (await ask(key)).status === 200, 10_000), 'there is room again');
  await assertBooks(t, world, { name: '21' });
});

t.test('25: heals when keys lose their time, are deleted, or hold something else', async (t) => {
  const random = seededRandom(seed);
  const key = await world.createKey('tampered', wide);
  const neighbour = await world.createKey('neighbour', wide);
  const poisoned = await world.createKey('poisoned', wide);
  t.match(await askUntilDecided(poisoned), { status: 200 });
  const slots = `tg:{0}:c:key:${poisoned.keyId}`;
  await admin.set(slots, 'not a set');
  // What nobody uses any more would have nobody to heal it.
  const unused = new Set(await admin.keys('tg:{0}:*'));
  const { stop } = load(t, key, neighbour);
  const isUsed = (name: string): boolean => /:(?:b|c|av):/.test(name) && !unused.has(name);
  await delay(500);
  const limits = (await admin.keys('tg:{0}:*')).filter(isUsed);
  for (let round = 0; round < (isSoak() ? 2_000 : 60); round += 1) {
    await delay(20 + random() * 30);
    // Of what has ended there are thousands of records, and a Redis that lists them all the time answers nobody else.
    const running = await admin.zrange('tg:{0}:open', '0', '-1');
    const names = [...limits, ...running.map((id) => `tg:{0}:r:${id}`)];
    const name = names[Math.floor(random() * names.length)];
    if (name === undefined) continue;
    if (random() < 0.5) await admin.del(name);
    else if (!/:(?:r|av):/.test(name)) await admin.persist(name);
  }
  t.match(await ask(poisoned), { status: 503, code: 'limits_unavailable' }, 'its own account alone');
  await stop();
  // A key's version that is deleted again while it is being restored is told as unavailable, never as a wrong key.
  const isUnavailable = ({ code }: Answer): boolean => code === 'limits_unavailable' || code === 'auth_unavailable';
  assertServed(t, [...callsOf(key), ...callsOf(neighbour)], 'the others notice nothing', isUnavailable);
  t.match(gateway.output(), /redis refused an admission step/, 'somebody is told');
  await admin.del(slots);
  for (const one of [key, neighbour, poisoned]) t.match(await askUntilDecided(one), { status: 200 });
  await assertBooks(t, world, { name: '25' });
  const timeless: string[] = [];
  for (const name of await admin.keys('tg:{0}:[bcr]:*')) if ((await admin.pttl(name)) === -1) timeless.push(name);
  t.same(timeless, [], 'every key has its time again');
});

t.test('23: answers at once while somebody else keeps Redis busy, and serves when it is free', async (t) => {
  const key = await world.createKey('busy', wide);
  t.match(await askUntilDecided(key), { status: 200 });
  await admin.config('SET', 'lua-time-limit', '200');
  const busy = admin.eval("local n = redis.call('TIME')[1] + 3 while tonumber(redis.call('TIME')[1]) < n do end", 0);
  await delay(300);
  const answers = await Promise.all(Array.from({ length: 5 }, () => ask(key)));
  t.same([...new Set(answers.map(({ code }) => code))], ['limits_unavailable']);
  await busy;
  t.ok(await eventually(async () => (await ask(key)).status === 200, 10_000));
  await assertBooks(t, world, { name: '23' });
});
