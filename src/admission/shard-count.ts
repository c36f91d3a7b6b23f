/** How many shards the data was laid out for: another number would look for each account's limits in the wrong place. */
import type { Redis } from 'ioredis';

/** Stores the count at the first start. Answers the problem when the data has another one, or null. */
export async function claimShardCount(redis: Redis, key: string, count: number): Promise<string | null> {
  const stored = await redis.set(key, count, 'NX', 'GET');
  if (stored === null || stored === String(count)) return null;
  return `limits are kept in ${stored} shards and ${count} are configured: stop, let the usage stream drain, remove ${key}`;
}
