/**
 * Which admission engine, and by which way its rows reach Postgres. With Redis: the rows leave inside the script, and a
 * drain reads them from the stream; the ledger in memory, with a spool on disk, only takes what Redis does not answer.
 * Without: a journal on disk knows of every admission and settlement first, and the ledger writes the rows and how far
 * it came in one step.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Kysely } from 'kysely';
import { createMonotonicWallClock } from './admission/clock.ts';
import { createInProcessEngine } from './admission/in-process-engine.ts';
import { openJournal } from './admission/journal.ts';
import { createJournaledEngine } from './admission/journaled-engine.ts';
import { createLimiterState } from './admission/limiter-state.ts';
import { createLocalShareEngine } from './admission/local-share-engine.ts';
import { warnOfRedisDurability } from './admission/redis-durability.ts';
import { createRedisEngine, type RedisEngine } from './admission/redis-engine.ts';
import { createReplicaCount } from './admission/replica-count.ts';
import { openRowSpool } from './admission/row-spool.ts';
import { openLeasesKey, usageStreamKey } from './admission/redis-keys.ts';
import { findLayoutInUse, removeLayout } from './admission/shard-layout.ts';
import type { GatewayConfig } from './config/types.ts';
import type { GovernedEngine, UsageSink } from './contract/admission.ts';
import type { UsageRecord } from './contract/flow.ts';
import { openDataFolder } from './platform/data-folder.ts';
import type { Logger } from './platform/logger.ts';
import type { Metrics } from './platform/metrics.ts';
import type { DatabaseKind } from './platform/postgres.ts';
import { openRedis, untilReady, type RedisClient } from './platform/redis.ts';
import { readJournalCursor, saveJournalCursor } from './store/journal-cursors.ts';
import type { StoreSchema } from './store/schema.ts';
import { claimShardCount } from './store/shard-counts.ts';
import { insertUsageDeadLetters } from './store/usage-dead-letters.ts';
import { insertUsageEvents } from './store/usage-events.ts';
import { deleteUsageIntent, insertUsageIntent } from './store/usage-intents.ts';
import { createLedger, type Ledger } from './usage/ledger.ts';
import { createStreamDrain } from './usage/stream-drain.ts';

export type EngineOptions = {
  config: GatewayConfig;
  database: { db: Kysely<StoreSchema>; kind: DatabaseKind };
  log: Logger;
  metrics: Metrics;
  redisKeyPrefix: string;
};

export type OpenedEngine = {
  engine: GovernedEngine & { ready: Promise<void> };
  /** null: there is no Redis to ask. */
  pingRedis: (() => Promise<unknown>) | null;
  /** Rows that wait in this process. */
  depth: () => number;
  /** Settles, writes what is left and closes, in this order; takes at most a little longer than `deadlineMs`. */
  close: (deadlineMs: number) => Promise<void>;
};

const pgliteBatchRows = 200;
const postgresBatchRows = 1000;
const ledgerCapRows = 200_000;
const leaseTimes = { leaseMs: 30_000, heartbeatMs: 10_000, tombstoneMs: 30_000 };
const recoveryDeadlineMs = 10_000;
const drainBlockMs = 1_000;
const firstContactMs = 5_000;
/** A stream that others fill is never empty; the last process should leave nothing behind, but not wait for ever. */
const emptyStreamMs = 3_000;

export function openEngine(options: EngineOptions): Promise<OpenedEngine> {
  const { redisUrl } = options.config;
  return redisUrl === null ? openJournaled(options) : openShared(options, redisUrl.reveal());
}

async function openJournaled(options: EngineOptions): Promise<OpenedEngine> {
  const { config, database, log } = options;
  const folder = join(config.dataDirectory, 'journal');
  const lock = openDataFolder(folder);
  const { journal, recovered, levels } = await openJournal({
    folder,
    log,
    durability: config.durability,
    readCursor: (journalId) => readJournalCursor(database.db, journalId),
  }).catch((error: unknown) => {
    lock.release();
    throw error;
  });
  const ledger = createRowLedger(options, async (records, journalPosition) => {
    if (journalPosition === null) {
      await insertUsageEvents(database.db, records);
      return;
    }
    await database.db.transaction().execute(async (trx) => {
      await insertUsageEvents(trx, records);
      await saveJournalCursor(trx, journal.id, journalPosition);
    });
    journal.committed(journalPosition);
  });
  for (const { record, position } of recovered) ledger.append(record, position ?? undefined);
  // Before the first request is taken: what a budget has spent is summed from the rows.
  if (!(await ledger.flush(recoveryDeadlineMs)))
    log.warn({ waiting_rows: ledger.depth() }, 'recovered usage rows wait for the database');
  const state = createLimiterState(leaseTimes);
  const clock = createMonotonicWallClock();
  const engine = createJournaledEngine({
    createInner: (sink) => createInProcessEngine({ clock, sink, state, ...leaseTimes }),
    journal,
    ledger,
    levels: state,
    savedLevels: levels,
  });
  return {
    engine: { ...engine, ready: Promise.resolve() },
    pingRedis: null,
    depth: () => engine.unwrittenRows() + ledger.depth(),
    async close(deadlineMs) {
      await engine.close();
      await closeLedger(ledger, deadlineMs, log);
      await journal.close();
      lock.release();
    },
  };
}

