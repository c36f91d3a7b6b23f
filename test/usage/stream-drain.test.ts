import { setTimeout } from 'node:timers/promises';
import { type Kysely, sql } from 'kysely';
import t from 'tap';
import { type UsageRecord, usageRank } from '../../src/contract/flow.ts';
import { openDatabase } from '../../src/platform/postgres.ts';
import type { StoreSchema } from '../../src/store/schema.ts';
import { insertUsageDeadLetters, listUsageDeadLetters } from '../../src/store/usage-dead-letters.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { createTestDatabase, silentLog } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';
import { manyRecords, openReady, openStreamWorld, until } from './stream-world.ts';

/** One database for all: every test looks only at the rows of its own requests. */
const { db, url } = await createTestDatabase(t);
const insert = (records: readonly UsageRecord[]): Promise<void> => insertUsageEvents(db, records);

type Found = { rows: number; requests: number; worstRank: number };

async function find(records: readonly UsageRecord[]): Promise<Found | undefined> {
  const ids = records.map(({ requestId }) => requestId);
  const { rows } = await sql<Found>`
    select count(*)::int as rows, count(distinct request_id)::int as requests, min(rank)::int as "worstRank"
    from usage_events where request_id = any(${ids}::uuid[])
  `.execute(db);
  return rows[0];
}

const complete = (count: number): Found => ({ rows: count, requests: count, worstRank: usageRank.final });

const awayError = (): Error => Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });

t.test('makes each of 5,000 entries one row when three drains share the stream', async (t) => {
  const { addAll, drain, depth, pending } = await openStreamWorld(t);
  const records = manyRecords(5_000);
  const early = records.slice(0, 300).map((record) => ({ ...record, rank: usageRank.orphan, costPicoUsd: 1 }));
  await addAll([...early.slice(0, 150), ...records, ...early.slice(150)]);
  const drains = [1, 2, 3].map(() => drain({ insert, batchEntries: 200 }));
  await until(async () => (await depth()) === 0);
  t.same(await find(records), complete(5_000));
  t.equal(await pending(), 0);
  t.equal(
    drains.reduce((sum, { written }) => sum + written.length, 0),
    5_300,
    'nobody wrote what another had',
  );
  t.ok(drains.filter(({ written }) => written.length > 0).length > 1, 'and they shared it');
});

t.test('never lets a late record of lower rank overwrite the row', async (t) => {
  const { add, drain, depth } = await openStreamWorld(t);
  const final = usageRecord();
  const orphan = { ...final, rank: usageRank.orphan, status: 'orphaned' as const, costPicoUsd: 1 };
  drain({ insert });
  for (const record of [orphan, final, orphan]) {
    await add(record);
    await until(async () => (await depth()) === 0);
  }
  t.same(await find([final]), complete(1));
});

t.test('writes no second row when the commit succeeded and its answer was lost', async (t) => {
  const { addAll, drain, depth } = await openStreamWorld(t);
  const records = manyRecords(40);
  await addAll(records);
  let calls = 0;
  const { lines } = drain({
    batchEntries: 10,
    async insert(batch) {
      await insert(batch);
      calls += 1;
      if (calls % 2 === 1) throw new Error('Connection terminated unexpectedly');
    },
  });
  await until(async () => (await depth()) === 0);
  t.same(await find(records), complete(40));
  t.equal(calls, 8);
  t.ok(lines.includes('the usage drain waits') && lines.includes('the usage drain goes on'));
});

t.test('takes over the batch of a drain that was killed before and after its commit', async (t) => {
  const { addAll, group, drain, depth, pending } = await openStreamWorld(t);
  const records = manyRecords(90);
  await addAll(records);
  const killed = group('killed');
  await killed.join();
  await killed.readNew(30, 20);
  await killed.readNew(30, 20);
  await insert(records.slice(0, 30));
  drain({ insert, claimIdleMs: 60 });
  await until(async () => (await depth()) === 0);
  t.same(await find(records), complete(90));
  t.equal(await pending(), 0);
});

