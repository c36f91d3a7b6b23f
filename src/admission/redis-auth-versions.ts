/**
 * Raises authorisation versions in Redis without an engine, for a command that changes a key and ends. Knows the place
 * and the form that the tick script keeps them in: `<prefix>{<shard>}:av:<account>`, field `a` and one for each key.
 * Spec: reliability 2.2.
 */
import type { Cluster, Redis } from 'ioredis';
import type { GovernedEngine } from '../contract/admission.ts';
import { authVersionsKey, defaultKeyPrefix, shardOfAccount } from './redis-keys.ts';

type RaisedVersions = Parameters<GovernedEngine['raiseAuthVersion']>[1];

export type RedisAuthVersionsOptions = { keyPrefix?: string; shards?: number };

const raiseLua = `
for index = 1, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[index])
  if not known or tonumber(known) < tonumber(ARGV[index + 1]) then
    redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1])
  end
end
return 'OK'
`;

/** Throws when Redis does not take it. */
export async function raiseAuthVersionInRedis(
  redis: Redis | Cluster,
  { accountId, versions }: { accountId: string; versions: RaisedVersions },
  { keyPrefix = defaultKeyPrefix, shards = 1 }: RedisAuthVersionsOptions = {},
): Promise<void> {
  const { account, key } = versions;
  const fields = [
    ...(account === undefined ? [] : ['a', String(account)]),
    ...(key === undefined ? [] : [key.id, String(key.version)]),
  ];
  const name = authVersionsKey(keyPrefix, shardOfAccount(accountId, shards), accountId);
  await redis.eval(raiseLua, 1, name, ...fields);
}