async function openShared(options: EngineOptions, url: string): Promise<OpenedEngine> {
  const { config, database, log, metrics, redisKeyPrefix: keyPrefix } = options;
  const { shards, streamEntries, streamBytes, sentinelPassword } = config.redis;
  const connect = (name: string, timeouts: { commandTimeoutMs?: number; socketTimeoutMs?: number } = {}): RedisClient =>
    openRedis(url, log, { name, ...timeouts, sentinelPassword: sentinelPassword?.reveal() });
  const fallback = openFallback(options);
  const background = connect('tollgate-background', { commandTimeoutMs: 2000 });
  await claimLayout(options, background).catch(async (error: unknown) => {
    background.disconnect();
    await fallback.close(0);
    throw error;
  });
  const limiter = connect('tollgate-limiter');
  const shared = createRedisEngine({
    limiter,
    background,
    sink: fallback,
    log,
    keyPrefix,
    shards,
    streamCapEntries: streamEntries,
    streamCapBytes: streamBytes,
  });
  const { engine, close: closeShare } = withLocalShare(options, { shared, background, fallback });
  if (config.durability === 'strict') shared.ready.then(() => warnOfRedisDurability(background, log), ignore);
  const shardNumbers = Array.from({ length: shards }, (_, shard) => shard);
  const streams = shardNumbers.map((shard) => usageStreamKey(keyPrefix, shard));
  const depths = new Map<string, number>();
  const blockingMs = drainBlockMs + 2000;
  const drain = createStreamDrain({
    redis: () => connect('tollgate-drain', { commandTimeoutMs: blockingMs, socketTimeoutMs: blockingMs }),
    streams,
    // A second reader of one stream helps while the first writes; several streams help each other.
    readersPerStream: shards === 1 ? 2 : 1,
    consumer: `${hostname()}-${process.pid}-${randomUUID()}`,
    blockMs: drainBlockMs,
    insert: (records) => insertUsageEvents(database.db, records),
    deadLetter: (letters) => insertUsageDeadLetters(database.db, letters),
    log,
    onWritten: (records) => countWritten(metrics, records),
    onDeadLetters: (letters) => metrics.deadLetters.inc(letters.length),
    onLag({ stream, depth }) {
      depths.set(stream, depth);
      metrics.streamDepth.set(sum(depths.values()));
    },
  });
  drain.start();
  return {
    engine,
    // Each shard by its own key: in a Cluster every master that holds one must answer.
    pingRedis: () => Promise.all(shardNumbers.map((shard) => limiter.exists(openLeasesKey(keyPrefix, shard)))),
    depth: () => fallback.depth(),
    async close(deadlineMs) {
      await engine.close();
      await untilEmpty(() => waitingRows(limiter, streams), emptyStreamMs);
      await drain.stop();
      await fallback.close(deadlineMs);
      await closeShare();
      limiter.disconnect();
      background.disconnect();
    },
  };
}

type SharedParts = { shared: RedisEngine; background: RedisClient; fallback: Fallback };

/** Where no tier asks for it, nobody need count the replicas. */
function withLocalShare(
  { config, database, log, redisKeyPrefix }: EngineOptions,
  { shared, background, fallback }: SharedParts,
): { engine: RedisEngine; close: () => Promise<void> } {
  const tiers = Object.values(config.tiers).flatMap(({ id, localShare }) => (localShare === true ? [id] : []));
  if (tiers.length === 0) return { engine: shared, close: async () => undefined };
  const nowMs = (): number => performance.now();
  const replicas = createReplicaCount({ redis: background, key: `${redisKeyPrefix}replicas`, nowMs });
  const engine = createLocalShareEngine({
    inner: shared,
    tiers: new Set(tiers),
    replicas,
    intents: {
      write: (record, auth) => insertUsageIntent(database.db, record, auth),
      remove: (record) => deleteUsageIntent(database.db, record),
    },
    hasRoom: () => fallback.hasRoom(),
    log,
    nowMs,
  });
  return { engine, close: () => replicas.close() };
}