t.test('loses and doubles nothing when Redis goes between commit and acknowledgement', async (t) => {
  const { addAll, drain, depth, pending } = await openStreamWorld(t);
  const records = manyRecords(50);
  await addAll(records);
  const cut = drain({
    batchEntries: 20,
    async insert(batch) {
      await insert(batch);
      // For good: this client does not connect again.
      cut.connection.disconnect();
    },
  });
  await until(() => cut.lines.includes('the usage drain waits'));
  t.equal(await pending(), 20);
  drain({ insert, claimIdleMs: 60 });
  await until(async () => (await depth()) === 0);
  await cut.stop();
  t.same(await find(records), complete(50));
});

t.test('waits out a Postgres that is away, and lets nothing go meanwhile', async (t) => {
  const { addAll, drain, depth, pending } = await openStreamWorld(t);
  const records = manyRecords(30);
  await addAll(records);
  let isAway = true;
  let attempts = 0;
  const pausesMs: number[] = [];
  const { lags } = drain({
    retryMs: 1,
    upkeepMs: 0,
    async insert(batch) {
      attempts += 1;
      if (isAway) throw awayError();
      await insert(batch);
    },
    async pause(durationMs) {
      pausesMs.push(durationMs);
      await new Promise(setImmediate);
    },
  });
  await until(() => attempts > 12);
  t.ok(Math.max(...pausesMs) >= 1_000, 'it waits longer each time');
  t.same([await depth(), await pending()], [30, 30]);
  t.match(lags.at(-1), { depth: 30, pending: 30 }, 'and says how far behind it is');
  isAway = false;
  await until(async () => (await depth()) === 0);
  t.same(await find(records), complete(30));
});

t.test('keeps its batch through an outage that is longer than another would wait for it', async (t) => {
  const { addAll, drain, depth, admin, stream } = await openStreamWorld(t);
  const records = manyRecords(10);
  await addAll(records);
  let isAway = true;
  // Long against any pause of a busy machine, in which the batch would look abandoned.
  const claimIdleMs = 1500;
  const attempts = [0, 0];
  const startDrain = (index: 0 | 1) =>
    drain({
      claimIdleMs,
      pause: () => setTimeout(20),
      async insert(batch) {
        attempts[index] = (attempts[index] ?? 0) + 1;
        if (isAway) throw awayError();
        await insert(batch);
      },
    });
  startDrain(0);
  await until(() => (attempts[0] ?? 0) > 0);
  startDrain(1);
  const sinceMs = performance.now();
  await until(() => performance.now() - sinceMs > 2 * claimIdleMs && (attempts[0] ?? 0) > 40);
  t.equal(attempts[1], 0, 'the other left it alone');
  const deliveries = (await admin.xpending(stream, 'pg', '-', '+', 100)).map((row) => (row as unknown[])[3]);
  t.same(new Set(deliveries), new Set([1]));
  isAway = false;
  await until(async () => (await depth()) === 0);
  t.same(await find(records), complete(10));
});

t.test('gives its batch back when it is stopped while Postgres is away, and no stop counts against it', async (t) => {
  const { addAll, drain, depth, pending } = await openStreamWorld(t);
  const records = manyRecords(10);
  await addAll(records);
  for (let stops = 0; stops < 8; stops += 1) {
    const stopped = drain({ insert: () => Promise.reject(awayError()) });
    await until(() => stopped.lines.includes('the usage drain waits'));
    await stopped.stop();
    t.equal(await pending(), 10);
  }
  const { letters } = drain({ insert });
  await until(async () => (await depth()) === 0);
  t.same(letters, []);
  t.same(await find(records), complete(10));
});

t.test('finishes the running batch when it is stopped', async (t) => {
  const { addAll, drain, depth, pending } = await openStreamWorld(t);
  const records = manyRecords(10);
  await addAll(records);
  const begun = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const subject = drain({
    batchEntries: 4,
    async insert(batch) {
      begun.resolve();
      await gate.promise;
      await insert(batch);
    },
  });
  await begun.promise;
  const stopped = subject.stop();
  gate.resolve();
  await stopped;
  t.same([await depth(), await pending()], [6, 0]);
  t.same(await find(records), complete(4));
});

