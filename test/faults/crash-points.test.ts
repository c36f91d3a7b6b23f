/**
 * The crash-point table, line by line, in the mode with Redis: a gateway dies exactly there, another one lives, and the
 * row is the one that the table names. All victims wait for their leases at the same time, which are the product's own.
 * The lines of the embedded mode are in test/admission/journal-kill.test.ts; the line where owner and Redis die together
 * is the declared loss, and proves nothing. Spec: reliability 3.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import { assertBooks, takenOverMs } from './books.ts';
import type { UsageRow } from './checker.ts';
import type { Answer } from './driver.ts';
import { type Failpoint, failpoints } from './failpoint.ts';
import { openFaultProxy } from './fault-proxy.ts';
import { promptTokens } from './mock-upstream.ts';
import { eventually, type Gateway, openWorld } from './world.ts';

const streamKey = 'tg:{0}:u';
// Sixteen gateways start, and then leases run out: more than tap gives a file when the machine is busy.
t.comment('timeout=300000');
const world = await openWorld(t);
const { driver, upstream } = world;
const kills: { gateway: string; atMs: number }[] = [];
let starting = Promise.resolve<unknown>(undefined);

/** One after the other: a machine with two cores has enough to do with one that starts. */
function startGateway(...options: Parameters<typeof world.startGateway>): Promise<Gateway> {
  const started = starting.then(() => world.startGateway(...options));
  starting = started.catch(() => undefined);
  return started;
}

type Key = { name: string; token: string };

/** The key and the script are known, so that the next request's first step is its admission. */
async function warm(gateway: Gateway, { token }: Key): Promise<void> {
  const answer = await driver.callUntilDecided(gateway.url, { key: 'warm', token, behaviour: 'ok-0' });
  if (answer.status !== 200) throw new Error(`the first request got ${answer.status} ${answer.code}`);
}

const rowOf = async (marker: string): Promise<UsageRow | undefined> =>
  (await world.rows()).find((row) => row.marker === marker);

async function rowOfRank(marker: string, rank: number): Promise<UsageRow | undefined> {
  await eventually(async () => (await rowOf(marker))?.rank === rank, takenOverMs);
  return rowOf(marker);
}

type Death = { answer: Answer; marker: string; diedAtMs: number; details: { admitted?: string[]; settled?: string[] } };

/** Sends one request, or as many as it takes, to a gateway that dies on its way. */
async function dieAt(name: Failpoint, { behaviour = 'ok-0', clients = 1 } = {}): Promise<Death> {
  const key = await world.createKey(`p${failpoints.indexOf(name)}`);
  const victim = await startGateway({ failpoint: { name, mark: `@${key.name}.` } });
  await warm(victim, key);
  let diedAtMs: number | null = null;
  const ended = victim.ended.finally(() => {
    diedAtMs = Date.now();
    kills.push({ gateway: victim.url, atMs: diedAtMs });
  });
  const call = { key: key.name, token: key.token, behaviour, stream: behaviour.startsWith('stream') };
  const callUntilDead = async (): Promise<Answer> => {
    const answer = await driver.callUntilDecided(victim.url, call);
    return diedAtMs !== null || clients === 1 ? answer : callUntilDead();
  };
  const [answer] = await Promise.all(Array.from({ length: clients }, callUntilDead));
  if (!(await eventually(async () => diedAtMs !== null, 20_000)))
    throw new Error(`"${name}" never came: ${victim.output()}`);
  if ((await ended) !== 'SIGKILL') throw new Error(`it did not die by its failpoint: ${victim.output()}`);
  const fired = new RegExp(`^failpoint ${name} (.*)$`, 'm').exec(victim.output())?.[1];
  if (fired === undefined || answer === undefined || diedAtMs === null)
    throw new Error(`"${name}" did not fire: ${victim.output()}`);
  return { answer, marker: answer.marker, diedAtMs, details: JSON.parse(fired) as Death['details'] };
}

const notDispatched = { rank: 0, status: 'not_dispatched', promptTokens: 0, completionTokens: 0 };
const final = { rank: 3, status: 'ok', usageSource: 'provider', promptTokens, completionTokens: 3 };
const orphaned = { rank: 1, status: 'orphaned', usageSource: 'estimated' };
const ranUpstream = (marker: string): boolean => upstream.ledger.some((line) => line.marker === marker);

async function assertOrphan(t: Test, { marker, diedAtMs }: Death): Promise<UsageRow | undefined> {
  const row = await rowOfRank(marker, 1);
  t.comment(`its row came ${Date.now() - diedAtMs} ms after its owner had died`);
  t.match(row, orphaned);
  t.ok((row?.promptTokens ?? 0) > 0, 'what was sent is paid for');
  return row;
}

