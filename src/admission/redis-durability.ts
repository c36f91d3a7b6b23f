/**
 * Does Redis keep on its disk what `durability: strict` promises? A configuration that the server does not show, as many
 * that are hosted, is no reason to refuse: it is said, and the operator decides. Spec: reliability 2.2.
 */
import type { Cluster, Redis } from 'ioredis';

type Log = { warn(details: object, message: string): void };

export async function warnOfRedisDurability(redis: Redis | Cluster, log: Log): Promise<void> {
  const [appendonly, appendfsync] = await Promise.all([
    readSetting(redis, 'appendonly'),
    readSetting(redis, 'appendfsync'),
  ]);
  if (appendonly === 'yes' && appendfsync === 'always') return;
  if (appendonly === null || appendfsync === null) {
    log.warn(
      {},
      'durability is strict, and redis does not show whether it runs with appendonly yes and appendfsync always',
    );
    return;
  }
  log.warn(
    { appendonly, appendfsync },
    'durability is strict, but redis may forget its last moment: set appendonly yes and appendfsync always',
  );
}

async function readSetting(redis: Redis | Cluster, name: string): Promise<string | null> {
  try {
    const reply: unknown = await redis.config('GET', name);
    return Array.isArray(reply) && typeof reply[1] === 'string' ? reply[1] : null;
  } catch {
    // Forbidden, renamed, or unknown to this server.
    return null;
  }
}