async function openDrainDatabase(statementTimeoutMs: number): Promise<{ db: Kysely<StoreSchema>; pid: number }> {
  const own = await openDatabase<StoreSchema>({
    url,
    dataDirectory: '',
    poolSize: 1,
    statementTimeoutMs,
    log: silentLog,
  });
  t.teardown(own.close);
  const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(own.db);
  return { db: own.db, pid: rows[0]?.pid ?? 0 };
}

t.test('writes each row once when its backend is terminated again and again', async (t) => {
  const { addAll, drain, depth } = await openStreamWorld(t);
  const records = manyRecords(400);
  await addAll(records);
  const own = await openDrainDatabase(5_000);
  let failures = 0;
  let killsLeft = 10;
  drain({
    batchEntries: 25,
    async insert(batch) {
      const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(own.db);
      const insertion = Promise.allSettled([insertUsageEvents(own.db, batch)]);
      killsLeft -= 1;
      // At whatever point the two meet: before the statement, inside it, or after its commit.
      if (killsLeft >= 0) await sql`select pg_terminate_backend(${rows[0]?.pid ?? 0}::int)`.execute(db);
      const [outcome] = await insertion;
      if (outcome.status === 'fulfilled') return;
      failures += 1;
      throw outcome.reason;
    },
  });
  await until(async () => (await depth()) === 0);
  t.ok(killsLeft < 0 && failures > 0, `${failures} inserts were cut off`);
  t.same(await find(records), complete(400));
});

t.test('waits for a locked table, while the lag shows it', async (t) => {
  const { addAll, drain, depth } = await openStreamWorld(t);
  const records = manyRecords(20);
  const own = await openDrainDatabase(60);
  const states: string[] = [];
  let lagSeen = 0;
  await db.transaction().execute(async (trx) => {
    await sql`lock table usage_events in access exclusive mode`.execute(trx);
    await addAll(records);
    const { lags } = drain({
      upkeepMs: 0,
      insert: (batch) =>
        insertUsageEvents(own.db, batch).catch((error: unknown) => {
          states.push(error instanceof Error && 'code' in error ? String(error.code) : '');
          throw error;
        }),
    });
    await until(() => states.length >= 2);
    lagSeen = lags.at(-1)?.depth ?? 0;
  });
  await until(async () => (await depth()) === 0);
  t.equal(states[0], '57014');
  t.equal(lagSeen, 20);
  t.same(await find(records), complete(20));
});

t.test('lets good rows in and keeps the bad ones apart when poison is among them', async (t) => {
  const { addAll, add, addRaw, drain, depth, pending, stream } = await openStreamWorld(t);
  const good = manyRecords(60);
  const odd = [usageRecord({ model: 'a\0b\ud800' }), usageRecord({ tier: 'x'.repeat(10_000) })];
  await addAll(good.slice(0, 30));
  const wrongId = { ...usageRecord(), accountId: 'nobody' };
  const unknownStatus = { ...usageRecord(), status: 'invented' as UsageRecord['status'] };
  const poison = [
    await addRaw({ id: 'x', rank: '3', rec: '{"half' }),
    await addRaw({ id: 'nul\0', rank: '3', rec: '\0' }),
    await addRaw({ some: 'thing' }),
    await add(wrongId),
    await add(usageRecord({ costPicoUsd: -5 })),
    await add(usageRecord({ costPicoUsd: 1e30 })),
    await add(unknownStatus),
  ];
  await addAll([...good.slice(30), ...odd]);
  const { letters, written } = drain({ insert, deadLetter: (batch) => insertUsageDeadLetters(db, batch) });
  await until(async () => (await depth()) === 0);
  t.same(await find([...good, ...odd]), complete(62));
  t.equal(written.length, 62);
  t.equal(await pending(), 0);
  const kept = (await listUsageDeadLetters(db, 100)).filter(({ streamId }) => streamId.startsWith(stream));
  t.same(new Set(kept.map(({ streamId }) => streamId)), new Set(poison.map((entryId) => `${stream} ${entryId}`)));
  t.equal(letters.length, 7);
  t.match(
    kept.find(({ requestId }) => requestId === unknownStatus.requestId),
    { error: /^23514 /, payload: JSON.stringify(unknownStatus) },
  );
});

