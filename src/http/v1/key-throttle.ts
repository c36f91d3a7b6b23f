/** So many calls of one route per second and key, in this process. Bounded memory: a key long unseen has its burst back anyway. */
import { LRUCache } from 'lru-cache';

export type KeyThrottle = {
  /** 0: go on. Otherwise the time until the next call is let through; a refused call costs nothing. */
  waitMs(keyId: string): number;
};

const maximumKeys = 10_000;

export function createKeyThrottle({ perSecond, nowMs }: { perSecond: number; nowMs: () => number }): KeyThrottle {
  const intervalMs = 1000 / perSecond;
  /** By key, when its burst is whole again. */
  const wholeAt = new LRUCache<string, number>({ max: maximumKeys });
  return {
    waitMs(keyId) {
      const now = nowMs();
      const whole = Math.max(wholeAt.get(keyId) ?? 0, now);
      const wait = whole + intervalMs - now - perSecond * intervalMs;
      if (wait > 0) return wait;
      wholeAt.set(keyId, whole + intervalMs);
      return 0;
    },
  };
}
