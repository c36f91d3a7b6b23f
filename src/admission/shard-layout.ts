/**
 * What another number of shards has left in Redis. An account's keys would be looked for in the wrong shard, so all that
 * an old layout holds must be done with and gone before a new one begins: buckets then start full, and budgets are summed
 * from the rows. Spec: reliability 2.2.
 */
import { Cluster, type Redis } from 'ioredis';
import { openLeasesKey, usageStreamKey } from './redis-keys.ts';

type Layout = { keyPrefix: string; shards: number };

/** A drain shows itself every five seconds, between two batches. */
const liveConsumerMs = 20_000;
const keysPerScan = 1000;

/** Why the layout cannot be given up yet, or null. */
export async function findLayoutInUse(redis: Redis | Cluster, { keyPrefix, shards }: Layout): Promise<string | null> {
  for (let shard = 0; shard < shards; shard += 1) {
    const stream = usageStreamKey(keyPrefix, shard);
    if (await hasLiveConsumer(redis, stream)) return `a gateway with ${shards} shards still runs`;
    const rows = await redis.xlen(stream);
    if (rows > 0) return `${rows} usage rows wait in ${stream}`;
    const running = await redis.zcard(openLeasesKey(keyPrefix, shard));
    if (running > 0) return `${running} requests are still open in shard ${shard}`;
  }
  return null;
}

/** Removes every key of the prefix. Only for a layout that is not in use. */
export async function removeLayout(redis: Redis | Cluster, keyPrefix: string): Promise<void> {
  const pattern = `${keyPrefix.replace(/[\\*?[\]]/g, '\\$&')}{*}:*`;
  for (const server of redis instanceof Cluster ? redis.nodes('master') : [redis]) {
    for await (const names of server.scanStream({ match: pattern, count: keysPerScan })) {
      // Each by itself: the names of a page need not share a slot.
      await Promise.all((names as string[]).map((name) => redis.unlink(name)));
    }
  }
}

async function hasLiveConsumer(redis: Redis | Cluster, stream: string): Promise<boolean> {
  if ((await redis.exists(stream)) === 0) return false;
  const groups = listOf(await redis.xinfo('GROUPS', stream)).map((group) => fieldOf(group, 'name'));
  for (const group of groups) {
    const consumers = listOf(await redis.xinfo('CONSUMERS', stream, String(group)));
    if (consumers.some((consumer) => Number(fieldOf(consumer, 'idle')) < liveConsumerMs)) return true;
  }
  return false;
}

const listOf = (reply: unknown): readonly unknown[] => (Array.isArray(reply) ? reply : []);

function fieldOf(reply: unknown, name: string): unknown {
  const flat = listOf(reply);
  return flat[flat.indexOf(name) + 1];
}