/** A Redis that is not fit says so by itself. */
const ignore = (): void => undefined;

type Fallback = UsageSink & { depth(): number; close(deadlineMs: number): Promise<void> };

/** What Redis does not take goes straight to Postgres, and is on the local disk until it is there. */
function openFallback(options: EngineOptions): Fallback {
  const { config, database, log } = options;
  const ledger = createRowLedger(options, (records) => insertUsageEvents(database.db, records), noteWritten);
  const spool = openRowSpool({
    folder: join(config.dataDirectory, 'spool'),
    log,
    durability: config.durability,
    onFound(records) {
      for (const record of records) ledger.append(record);
    },
  });
  function noteWritten(): void {
    if (ledger.depth() === 0) spool.allWritten();
  }
  return {
    append(record) {
      spool.keep(record);
      ledger.append(record);
    },
    hasRoom: () => ledger.hasRoom() && spool.hasRoom(),
    depth: () => ledger.depth(),
    async close(deadlineMs) {
      await closeLedger(ledger, deadlineMs, log);
      await spool.close();
    },
  };
}

/** No gateway may look for an account's limits in another shard than the rest. */
function claimLayout(
  { config, database, redisKeyPrefix: keyPrefix }: EngineOptions,
  redis: RedisClient,
): Promise<void> {
  const { shards } = config.redis;
  return claimShardCount(database.db, {
    keyPrefix,
    shards,
    async change(stored) {
      const isThere = await untilReady(redis, firstContactMs);
      const reason = isThere ? await findLayoutInUse(redis, { keyPrefix, shards: stored }) : 'Redis does not answer';
      if (reason !== null) {
        throw new Error(
          `The limits in Redis are kept in ${stored} shards, and redis.shards (REDIS_SHARDS) says ${shards}. ` +
            `It cannot change now: ${reason}. A gateway with ${stored} shards finishes what is left; ` +
            `then stop every gateway and start with ${shards}.`,
        );
      }
      await removeLayout(redis, keyPrefix);
    },
  });
}

/** A shard whose master is away keeps its rows, and another process drains them. */
async function waitingRows(redis: RedisClient, streams: readonly string[]): Promise<number> {
  const lengths = await Promise.allSettled(streams.map((stream) => redis.xlen(stream)));
  return sum(lengths.map((length) => (length.status === 'fulfilled' ? length.value : 0)));
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}

async function untilEmpty(length: () => Promise<number>, deadlineMs: number): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while ((await length()) > 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50));
}

function createRowLedger(
  { database, log, metrics }: EngineOptions,
  insert: (records: readonly UsageRecord[], journalPosition: number | null) => Promise<void>,
  onLeft: () => void = () => undefined,
): Ledger {
  return createLedger({
    insert,
    batchRows: database.kind === 'pglite' ? pgliteBatchRows : postgresBatchRows,
    intervalMs: 100,
    capRows: ledgerCapRows,
    retryMs: 200,
    onWritten(records) {
      countWritten(metrics, records);
      onLeft();
    },
    onFailure: (error, waitingRows) =>
      log.warn({ err: error, waiting_rows: waitingRows }, 'usage rows wait for the database'),
    onPoison(record, error) {
      log.error({ err: error, record }, 'the database refuses a usage row');
      void keepDeadLetter(record, error).then(onLeft);
    },
  });

  async function keepDeadLetter(record: UsageRecord, error: unknown): Promise<void> {
    const { requestId, rank } = record;
    const letter = {
      streamId: `ledger ${requestId} ${rank}`,
      requestId,
      payload: JSON.stringify(record),
      error: error instanceof Error ? error.message : String(error),
    };
    try {
      await insertUsageDeadLetters(database.db, [letter]);
      metrics.deadLetters.inc();
    } catch (cause) {
      log.error({ err: cause, request_id: requestId }, 'a refused usage row is in the log alone');
    }
  }
}

function countWritten(metrics: Metrics, records: readonly UsageRecord[]): void {
  for (const { rank } of records) metrics.usageRows.inc({ rank: String(rank) });
}

async function closeLedger(ledger: Ledger, deadlineMs: number, log: Logger): Promise<void> {
  const left = await ledger.close(deadlineMs);
  if (left.length > 0) log.error({ rows: left.length }, 'usage rows could not be written before the end');
}
