/**
 * How many usage rows a second does the drain write, and what does a row cost? `node bench/drain.ts` first compares three
 * ways of inserting at four sizes of a batch, each on one connection; then it fills a stream and lets the product's drain
 * empty it. Takes about a minute, needs a Postgres and a Redis, and removes what it made. Nothing fails because of a figure.
 */
import { randomBytes } from 'node:crypto';
import { cpus } from 'node:os';
import { Redis } from 'ioredis';
import { type Kysely, sql } from 'kysely';
import { Client } from 'pg';
import { type UsageRecord, usageRank } from '../src/contract/flow.ts';
import { openDatabase } from '../src/platform/postgres.ts';
import { openRedis } from '../src/platform/redis.ts';
import { createUuidSource } from '../src/platform/uuid.ts';
import { migrateToLatest } from '../src/store/migrate.ts';
import type { StoreSchema } from '../src/store/schema.ts';
import { insertUsageDeadLetters } from '../src/store/usage-dead-letters.ts';
import { insertUsageEvents } from '../src/store/usage-events.ts';
import { ensureUsagePartitions } from '../src/store/usage-partitions.ts';
import { createStreamDrain } from '../src/usage/stream-drain.ts';
import { type InsertWay, openCopyWay, openJsonWay, openUnnestWay } from './drain-ways.ts';
import { createCpuReader } from './process-cpu.ts';
import { quantile, shuffled } from './statistics.ts';
import { formatNumber, markdownTable } from './table.ts';

