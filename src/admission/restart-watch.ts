/**
 * Notices that another server process answers after a reconnect: a restart or a failover may have lost the last writes,
 * and neither changes the incarnation of the data. Spec: reliability 2.4, replay ring.
 */
import type { Redis } from 'ioredis';

/** Stops when the returned function is called. */
export function watchRestarts(redis: Redis, onRestart: () => void): () => void {
  let runId: string | null = null;
  redis.on('ready', ask);
  if (redis.status === 'ready') ask();

  function ask(): void {
    redis.info('server').then(
      (info) => note(/^run_id:(\S+)/m.exec(info)?.[1] ?? ''),
      () => note(''),
    );
  }

  /** A server that hides which process it is, or does not say, may be any. */
  function note(seen: string): void {
    const isFirst = runId === null;
    const isSame = seen !== '' && seen === runId;
    runId = seen;
    if (!isFirst && !isSame) onRestart();
  }

  return () => {
    redis.off('ready', ask);
  };
}
