import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { usageStreamKey } from '../../src/admission/redis-keys.ts';
import { createInProcessEngine } from '../../src/admission/in-process-engine.ts';
import type { AdmitRequest, BudgetCheck, GovernedEngine } from '../../src/contract/admission.ts';
import { usageRank, type UsageRecord } from '../../src/contract/flow.ts';
import { openRedis } from '../../src/platform/redis.ts';
import { createUuidV7 } from '../../src/platform/uuid.ts';
import { spentNanoUsd } from '../../src/store/budgets.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { type BudgetDrift, reconcileBudgets } from '../../src/usage/reconcile.ts';
import { createStreamDrain } from '../../src/usage/stream-drain.ts';
import { openRedisWorld, redisUrl } from '../admission/redis-world.ts';
import { createPgliteDatabase, createTestDatabase, silentLog } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

const limitNanoUsd = 1e15;

type Caller = { accountId: string; keyId: string };

const newCaller = (): Caller => ({ accountId: randomUUID(), keyId: randomUUID() });

function requestOf({ accountId, keyId }: Caller, costNanoUsd: number): AdmitRequest {
  const startedAtMs = Date.now();
  const id = createUuidV7(startedAtMs);
  const record = usageRecord({ requestId: id, startedAtMs, accountId, keyId, rank: usageRank.orphan });
  const budget = { period: 'total', limitNanoUsd, costNanoUsd } as const;
  const budgets: BudgetCheck[] = [
    { ...budget, scope: `account:${accountId}` },
    { ...budget, scope: `key:${keyId}` },
    { ...budget, scope: `account:${accountId}`, period: 'daily' },
  ];
  return { id, accountId, buckets: [], concurrency: [], budgets, record };
}

async function seedNothing(engine: GovernedEngine, caller: Caller): Promise<void> {
  for (const budget of requestOf(caller, 0).budgets ?? []) await engine.seedBudget(caller.accountId, budget, 0);
}

/** One request from beginning to end; some are settled twice, the second time for less or for more. */
async function serveOne(engine: GovernedEngine, caller: Caller, serial: number): Promise<void> {
  const request = requestOf(caller, 1000);
  const { id, accountId, record } = request;
  const { outcome } = await engine.admit(request);
  if (outcome !== 'admitted') throw new Error(`the request was ${outcome}`);
  const settle = (rank: UsageRecord['rank'], costPicoUsd: number): Promise<void> =>
    engine.settle({
      id,
      accountId,
      kind: 'exact',
      actual: { requests: 1, tokens: 1 },
      record: { ...record, rank, costPicoUsd },
    });
  if (serial % 3 === 0) await settle(usageRank.partial, 900_001);
  await settle(usageRank.final, serial % 2 === 0 ? 400_003 : 1_700_001);
}

async function levelOf(engine: GovernedEngine, { accountId }: Caller): Promise<number | string | undefined> {
  const reading = await engine.readBudget(accountId, { scope: `account:${accountId}`, period: 'total' });
  return reading?.state === 'at_rest' ? reading.spentNanoUsd : reading?.state;
}

async function until(isDone: () => Promise<boolean>): Promise<void> {
  for (let waited = 0; waited < 20_000; waited += 20) {
    if (await isDone()) return;
    await pause(20);
  }
  throw new Error('it never came');
}