t.test('goes on when its connection to Redis is cut again and again', async (t) => {
  const { addAll, drain, depth, admin, pending } = await openStreamWorld(t);
  const records = manyRecords(600);
  const { connection, lines } = drain({ insert, batchEntries: 20, claimIdleMs: 500 });
  for (let cut = 0; cut < 6; cut += 1) {
    await addAll(records.slice(cut * 100, cut * 100 + 100));
    await until(() => connection.status === 'ready');
    await admin.client('KILL', 'ID', await connection.client('ID'));
    await until(() => connection.status !== 'ready');
  }
  await until(async () => (await depth()) === 0);
  t.same(await find(records), complete(600));
  t.equal(await pending(), 0);
  t.ok(lines.length > 0);
});

t.test('writes at once what a lost reply had given it when the connection is back', async (t) => {
  const { drain, depth, admin, stream } = await openStreamWorld(t);
  const { connection, consumer } = drain({ insert });
  await until(async () => (await admin.exists(stream)) === 1);
  const record = usageRecord();
  // Given to the drain's own consumer in one step, so that the drain never hears of it.
  await admin
    .multi()
    .xadd(stream, '*', 'id', record.requestId, 'rec', JSON.stringify(record))
    .xreadgroup('GROUP', 'pg', `${consumer}-0`, 'COUNT', 1, 'STREAMS', stream, '>')
    .exec();
  t.equal(await depth(), 1);
  await admin.client('KILL', 'ID', await connection.client('ID'));
  await until(async () => (await depth()) === 0);
  t.same(await find([record]), complete(1));
});

t.test('begins anew when the stream and its group were lost', async (t) => {
  const { addAll, drain, depth, admin, stream } = await openStreamWorld(t);
  const [before, after] = [manyRecords(5), manyRecords(5)];
  const { lines } = drain({ insert });
  await addAll(before);
  await until(async () => (await depth()) === 0);
  await admin.del(stream);
  await until(() => lines.includes('the usage stream cannot be read'));
  await addAll(after);
  await until(async () => (await find(after))?.rows === 5);
  t.same(await find([...before, ...after]), complete(10));
});

t.test('drains several streams with several readers, and leaves none behind when it stops', async (t) => {
  const [one, two] = [await openStreamWorld(t), await openStreamWorld(t)];
  const records = manyRecords(40);
  await one.addAll(records.slice(0, 20));
  await two.addAll(records.slice(20));
  const connections = await Promise.all(['a', 'b', 'c', 'd'].map(openReady));
  t.teardown(() => connections.forEach((connection) => connection.disconnect()));
  const unused = [...connections];
  const both = one.drain({
    insert,
    streams: [one.stream, two.stream],
    readersPerStream: 2,
    redis: () => unused.pop() ?? one.admin,
  });
  const consumers = async () => {
    const replies = await Promise.all([one, two].map(({ stream }) => one.admin.xinfo('CONSUMERS', stream, 'pg')));
    return (replies as string[][][]).map((reply) => reply.map((fields) => fields[1]));
  };
  await until(async () => (await one.depth()) + (await two.depth()) === 0);
  t.same(await find(records), complete(40));
  t.same(unused, [], 'a connection for each reader of each stream');
  const seen = (await consumers()).flat();
  // Some servers know a consumer only once it was given something.
  t.ok(seen.length >= 2 && seen.every((name) => [`${both.consumer}-0`, `${both.consumer}-1`].includes(String(name))));
  await both.stop();
  t.same(await consumers(), [[], []]);
  await until(() => connections.every(({ status }) => status === 'end'));
});
