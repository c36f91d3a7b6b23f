/**
 * The way of usage rows out of Redis: reads the usage streams as one of many consumers, has the rows written, and only
 * then acknowledges. Takes connections, an insert and the names of the streams; tells how far behind it is. Any number of
 * drains may run at once and any of them may die at any instruction: a row comes at least once, and the database lets the
 * second coming change nothing. It must never acknowledge or trim what is not safe. Spec: reliability 2.4 DRAIN.
 */
import { setTimeout } from 'node:timers/promises';
import type { Cluster, Redis } from 'ioredis';
import { createStreamGroup, isRefusal, type StreamGroup, type StreamLag } from './stream-group.ts';
import { createStreamWriter, StreamStopped, type StreamLog, type StreamWriterOptions } from './stream-writer.ts';

type Handed = 'insert' | 'deadLetter' | 'onWritten' | 'onDeadLetters';

export type StreamDrainOptions = Pick<StreamWriterOptions, Handed> & {
  /**
   * Opens a connection; asked once for each reader, because a blocking read stalls whatever shares its connection. A command
   * must be given up, but not before `blockMs` and a second more. The drain closes it.
   */
  redis(): Redis | Cluster;
  streams: readonly string[];
  group?: string;
  /** Unique among all processes, also among those of the past. */
  consumer: string;
  /** Two, so that one reads and acknowledges while the database works for the other: half as many rows again per second. */
  readersPerStream?: number;
  batchEntries?: number;
  blockMs?: number;
  /** After a batch that was not full, so that a light load does not cost a transaction for each row. */
  intervalMs?: number;
  /** Untouched for this long, an entry is taken from its drainer. */
  claimIdleMs?: number;
  maxDeliveries?: number;
  retryMs?: number;
  upkeepMs?: number;
  log: StreamLog;
  onLag(lag: StreamLag): void;
  /** For the age of the oldest entry, whose id is the server's time. */
  clock?: () => number;
  pause?: (durationMs: number, signal: AbortSignal) => Promise<void>;
};

export interface StreamDrain {
  start(): void;
  /** Resolves when the running batch is in, or given back because it could not be written; at the latest after `blockMs` when idle. */
  stop(): Promise<void>;
}

type Settings = Required<StreamDrainOptions>;

const goneConsumerIdleMs = 3_600_000;
/** After this much time without a connection, the start of a drain is worth a line in the log. */
const firstContactMs = 1_000;

export function createStreamDrain(options: StreamDrainOptions): StreamDrain {
  const settings: Settings = {
    group: 'pg',
    readersPerStream: 2,
    batchEntries: 1_000,
    blockMs: 1_000,
    intervalMs: 100,
    claimIdleMs: 30_000,
    maxDeliveries: 5,
    retryMs: 100,
    upkeepMs: 5_000,
    clock: () => Date.now(),
    pause: pauseUnlessAborted,
    ...options,
  };
  const stopping = new AbortController();
  let running: readonly Promise<void>[] = [];
  return {
    start() {
      const readers = Array.from({ length: settings.readersPerStream }, (_, index) => `${settings.consumer}-${index}`);
      running = settings.streams.flatMap((stream) =>
        readers.map((consumer) => drainStream({ ...settings, consumer }, stream, stopping.signal)),
      );
    },
    async stop() {
      stopping.abort();
      await Promise.all(running);
    },
  };
}

async function drainStream(settings: Settings, stream: string, signal: AbortSignal): Promise<void> {
  const { log, pause } = settings;
  const redis = settings.redis();
  const group = createStreamGroup(redis, { stream, group: settings.group, consumer: settings.consumer });
  const upkeep = createUpkeep(settings, group);
  const writer = createStreamWriter({
    ...settings,
    stream,
    signal,
    acknowledge: (entryIds) => group.acknowledge(entryIds),
    beforeRetry: (entryIds) => attempt(() => group.keep(entryIds).then(upkeep)),
  });
  const turn = createTurn(settings, { group, write: (entries) => writer.write(entries), upkeep, signal });
  let failures = 0;
  await Promise.race([connected(redis), pause(firstContactMs, signal)]);
  while (!signal.aborted) {
    try {
      await turn();
      if (failures > 0) log.info({ stream, attempts: failures + 1 }, 'the usage stream is read again');
      failures = 0;
    } catch (error) {
      if (error instanceof StreamStopped) break;
      failures += 1;
      if (failures === 1) log.warn({ err: error, stream }, 'the usage stream cannot be read');
      await pause(Math.min(1_000, settings.retryMs * failures) * (0.5 + Math.random() / 2), signal);
    }
  }
  // Both only save time: what is not released is taken over after `claimIdleMs`, and an empty consumer harms nobody.
  await attempt(() => group.release(writer.held(), settings.claimIdleMs));
  await attempt(() => group.leave(goneConsumerIdleMs));
  redis.disconnect();
}

type TurnParts = {
  group: StreamGroup;
  write: (entries: Awaited<ReturnType<StreamGroup['readNew']>>) => Promise<void>;
  upkeep: () => Promise<void>;
  signal: AbortSignal;
};

/** One turn of the loop. It throws when Redis does not answer; the next turn then begins with what a lost reply may have held. */
function createTurn(settings: Settings, { group, write, upkeep, signal }: TurnParts): () => Promise<void> {
  const { batchEntries, claimIdleMs } = settings;
  const isClaimDue = createDue(claimIdleMs / 3);
  let isJoined = false;
  let mayHoldUnseen = false;

  async function writeAll(take: () => ReturnType<StreamGroup['readNew']>): Promise<void> {
    while (!signal.aborted) {
      const entries = await take();
      if (entries.length === 0) return;
      await write(entries);
    }
  }

  async function runTurn(): Promise<void> {
    if (!isJoined) await group.join();
    isJoined = true;
    if (mayHoldUnseen) await writeAll(() => group.takeOwn(batchEntries));
    mayHoldUnseen = false;
    if (isClaimDue()) await writeAll(() => group.takeStale(batchEntries, claimIdleMs));
    await upkeep();
    if (signal.aborted) return;
    const entries = await group.readNew(batchEntries, settings.blockMs);
    if (entries.length === 0) return;
    await write(entries);
    if (entries.length < batchEntries) await settings.pause(settings.intervalMs, signal);
  }

  return async () => {
    try {
      await runTurn();
    } catch (error) {
      mayHoldUnseen ||= isJoined;
      // The server has lost its data, or somebody removed the group.
      if (isRefusal(error, 'NOGROUP')) isJoined = false;
      throw error;
    }
  };
}

function createUpkeep(settings: Settings, group: StreamGroup): () => Promise<void> {
  const isDue = createDue(settings.upkeepMs);
  return async () => {
    if (!isDue()) return;
    await group.showLife();
    await group.trim();
    settings.onLag(await group.measure(settings.clock()));
  };
}

/** True at the first question, and then once in a period. */
function createDue(periodMs: number): () => boolean {
  let nextMs = 0;
  return () => {
    const nowMs = performance.now();
    if (nowMs < nextMs) return false;
    nextMs = nowMs + periodMs;
    return true;
  };
}

function connected(redis: Redis | Cluster): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (redis.status === 'ready') resolve();
  else redis.once('ready', () => resolve());
  return promise;
}

async function attempt(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch {
    // Redis is away; the turn that needs it will say so.
  }
}

async function pauseUnlessAborted(durationMs: number, signal: AbortSignal): Promise<void> {
  try {
    await setTimeout(durationMs, undefined, { signal });
  } catch {
    // Aborted: the pause is over.
  }
}