t.test('mends only what differs, also while requests of the same account race with it', async (t) => {
  const { db } = await createTestDatabase(t);
  const world = await openRedisWorld({ clock: 'server', boundMs: 5000 });
  const { engine } = await world.createReplica({ usageStream: true });
  const stream = usageStreamKey(world.keyPrefix, 0);
  const drain = createStreamDrain({
    redis: () => openRedis(redisUrl, silentLog, { commandTimeoutMs: 3000, socketTimeoutMs: 3000 }),
    streams: [stream],
    consumer: randomUUID(),
    blockMs: 20,
    intervalMs: 5,
    insert: (records) => insertUsageEvents(db, records),
    deadLetter: async () => void t.fail('every row is sound'),
    log: silentLog,
    onWritten: () => {},
    onDeadLetters: () => {},
    onLag: () => {},
  });
  drain.start();
  t.teardown(async () => {
    await drain.stop();
    await world.close();
  });
  const caller = newCaller();
  const total = { accountId: caller.accountId, scope: `account:${caller.accountId}`, period: 'total' } as const;
  const drifts: BudgetDrift[] = [];
  let looks = 0;
  const look = async (attempts: number) => {
    const result = await reconcileBudgets(db, {
      engine,
      unwrittenRows: () => 0,
      attempts,
      retryMs: 1,
      onDrift: (drift) => drifts.push(drift),
    });
    looks += result.compared;
    return result;
  };
  /** Bursts with gaps between them, so that the job also finds the budget at rest. */
  async function load(requests: number): Promise<void> {
    for (let serial = 0; serial < requests; serial += 1) {
      await serveOne(engine, caller, serial);
      if (serial % 10 === 9) await pause(15);
    }
  }
  async function race(requests: number): Promise<void> {
    const loaded = new AbortController();
    const jobs = [0, 1].map(async () => {
      while (!loaded.signal.aborted) await look(1);
    });
    await load(requests);
    loaded.abort();
    await Promise.all(jobs);
    await until(async () => (await world.admin.xlen(stream)) === 0);
  }

  await seedNothing(engine, caller);
  await race(150);
  t.same(drifts, [], 'nothing differed, so nothing was touched');
  t.ok(looks > 0, `${looks} budgets were at rest and compared`);
  t.equal(await levelOf(engine, caller), await spentNanoUsd(db, total, Date.now()));

  const reading = await engine.readBudget(caller.accountId, total);
  t.equal(reading?.state, 'at_rest');
  if (reading?.state === 'at_rest')
    await engine.adjustBudget(caller.accountId, total, { mark: reading.mark, deltaNanoUsd: 5_000_000 });
  await race(150);
  await look(20);
  t.same(drifts, [{ ...total, deltaNanoUsd: -5_000_000 }], 'the difference, once, whatever was spent meanwhile');
  t.equal(await levelOf(engine, caller), await spentNanoUsd(db, total, Date.now()));
});

t.test('adds rows that the engine was never told of, and leaves a budget alone while it is held', async (t) => {
  const { db } = await createPgliteDatabase(t);
  const rows: UsageRecord[] = [];
  const engine = createInProcessEngine({
    clock: { nowMicros: () => Date.now() * 1000 },
    sink: { append: (record) => rows.push(record), hasRoom: () => true },
    every: () => () => undefined,
  });
  const caller = newCaller();
  const drifts: BudgetDrift[] = [];
  const look = () =>
    reconcileBudgets(db, {
      engine,
      unwrittenRows: () => rows.length,
      attempts: 1,
      onDrift: (drift) => drifts.push(drift),
    });
  await seedNothing(engine, caller);
  const foreign = { ...caller, startedAtMs: Date.now(), costPicoUsd: 7_000_000 };
  await insertUsageEvents(db, [usageRecord(foreign)]);
  const held = requestOf(caller, 1000);
  await engine.admit(held);
  t.same(await look(), { compared: 0, adjusted: 0, inUse: 3 }, 'a request runs');
  const { id, accountId, record } = held;
  const actual = { requests: 1, tokens: 1 };
  await engine.settle({ id, accountId, kind: 'exact', actual, record: { ...record, costPicoUsd: 3_000_000 } });
  t.same(await look(), { compared: 0, adjusted: 0, inUse: 3 }, 'its row is not in the database');
  await insertUsageEvents(db, rows.splice(0));
  t.equal(await levelOf(engine, caller), 3000);
  t.match(await look(), { inUse: 0 });
  t.equal(await levelOf(engine, caller), 10_000);
  t.ok(drifts.every(({ deltaNanoUsd }) => deltaNanoUsd === 7000));
  t.match(await look(), { adjusted: 0 }, 'once');
  await engine.close();
});

t.test('stops between two budgets when it is told to', async (t) => {
  const { db } = await createPgliteDatabase(t);
  const caller = newCaller();
  await insertUsageEvents(db, [usageRecord({ ...caller, startedAtMs: Date.now() })]);
  let reads = 0;
  const stopping = new AbortController();
  const result = await reconcileBudgets(db, {
    engine: {
      async readBudget() {
        reads += 1;
        stopping.abort();
        return null;
      },
      adjustBudget: async () => false,
    },
    unwrittenRows: () => 0,
    onDrift: () => t.fail('nothing was compared'),
    signal: stopping.signal,
  });
  t.equal(reads, 1);
  t.match(result, { compared: 0, adjusted: 0 });
});