const serverUrl = process.env['DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres';
const redisUrl = process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379';
const batchSizes = [200, 500, 1_000, 2_000];
const rounds = 3;
const rowsPerCell = 8_000;
const rowsPerDrain = 40_000;
const log = { info: () => {}, warn: console.warn, error: console.error };

type Cost = { rowsPerSecond: number; clientUs: number; serverUs: number };

const nextId = createUuidSource();

function makeRecords(count: number): UsageRecord[] {
  const hex = (value: number): string => value.toString(16).padStart(12, '0');
  return Array.from({ length: count }, (_, index) => {
    const startedAtMs = Date.now();
    const attempt = { provider: 'acme', model: 'acme-large-1', status: 200, errorCode: null, durationMs: 2_090 };
    return {
      requestId: nextId(startedAtMs),
      startedAtMs,
      rank: usageRank.final,
      accountId: `018bcfe5-6800-7000-8000-${hex(index % 200)}`,
      keyId: `018bcfe5-6800-7000-9000-${hex(index % 1_000)}`,
      tier: 'pro',
      endpoint: 'chat',
      model: 'large',
      provider: 'acme',
      upstreamModel: 'acme-large-1',
      stream: index % 2 === 0,
      status: 'ok',
      httpStatus: 200,
      errorCode: null,
      usageSource: 'provider',
      usage: {
        promptTokens: 800 + index,
        cachedTokens: 40,
        cacheWriteTokens: 0,
        completionTokens: 200,
        reasoningTokens: 0,
      },
      costPicoUsd: 4_350_000 + index,
      ttftMs: 180,
      durationMs: 2_100,
      attempts: [attempt],
    };
  });
}

async function onServer(text: string): Promise<void> {
  const client = new Client({ connectionString: serverUrl });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

const cpu = createCpuReader();

/** Work on `rows` rows: the wall clock, this process's CPU and, where the backends are on this machine, theirs. */
async function measure(rows: number, backendPids: readonly number[], work: () => Promise<void>): Promise<Cost> {
  const serverBeforeUs = cpu.treeUs(backendPids);
  const startedMs = performance.now();
  const ownBefore = process.cpuUsage();
  await work();
  const own = process.cpuUsage(ownBefore);
  const durationMs = performance.now() - startedMs;
  return {
    rowsPerSecond: (rows * 1_000) / durationMs,
    clientUs: (own.user + own.system) / rows,
    serverUs: (cpu.treeUs(backendPids) - serverBeforeUs) / rows,
  };
}

async function insertInBatches(way: InsertWay, records: readonly UsageRecord[], size: number): Promise<void> {
  for (let start = 0; start < records.length; start += size) await way.insert(records.slice(start, start + size));
}

function medians(costs: readonly Cost[]): string[] {
  const median = (pick: (cost: Cost) => number): number => quantile(costs.map(pick), 0.5);
  return [
    formatNumber(
      median(({ rowsPerSecond }) => rowsPerSecond),
      0,
    ),
    formatNumber(
      median(({ clientUs }) => clientUs),
      1,
    ),
    formatNumber(
      median(({ serverUs }) => serverUs),
      1,
    ),
  ];
}

const figures = ['rows/s', 'client CPU us/row', 'Postgres CPU us/row'];

async function compareWays(url: string, empty: () => Promise<void>): Promise<void> {
  const ways = await Promise.all([openUnnestWay(url), openJsonWay(url), openCopyWay(url)]);
  const cells = ways.flatMap((way) => batchSizes.map((size) => ({ way, size, costs: [] as Cost[] })));
  for (const way of ways) await insertInBatches(way, makeRecords(2_000), 500);
  for (let round = 0; round < rounds; round += 1) {
    for (const { way, size, costs } of shuffled(cells, Math.random)) {
      await empty();
      const records = makeRecords(rowsPerCell);
      costs.push(await measure(records.length, [way.backendPid], () => insertInBatches(way, records, size)));
    }
  }
  await Promise.all(ways.map((way) => way.close()));
  const rows = cells.map(({ way, size, costs }) => [way.name, String(size), ...medians(costs)]);
  console.log(`\nOne connection, one batch after another; medians of ${rounds} rounds of ${rowsPerCell} rows.\n`);
  console.log(markdownTable(['way', 'batch', ...figures], rows));
}

async function fill(redis: Redis, stream: string, count: number): Promise<void> {
  for (let start = 0; start < count; start += 2_000) {
    const pipeline = redis.pipeline();
    for (const record of makeRecords(Math.min(2_000, count - start))) {
      pipeline.xadd(stream, '*', 'id', record.requestId, 'rank', record.rank, 'rec', JSON.stringify(record));
    }
    await pipeline.exec();
  }
}

type Plan = { readers: number; size: number };

/** From a full stream to an empty one, with reading, parsing, checking, inserting and acknowledging. */
async function emptyStream(url: string, redis: Redis, { readers, size }: Plan): Promise<Cost> {
  const stream = `tg-bench-${randomBytes(5).toString('hex')}:{0}:u`;
  await fill(redis, stream, rowsPerDrain);
  const { db, close } = await openDatabase<StoreSchema>({ url, dataDirectory: '', poolSize: readers, log });
  const { promise: finished, resolve } = Promise.withResolvers<void>();
  let written = 0;
  const drain = createStreamDrain({
    redis: () => openRedis(redisUrl, log, { commandTimeoutMs: 4_000, socketTimeoutMs: 4_000 }),
    streams: [stream],
    consumer: 'bench',
    readersPerStream: readers,
    batchEntries: size,
    blockMs: 100,
    insert: (records) => insertUsageEvents(db, records),
    deadLetter: (letters) => insertUsageDeadLetters(db, letters),
    log,
    onWritten(records) {
      written += records.length;
      if (written >= rowsPerDrain) resolve();
    },
    onDeadLetters: () => {},
    onLag: () => {},
  });
  const pids = await openBackends(db, readers);
  const cost = await measure(rowsPerDrain, pids, async () => {
    drain.start();
    await finished;
  });
  await drain.stop();
  await close();
  await redis.del(stream);
  return cost;
}

/** All at once, so that the pool opens each of its connections. */
async function openBackends(db: Kysely<StoreSchema>, count: number): Promise<number[]> {
  const asked = Array.from({ length: count }, () =>
    sql<{ pid: number }>`select pg_backend_pid() as pid, pg_sleep(0.05)`.execute(db),
  );
  return (await Promise.all(asked)).map(({ rows }) => rows[0]?.pid ?? 0);
}

async function measureDrain(url: string, empty: () => Promise<void>): Promise<void> {
  const redis = new Redis(redisUrl);
  const plans = [1, 2].flatMap((readers) => batchSizes.map((size) => ({ readers, size, costs: [] as Cost[] })));
  for (let round = 0; round < rounds; round += 1) {
    for (const plan of shuffled(plans, Math.random)) {
      await empty();
      plan.costs.push(await emptyStream(url, redis, plan));
    }
  }
  redis.disconnect();
  const rows = plans.map(({ readers, size, costs }) => [String(readers), String(size), ...medians(costs)]);
  console.log(`\nThe drain in one process, from a stream of ${rowsPerDrain} entries to an empty one.\n`);
  console.log(markdownTable(['readers', 'batch', ...figures], rows));
}

const name = `tollgate_bench_${randomBytes(5).toString('hex')}`;
await onServer(`create database ${name}`);
const address = new URL(serverUrl);
address.pathname = `/${name}`;
try {
  const own = await openDatabase<StoreSchema>({ url: address.href, dataDirectory: '', poolSize: 1, log });
  await migrateToLatest(own.db);
  await ensureUsagePartitions(own.db, { fromMs: Date.now(), days: 2, log });
  await own.close();
  const admin = new Client({ connectionString: address.href });
  await admin.connect();
  const { rows } = await admin.query<{ synchronous_commit: string }>('show synchronous_commit');
  console.log(`${cpus()[0]?.model.trim()}, ${cpus().length} cores, Node ${process.version}`);
  console.log(`synchronous_commit ${rows[0]?.synchronous_commit}`);
  const empty = async (): Promise<void> => void (await admin.query('truncate usage_events'));
  await compareWays(address.href, empty);
  await measureDrain(address.href, empty);
  await admin.end();
} finally {
  await onServer(`drop database if exists ${name} with (force)`);
}
