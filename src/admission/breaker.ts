/** Stops asking a server that does not answer, and asks by itself whether it is back. Spec: reliability 5. */

export type BreakerOptions = {
  nowMs: () => number;
  /** Asks the server; true when it answered. */
  probe: () => Promise<boolean>;
  onOpen: () => void;
  onClose: () => void;
  failuresToOpen?: number;
  windowMs?: number;
  probeEveryMs?: number;
};

export interface Breaker {
  isOpen(): boolean;
  recordFailure(): void;
  /** There is reason to believe that the server is back. */
  probeNow(): void;
  stop(): void;
}

export function createBreaker(options: BreakerOptions): Breaker {
  const { nowMs, probe, onOpen, onClose, failuresToOpen = 5, windowMs = 1000, probeEveryMs = 500 } = options;
  const failedAtMs: number[] = [];
  let isOpen = false;
  let timer: NodeJS.Timeout | null = null;
  let isProbing = false;

  function recordFailure(): void {
    if (isOpen) return;
    const now = nowMs();
    failedAtMs.push(now);
    if (failedAtMs.length > failuresToOpen) failedAtMs.shift();
    if (failedAtMs.length < failuresToOpen || now - (failedAtMs[0] ?? now) > windowMs) return;
    isOpen = true;
    failedAtMs.length = 0;
    scheduleProbe();
    onOpen();
  }

  function scheduleProbe(): void {
    timer = setTimeout(() => void tryAgain(), probeEveryMs);
    timer.unref();
  }

  async function tryAgain(): Promise<void> {
    if (isProbing) return;
    isProbing = true;
    const hasAnswered = await probe();
    isProbing = false;
    if (timer === null) return;
    if (!hasAnswered) {
      scheduleProbe();
      return;
    }
    isOpen = false;
    timer = null;
    onClose();
  }

  function probeNow(): void {
    if (timer === null || isProbing) return;
    clearTimeout(timer);
    void tryAgain();
  }

  function stop(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
  }

  return { isOpen: () => isOpen, recordFailure, probeNow, stop };
}
