/**
 * Which admission engine, and by which way its rows reach Postgres. With Redis: the rows leave inside the script, and a
 * drain reads them from the stream; the ledger in memory only takes what Redis does not answer. Without: a journal on
 * disk knows of every admission and settlement first, and the ledger writes the rows and how far it came in one step.
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
import { createRedisEngine, usageStreamKey } from './admission/redis-engine.ts';
import type { GatewayConfig } from './config/types.ts';
import type { GovernedEngine } from './contract/admission.ts';
import type { UsageRecord } from './contract/flow.ts';
import { openDataFolder } from './platform/data-folder.ts';
import type { Logger } from './platform/logger.ts';
import type { Metrics } from './platform/metrics.ts';
import type { DatabaseKind } from './platform/postgres.ts';
import { openRedis } from './platform/redis.ts';
import { readJournalCursor, saveJournalCursor } from './store/journal-cursors.ts';
import type { StoreSchema } from './store/schema.ts';
import { insertUsageDeadLetters } from './store/usage-dead-letters.ts';
import { insertUsageEvents } from './store/usage-events.ts';
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
  const { database, log, metrics, redisKeyPrefix: keyPrefix } = options;
  const ledger = createRowLedger(options, (records) => insertUsageEvents(database.db, records));
  const limiter = openRedis(url, log, { name: 'tollgate-limiter' });
  const background = openRedis(url, log, { name: 'tollgate-background', commandTimeoutMs: 2000 });
  const engine = createRedisEngine({ limiter, background, sink: ledger, log, keyPrefix });
  const stream = usageStreamKey(keyPrefix, 0);
  const drain = createStreamDrain({
    redis: () =>
      openRedis(url, log, {
        name: 'tollgate-drain',
        commandTimeoutMs: drainBlockMs + 2000,
        socketTimeoutMs: drainBlockMs + 2000,
      }),
    streams: [stream],
    consumer: `${hostname()}-${process.pid}-${randomUUID()}`,
    blockMs: drainBlockMs,
    insert: (records) => insertUsageEvents(database.db, records),
    deadLetter: (letters) => insertUsageDeadLetters(database.db, letters),
    log,
    onWritten: (records) => countWritten(metrics, records),
    onDeadLetters: (letters) => metrics.deadLetters.inc(letters.length),
    onLag: ({ depth }) => metrics.streamDepth.set(depth),
  });
  drain.start();
  return {
    engine,
    pingRedis: () => limiter.ping(),
    depth: () => ledger.depth(),
    async close(deadlineMs) {
      await engine.close();
      await untilEmpty(() => limiter.xlen(stream), emptyStreamMs);
      await drain.stop();
      await closeLedger(ledger, deadlineMs, log);
      limiter.disconnect();
      background.disconnect();
    },
  };
}

async function untilEmpty(length: () => Promise<number>, deadlineMs: number): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  try {
    while ((await length()) > 0 && performance.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 50));
  } catch {
    // Redis is away: its stream keeps the rows, and another process drains them.
  }
}

function createRowLedger(
  { database, log, metrics }: EngineOptions,
  insert: (records: readonly UsageRecord[], journalPosition: number | null) => Promise<void>,
): Ledger {
  return createLedger({
    insert,
    batchRows: database.kind === 'pglite' ? pgliteBatchRows : postgresBatchRows,
    intervalMs: 100,
    capRows: ledgerCapRows,
    retryMs: 200,
    onWritten: (records) => countWritten(metrics, records),
    onFailure: (error, waitingRows) =>
      log.warn({ err: error, waiting_rows: waitingRows }, 'usage rows wait for the database'),
    onPoison: (record, error) => log.error({ err: error, record }, 'the database refuses a usage row'),
  });
}

function countWritten(metrics: Metrics, records: readonly UsageRecord[]): void {
  for (const { rank } of records) metrics.usageRows.inc({ rank: String(rank) });
}

async function closeLedger(ledger: Ledger, deadlineMs: number, log: Logger): Promise<void> {
  const left = await ledger.close(deadlineMs);
  if (left.length > 0) log.error({ rows: left.length }, 'usage rows could not be written before the end');
}
