/** A usage stream on a real Redis under a key prefix of its own, and drains over it that the test can disturb. */
import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { Test } from 'tap';
import type { UsageRecord } from '../../src/contract/flow.ts';
import { openRedis, type RedisClient } from '../../src/platform/redis.ts';
import { createStreamDrain, type StreamDrain, type StreamDrainOptions } from '../../src/usage/stream-drain.ts';
import { createStreamGroup, type StreamGroup, type StreamLag } from '../../src/usage/stream-group.ts';
import type { UsageDeadLetter } from '../../src/store/usage-dead-letters.ts';
import { silentLog } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

export const redisUrl = process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379';

export type DrainSubject = StreamDrain & {
  consumer: string;
  connection: RedisClient;
  written: UsageRecord[];
  letters: UsageDeadLetter[];
  lags: StreamLag[];
  lines: string[];
};

export type StreamWorld = {
  stream: string;
  admin: RedisClient;
  add: (record: UsageRecord) => Promise<string>;
  addAll: (records: readonly UsageRecord[]) => Promise<void>;
  /** Fields as they are, for entries that no gateway would write. */
  addRaw: (fields: Readonly<Record<string, string>>) => Promise<string>;
  depth: () => Promise<number>;
  pending: () => Promise<number>;
  group: (consumer: string) => StreamGroup;
  /** Started; stopped at the end of the test. */
  drain: (options: Partial<StreamDrainOptions> & Pick<StreamDrainOptions, 'insert'>) => DrainSubject;
};

export const manyRecords = (count: number): UsageRecord[] => Array.from({ length: count }, () => usageRecord());

export async function openStreamWorld(t: Test): Promise<StreamWorld> {
  const stream = `tg-test-${randomBytes(6).toString('hex')}:{0}:u`;
  const admin = await openReady('test');
  t.teardown(async () => {
    await admin.del(stream);
    admin.disconnect();
  });
  const fieldsOf = (record: UsageRecord) =>
    ['id', record.requestId, 'rank', String(record.rank), 'rec', JSON.stringify(record)] as const;
  let drains = 0;
  return {
    stream,
    admin,
    add: async (record) => String(await admin.xadd(stream, '*', ...fieldsOf(record))),
    async addAll(records) {
      const pipeline = admin.pipeline();
      for (const record of records) pipeline.xadd(stream, '*', ...fieldsOf(record));
      await pipeline.exec();
    },
    addRaw: async (fields) => String(await admin.xadd(stream, '*', ...Object.entries(fields).flat())),
    depth: () => admin.xlen(stream),
    pending: async () => Number((await admin.xpending(stream, 'pg'))[0]),
    group: (consumer) => createStreamGroup(admin, { stream, group: 'pg', consumer }),
    drain(options) {
      drains += 1;
      const consumer = `drain-${drains}`;
      const connection = openRedis(redisUrl, silentLog, { commandTimeoutMs: 3_000, socketTimeoutMs: 3_000 });
      const told = { written: [] as UsageRecord[], letters: [] as UsageDeadLetter[], lags: [] as StreamLag[] };
      const lines: string[] = [];
      const say = (_: object, message: string): void => void lines.push(message);
      const drain = createStreamDrain({
        redis: () => connection,
        streams: [stream],
        consumer,
        readersPerStream: 1,
        blockMs: 20,
        intervalMs: 5,
        retryMs: 2,
        claimIdleMs: 30_000,
        upkeepMs: 50,
        log: { info: say, warn: say, error: say },
        deadLetter: async () => {},
        onWritten: (records) => told.written.push(...records),
        onDeadLetters: (letters) => told.letters.push(...letters),
        onLag: (lag) => told.lags.push(lag),
        ...options,
      });
      t.teardown(async () => {
        await drain.stop();
        connection.disconnect();
      });
      drain.start();
      return { ...drain, ...told, lines, connection, consumer };
    },
  };
}

export async function openReady(name: string): Promise<RedisClient> {
  const redis = openRedis(redisUrl, silentLog, { name, commandTimeoutMs: 10_000, socketTimeoutMs: 10_000 });
  await new Promise<void>((resolve) => redis.once('ready', () => resolve()));
  return redis;
}

/** The services behind it are real, so there is no clock to move; the test's own timeout is the bound. */
export async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await setTimeout(5);
}
