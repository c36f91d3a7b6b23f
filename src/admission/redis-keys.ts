/** The names of what the tick script keeps in Redis. Each carries its shard as hash tag, so a shard is in one slot. Spec: reliability 2.2. */
import { crc32 } from 'node:zlib';

/** Gateways that share it share their limits. */
export const defaultKeyPrefix = 'tg:';

/** All keys of an account live in one shard. */
export const shardOfAccount = (accountId: string, shards: number): number =>
  shards === 1 ? 0 : crc32(accountId) % shards;

/** The work list of a shard, and the key that routes its script. */
export const openLeasesKey = (keyPrefix: string, shard: number): string => `${keyPrefix}{${shard}}:open`;

/** Where the script puts the usage records of a shard. */
export const usageStreamKey = (keyPrefix: string, shard: number): string => `${keyPrefix}{${shard}}:u`;

export const authVersionsKey = (keyPrefix: string, shard: number, accountId: string): string =>
  `${keyPrefix}{${shard}}:av:${accountId}`;