const readEntries = async (marker: string): Promise<number> =>
  (await world.redis.admin.xrange(streamKey, '-', '+')).filter(([, fields]) => fields.join(' ').includes(marker))
    .length;

const readInsertedAt = async (marker: string): Promise<Date | undefined> =>
  (
    await world.database.db
      .selectFrom('usage_events')
      .select('inserted_at')
      .where('model', 'like', `%@${marker}`)
      .executeTakeFirst()
  )?.inserted_at;

type DrainDeath = {
  marker: string;
  diedAtMs: number;
  row: UsageRow | undefined;
  insertedAt: Date | undefined;
  entries: number;
};

async function dieDraining(name: Failpoint): Promise<DrainDeath> {
  const { marker, diedAtMs } = await dieAt(name);
  return {
    marker,
    diedAtMs,
    row: await rowOf(marker),
    insertedAt: await readInsertedAt(marker),
    entries: await readEntries(marker),
  };
}

// Alone, and so first: any other gateway would drain the row before the victim does.
const committed = await dieDraining('drain INSERT committed, before XACK');
const acknowledged = await dieDraining('XACK before XDEL');
const rolledBack = await dieDraining('Postgres dies mid-transaction');

const isDrained = (marker: string): Promise<boolean> =>
  eventually(async () => (await readEntries(marker)) === 0, takenOverMs);

const lines: Record<Failpoint, (t: Test) => Promise<void>> = {
  async 'mid-stream'(t) {
    const death = await dieAt('mid-stream', { behaviour: 'stream-2000-20' });
    const { marker } = death;
    const row = await assertOrphan(t, death);
    const ran = upstream.ledger.find((line) => line.marker === marker);
    t.comment(`${row?.completionTokens} of ${ran?.tokens} tokens`);
    t.ok((row?.completionTokens ?? 0) >= 60, 'at least what was told ten seconds ago');
    t.ok((row?.completionTokens ?? 0) <= (ran?.tokens ?? 0), 'and nothing that never came');
  },
  async 'tick executed'(t) {
    const { marker } = await dieAt('tick executed');
    t.match(await rowOfRank(marker, 0), notDispatched);
    t.notOk(ranUpstream(marker));
  },
  async 'tick replied, before fan-out'(t) {
    const { details } = await dieAt('tick replied, before fan-out', { clients: 20 });
    for (const marker of details.admitted ?? []) t.match(await rowOfRank(marker, 0), notDispatched);
    for (const marker of details.settled ?? []) t.match(await rowOfRank(marker, 3), final);
    t.ok((details.admitted ?? []).length > 0 && (details.settled ?? []).length > 0);
  },
  async 'upstream connect, before MARK'(t) {
    const { marker } = await dieAt('upstream connect, before MARK');
    t.match(await rowOfRank(marker, 0), notDispatched, 'the unknown case is decided for the customer');
  },
  async 'MARK done'(t) {
    const death = await dieAt('MARK done', { behaviour: 'ok-2000' });
    t.equal((await assertOrphan(t, death))?.completionTokens, 0);
  },
  async 'headers received'(t) {
    const death = await dieAt('headers received', { behaviour: 'ok-500' });
    t.equal((await assertOrphan(t, death))?.completionTokens, 0);
  },
  async 'last byte sent, before SETTLE'(t) {
    const death = await dieAt('last byte sent, before SETTLE', { behaviour: 'ok-500' });
    t.equal(death.answer.isComplete, true, 'the client has everything');
    await assertOrphan(t, death);
  },
  async 'SETTLE executed'(t) {
    const { marker } = await dieAt('SETTLE executed');
    t.match(await rowOfRank(marker, 3), final);
  },
  async 'before the tick is flushed'(t) {
    const { marker } = await dieAt('before the tick is flushed');
    // The others have waited for their leases by then.
    await delay(40_000);
    t.equal(await rowOf(marker), undefined, 'it was never admitted');
    t.notOk(ranUpstream(marker));
  },
  async 'drain INSERT committed, before XACK'(t) {
    t.match(committed, { row: final, entries: 1 });
    t.ok(await isDrained(committed.marker), 'another reader takes it over');
    t.same(await readInsertedAt(committed.marker), committed.insertedAt, 'and changes nothing');
  },
  async 'XACK before XDEL'(t) {
    t.match(acknowledged, { row: final, entries: 1 }, 'nobody will be given this entry again');
    t.ok(await isDrained(acknowledged.marker), 'the trimmer removes it');
    t.same(await readInsertedAt(acknowledged.marker), acknowledged.insertedAt);
  },
  async 'Postgres dies mid-transaction'(t) {
    t.match(rolledBack, { row: undefined, entries: 1 }, 'the transaction is gone with its server');
    t.match(await rowOfRank(rolledBack.marker, 3), final, 'delivered again');
    const insertedAtMs = (await readInsertedAt(rolledBack.marker))?.getTime() ?? Number.NaN;
    t.comment(`taken over ${insertedAtMs - rolledBack.diedAtMs} ms after its drainer had died`);
    t.ok(await isDrained(rolledBack.marker));
  },
  'drain stalled': forgetsAndRemembers,
};

