/**
 * The clocks of every running request, in one sweep outside the pumps: a pump that hangs cannot stop its own clock.
 * Spec: reliability 2.4 STREAM and 6.
 */
export interface Watched {
  sweep(nowMs: number): void;
}

export interface Watchdog {
  watch(watched: Watched): void;
  forget(watched: Watched): void;
  /** Running requests. */
  size(): number;
  each(visit: (watched: Watched) => void): void;
  close(): void;
}

export function createWatchdog(periodMs: number, nowMs: () => number = () => performance.now()): Watchdog {
  const running = new Set<Watched>();
  const timer = setInterval(() => {
    const now = nowMs();
    for (const watched of running) watched.sweep(now);
  }, periodMs);
  timer.unref();
  return {
    watch: (watched) => running.add(watched),
    forget: (watched) => running.delete(watched),
    size: () => running.size,
    each: (visit) => {
      for (const watched of running) visit(watched);
    },
    close: () => {
      clearInterval(timer);
    },
  };
}
