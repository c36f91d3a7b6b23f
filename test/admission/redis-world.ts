/** Engines on a real Redis, under a key prefix of their own, with a clock that the test moves. */
import { Redis } from 'ioredis';
import type { Every } from '../../src/admission/clock.ts';
import {
  createRedisEngine,
  type AdmissionLog,
  type RedisEngine,
  type RedisEngineOptions,
} from '../../src/admission/redis-engine.ts';
import { usageStreamKey } from '../../src/admission/redis-keys.ts';
import type { UsageRecord } from '../../src/contract/flow.ts';
import { openRedis, type RedisClient } from '../../src/platform/redis.ts';
import { startMs, suiteTimes, type EngineWorld, type Replica } from './engine-world.ts';

export const redisUrl = process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379';

/** In place of the server's TIME: a key beside the others. Production never loads this text. */
const clockLua = `
local function readClock()
  return tonumber(redis.call('GET', string.sub(KEYS[1], 1, -5) .. 'test-clock')) * 1000
end
`;

export type LogLine = { level: 'info' | 'warn' | 'error'; message: string; details: object };

export type RedisReplica = Replica & {
  engine: RedisEngine;
  limiter: RedisClient;
  background: RedisClient;
  lines: LogLine[];
};

export type RedisWorld = Omit<EngineWorld, 'createReplica'> & {
  keyPrefix: string;
  /** A connection of the test's own. */
  admin: Redis;
  createReplica: (options?: ReplicaOptions) => Promise<RedisReplica>;
  keys: () => Promise<string[]>;
  /** The records in the usage stream of the first shard, oldest first. */
  streamRows: () => Promise<UsageRecord[]>;
};

export type RedisWorldOptions = {
  clock?: 'fixed' | 'server';
  /** Where a replica's rows are read: what it gave its sink, or what its settlements and reaps left in the stream, which is then drained. */
  rows?: 'sink' | 'stream';
  /** What one operation may take, where a test is about something else than time and the machine may be busy. */
  boundMs?: number;
};

export type ReplicaOptions = Partial<RedisEngineOptions> & { url?: string };

export async function openRedisWorld(options: RedisWorldOptions = {}): Promise<RedisWorld> {
  const { clock = 'fixed', rows: rowsFrom = 'sink', boundMs = 250 } = options;
  const keyPrefix = `tg-test-${process.pid}-${Math.random().toString(36).slice(2)}:`;
  const admin = new Redis(redisUrl, { commandTimeout: 10_000 });
  const replicas: RedisReplica[] = [];
  let nowMs = startMs;
  await new Promise<void>((resolve) => admin.once('ready', () => resolve()));
  const streamKey = usageStreamKey(keyPrefix, 0);
  const setClock = () => admin.set(`${keyPrefix}{0}:test-clock`, nowMs);
  if (clock === 'fixed') await setClock();

  async function createReplica(own: ReplicaOptions = {}): Promise<RedisReplica> {
    const { lines, log } = createLog();
    const limiter = openRedis(own.url ?? redisUrl, log, { commandTimeoutMs: boundMs });
    const background = openRedis(own.url ?? redisUrl, log, { commandTimeoutMs: 2000 });
    const rows: UsageRecord[] = [];
    let hasRoom = true;
    const { every, run } = createManualTimers();
    const engine = createRedisEngine({
      ...suiteTimes,
      limiter,
      background,
      sink: { append: (record) => rows.push(record), hasRoom: () => hasRoom },
      log,
      keyPrefix,
      boundMs,
      usageStream: rowsFrom === 'stream',
      every,
      ...(clock === 'fixed' ? { clockLua } : {}),
      ...own,
    });
    const replica: RedisReplica = {
      engine: {
        ...engine,
        settle: async (settlement) => {
          await engine.settle(settlement);
          await takeNewRows(rows);
        },
        close: async () => {
          await engine.close();
          limiter.disconnect();
          background.disconnect();
        },
      },
      limiter,
      background,
      lines,
      rows,
      setRoom: (value) => {
        hasRoom = value;
      },
      heartbeat: () => run(suiteTimes.heartbeatMs),
      reap: async () => {
        await run(suiteTimes.reapMs);
        await takeNewRows(rows);
      },
    };
    replicas.push(replica);
    await engine.ready;
    if (limiter.status !== 'ready') await new Promise<void>((resolve) => limiter.once('ready', () => resolve()));
    return replica;
  }

  async function takeNewRows(rows: UsageRecord[]): Promise<void> {
    if (rowsFrom !== 'stream') return;
    for (const [id, fields] of await admin.xrange(streamKey, '-', '+')) {
      // Whoever deletes it has it.
      if ((await admin.xdel(streamKey, id)) === 1) rows.push(readRow(fields));
    }
  }

  async function keys(): Promise<string[]> {
    const found: string[] = [];
    for await (const page of admin.scanStream({ match: `${keyPrefix}*`, count: 1000 }))
      found.push(...(page as string[]));
    return found.filter((name) => !name.endsWith(':test-clock')).sort();
  }

  return {
    keyPrefix,
    admin,
    createReplica,
    keys,
    streamRows: async () => (await admin.xrange(streamKey, '-', '+')).map(([, fields]) => readRow(fields)),
    moveClock: async (milliseconds) => {
      nowMs += milliseconds;
      await setClock();
    },
    quiet: async () => {
      await new Promise((resolve) => setImmediate(resolve));
      await Promise.all(replicas.flatMap(({ limiter }) => (limiter.status === 'ready' ? limiter.ping() : [])));
    },
    close: async () => {
      await Promise.all(replicas.map(({ engine }) => engine.close()));
      for (const { limiter, background } of replicas) {
        limiter.disconnect();
        background.disconnect();
      }
      const left = [...(await keys()), `${keyPrefix}{0}:test-clock`];
      await admin.unlink(...left);
      admin.disconnect();
    },
  };
}

function readRow([, id, , text = '']: string[]): UsageRecord {
  const record = JSON.parse(text) as UsageRecord;
  if (record.requestId !== id) throw new Error(`the entry of ${id} is not its record's`);
  return record;
}

function createLog(): { lines: LogLine[]; log: AdmissionLog } {
  const lines: LogLine[] = [];
  const at = (level: LogLine['level']) => (details: object, message: string) => lines.push({ level, message, details });
  return { lines, log: { info: at('info'), warn: at('warn'), error: at('error') } };
}

function createManualTimers(): { every: Every; run: (periodMs: number) => Promise<void> } {
  const works = new Map<number, () => void | Promise<void>>();
  return {
    every: (periodMs, work) => {
      works.set(periodMs, work);
      return () => works.delete(periodMs);
    },
    run: async (periodMs) => {
      await works.get(periodMs)?.();
    },
  };
}
