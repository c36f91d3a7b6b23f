/**
 * Is the process at the other end of this connection still the same, with the same history of its data? A master that
 * was made a replica and is master again has lost what it answered last; its replication id tells. Each connection must be asked for itself: in a
 * failover one of them may be at the new master while another still writes to the old one, which answers for as long as
 * nobody has told it. Spec: reliability 2.4, replay ring.
 */
import type { Cluster, Redis } from 'ioredis';
import type { Every } from './clock.ts';

export type RunIdWatchOptions = {
  /** Routes the question in a Cluster. */
  key: string;
  every: Every;
  /** Another process answers, or, after a reconnect, one that hides which it is: its predecessor's last writes may be lost. */
  onChange: () => void;
};

const pollMs = 1000;
const askLua = "return redis.call('INFO', 'server') .. redis.call('INFO', 'replication')";

/** Gives the way to stop it. */
export function watchRunId(redis: Redis | Cluster, { key, every, onChange }: RunIdWatchOptions): () => void {
  let known: string | null = null;
  let wasAway = false;
  redis.on('ready', askAnew);
  if (redis.status === 'ready') void ask();
  const stopPolling = every(pollMs, ask);

  function askAnew(): void {
    wasAway = true;
    void ask();
  }

  async function ask(): Promise<void> {
    if (redis.status !== 'ready') return;
    try {
      const info = String(await redis.eval(askLua, 1, key));
      note(
        [...info.matchAll(/^(?:run_id|master_replid):(.*?)\r?$/gm)]
          .map(([, id]) => id)
          .join(' ')
          .trim(),
      );
    } catch {
      // A server that does not answer is the breaker's business; who answers next may be another.
      wasAway = true;
    }
  }

  function note(seen: string): void {
    const isSame = known === null || (seen === known && (seen !== '' || !wasAway));
    known = seen;
    wasAway = false;
    if (!isSame) onChange();
  }

  return () => {
    stopPolling();
    redis.off('ready', askAnew);
  };
}
