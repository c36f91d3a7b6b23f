/** Wall time that never steps back: the wall is read once, and from then on only the monotonic clock counts. */
export interface MonotonicWallClock {
  /** Whole microseconds since 1970. */
  nowMicros(): number;
}

export type ClockSources = { wallMs: () => number; monotonicMs: () => number };

export function createMonotonicWallClock(
  sources: ClockSources = { wallMs: () => Date.now(), monotonicMs: () => performance.now() },
): MonotonicWallClock {
  const anchorMicros = sources.wallMs() * 1000;
  const startMs = sources.monotonicMs();
  return { nowMicros: () => anchorMicros + Math.floor((sources.monotonicMs() - startMs) * 1000) };
}

/** Runs `work` again and again until the returned function is called. */
export type Every = (periodMs: number, work: () => void | Promise<void>) => () => void;

/** Background work alone does not keep the process alive. */
export const everyInterval: Every = (periodMs, work) => {
  const timer = setInterval(() => void work(), periodMs);
  timer.unref();
  return () => {
    clearInterval(timer);
  };
};
