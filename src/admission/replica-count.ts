/**
 * How many processes share the limits. Each tells Redis every two seconds that it lives and counts the others: a zset by
 * the server's clock, of which the silent fall out after half a minute. The number is for the time when Redis cannot be
 * asked any more, so it errs to the high side: the most of the last half minute, and nothing at all from a process that
 * the others may not have seen yet.
 */
import { randomUUID } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import { everyInterval, type Every } from './clock.ts';

export type ReplicaCountOptions = {
  redis: Redis | Cluster;
  key: string;
  nowMs: () => number;
  every?: Every;
  beatMs?: number;
  keepMs?: number;
};

export interface ReplicaCount {
  /** As it was when Redis fell silent; null when that is not known for certain. */
  at(silentSinceMs: number): number | null;
  /** The others need not wait half a minute to see that this one is gone. */
  close(): Promise<void>;
}

type Beat = { atMs: number; count: number };

/** Beats after which every other process has counted this one. */
const beatsUntilKnown = 3;

export function createReplicaCount(options: ReplicaCountOptions): ReplicaCount {
  const { redis, key, nowMs, every = everyInterval, beatMs = 2_000, keepMs = 30_000 } = options;
  const id = randomUUID();
  let firstBeatAtMs: number | null = null;
  let beats: Beat[] = [];
  const stop = every(beatMs, beat);
  redis.on('ready', beatNow);
  beatNow();

  function beatNow(): void {
    void beat();
  }

  async function beat(): Promise<void> {
    if (redis.status !== 'ready') return;
    try {
      const count = await tellAndCount();
      const atMs = nowMs();
      firstBeatAtMs ??= atMs;
      beats = [...beats.filter((known) => known.atMs > atMs - keepMs), { atMs, count }];
    } catch {
      // The limits themselves tell of a Redis that does not answer; here the last number holds.
    }
  }

  async function tellAndCount(): Promise<number> {
    const seconds = Number((await redis.time())[0]);
    const replies = await redis
      .multi()
      .zadd(key, seconds, id)
      .zremrangebyscore(key, '-inf', seconds - keepMs / 1000)
      .zcard(key)
      .pexpire(key, 2 * keepMs)
      .exec();
    const count = Number(replies?.[2]?.[1]);
    if (!(count >= 1)) throw new Error('redis did not count the replicas');
    return count;
  }

  function at(silentSinceMs: number): number | null {
    const settleMs = beatsUntilKnown * beatMs;
    const last = beats.at(-1);
    if (last === undefined || firstBeatAtMs === null) return null;
    const isKnownToAll = silentSinceMs - firstBeatAtMs >= settleMs - beatMs;
    const isRecent = silentSinceMs - last.atMs <= settleMs;
    return isKnownToAll && isRecent ? Math.max(...beats.map(({ count }) => count)) : null;
  }

  async function close(): Promise<void> {
    stop();
    redis.off('ready', beatNow);
    // Away: it falls out by itself.
    if (redis.status === 'ready') await redis.zrem(key, id).catch(() => undefined);
  }

  return { at, close };
}