/** Two lines: Redis dies after the reply of an ADMIT, and it loses the last settlements; the owner lives. */
async function forgetsAndRemembers(t: Test): Promise<void> {
  const redisUrl = `${world.redis.url}/1`;
  const redis = new Redis(redisUrl);
  t.teardown(() => redis.disconnect());
  const key = await world.createKey('forgotten', { concurrency: 10 });
  const owner = await startGateway({ redisUrl, failpoint: { name: 'drain stalled', mark: '@forgotten.' } });
  await warm(owner, key);
  const call = { key: 'forgotten', token: key.token };
  const running = driver.callUntilDecided(owner.url, { ...call, behaviour: 'ok-25000' });
  const runningMarker = await markerUpstream('forgotten');
  const settled = await driver.callUntilDecided(owner.url, { ...call, behaviour: 'ok-0' });
  t.match(settled, { status: 200, isComplete: true });
  t.equal(await rowOf(settled.marker), undefined);
  await redis.flushdb();
  owner.signal('SIGUSR2');
  t.match(await rowOfRank(settled.marker, 3), final, 'what was settled is settled again');
  const slots = async (): Promise<number> => redis.zcard(`tg:{0}:c:key:${key.keyId}`);
  t.ok(await eventually(async () => (await slots()) === 1, 15_000), 'what runs has its slot again');
  t.match(await running, { status: 200, isComplete: true });
  t.match(await rowOfRank(runningMarker, 3), final);
  t.equal(await slots(), 0);
}

/** Lines where the test does the killing. */
const scenes: Record<string, (t: Test) => Promise<void>> = {
  async 'owner frozen > lease, reaped, resumed'(t) {
    const key = await world.createKey('frozen');
    const owner = await startGateway();
    await warm(owner, key);
    const running = driver.callUntilDecided(owner.url, { key: 'frozen', token: key.token, behaviour: 'hold' });
    const marker = await markerUpstream('frozen');
    owner.signal('SIGSTOP');
    t.match(await rowOfRank(marker, 1), orphaned, 'taken for dead');
    owner.signal('SIGCONT');
    const slots = `tg:{0}:open`;
    t.ok(await eventually(async () => (await world.redis.admin.zcard(slots)) > 0, 15_000), 'it has its slot again');
    upstream.release();
    t.match(await running, { status: 200, isComplete: true });
    t.match(await rowOfRank(marker, 3), final);
  },
  async 'Redis down at SETTLE, then owner killed'(t) {
    const proxy = await openFaultProxy(t, world.redis.url, 6379);
    const key = await world.createKey('direct', { concurrency: 10 });
    const owner = await startGateway({ redisUrl: proxy.url });
    await warm(owner, key);
    const running = driver.callUntilDecided(owner.url, { key: 'direct', token: key.token, behaviour: 'ok-1000' });
    const marker = await markerUpstream('direct');
    proxy.setMode('blackhole');
    t.match(await running, { status: 200, isComplete: true });
    t.match(await rowOfRank(marker, 3), final, 'the row is in Postgres before Redis knows');
    kills.push({ gateway: owner.url, atMs: Date.now() });
    await owner.kill();
    proxy.reset();
    const slots = async (): Promise<number> => world.redis.admin.zcard(`tg:{0}:c:key:${key.keyId}`);
    t.equal(await slots(), 1, 'its slot is still held');
    t.ok(await eventually(async () => (await slots()) === 0, takenOverMs), 'the reaper frees it');
    await delay(1000);
    t.match(await rowOf(marker), final, 'and its estimate does not replace the row');
  },
};

async function markerUpstream(key: string): Promise<string> {
  const find = (): string | undefined => upstream.ledger.findLast((line) => line.key === key)?.marker;
  await eventually(async () => find() !== undefined, 10_000);
  return find() ?? '';
}

const survivor = await world.startGateway();
t.jobs = 20;
const all = Object.entries({ ...lines, ...scenes });
await Promise.all(all.map(([name, run]) => t.test(name, { buffered: true }, run)));

await t.test('the books agree, and nothing is held', async (t) => {
  await assertBooks(t, world, { name: '3', kills });
  const { admin } = world.redis;
  t.ok(await eventually(async () => (await admin.xlen(streamKey)) === 0, takenOverMs), 'no entry');
  t.equal(await survivor.stop(), 0);
});
