/**
 * Tells running servers of a change that a command has made. With Redis they hear it at once; without it, or when Redis
 * is away, the one that runs reads it from the outbox. Gives what to say to a person.
 */
import { defaultKeyPrefix } from '../admission/redis-keys.ts';
import { raiseAuthVersionInRedis } from '../admission/redis-auth-versions.ts';
import { publishAuthChange, type RaiseAuthVersion } from '../auth/auth-change.ts';
import type { GatewayConfig } from '../config/types.ts';
import { openRedis, untilReady } from '../platform/redis.ts';
import type { AuthChange } from '../store/auth-outbox.ts';
import { readShardCount } from '../store/shard-counts.ts';
import type { CommandIo } from './command.ts';
import { commandLog } from './command-log.ts';
import type { OpenStore } from './open-store.ts';

/** `pending`: servers obey within a minute at the latest, when what they remember has aged. */
export type Published = 'done' | 'pending';

const connectBoundMs = 2_000;

export async function publishChange(
  store: OpenStore,
  change: AuthChange,
  { config, io }: { config: Pick<GatewayConfig, 'redisUrl' | 'redis'>; io: CommandIo },
): Promise<Published> {
  // The embedded store was locked by this command, so no server runs that could remember anything.
  if (store.kind === 'pglite') return 'done';
  const { redisUrl, redis: settings } = config;
  if (redisUrl === null) return 'pending';
  // What the gateways go by, should this command be configured otherwise.
  const shards = (await readShardCount(store.db, defaultKeyPrefix)) ?? settings.shards;
  const redis = openRedis(redisUrl.reveal(), commandLog(io), {
    name: 'tollgate-command',
    commandTimeoutMs: 1_000,
    sentinelPassword: settings.sentinelPassword?.reveal(),
  });
  const raise: RaiseAuthVersion = async (accountId, versions) => {
    await raiseAuthVersionInRedis(redis, { accountId, versions }, { shards });
    return true;
  };
  try {
    const isConnected = await untilReady(redis, connectBoundMs);
    return isConnected ? await publishAuthChange(store.db, change, { raise }) : 'pending';
  } finally {
    redis.disconnect();
  }
}

export function sayPublished(published: Published): string {
  return published === 'done'
    ? 'In force from the next request on.'
    : 'Not told to every server yet (pending): they are told as soon as they can be reached, and know within a minute.';
}
