/**
 * Tells the admission engine what changed until it has heard: every second, for ever. Takes one round of telling, gives
 * the way to stop; rounds never overlap, and a store or an engine that is down costs one warning, not one a second.
 */
export type OutboxWorkerOptions = {
  /** One round; gives how many changes were told, and whether the engine did not hear one. */
  tell: () => Promise<{ told: number; isStuck: boolean }>;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
  intervalMs?: number;
};

export type OutboxWorker = {
  /** A round now; resolves when it is over. */
  round: () => Promise<void>;
  close: () => Promise<void>;
};

export function createOutboxWorker({ tell, log, intervalMs = 1_000 }: OutboxWorkerOptions): OutboxWorker {
  let running: Promise<void> | null = null;
  let hasTrouble = false;
  const timer = setInterval(() => void round(), intervalMs);
  timer.unref();

  return {
    round,
    async close() {
      clearInterval(timer);
      await running;
    },
  };

  function round(): Promise<void> {
    running ??= tellOnce().finally(() => {
      running = null;
    });
    return running;
  }

  async function tellOnce(): Promise<void> {
    try {
      const { told, isStuck } = await tell();
      if (told > 0) log.info({ told }, 'changes of keys and accounts are in force');
      report(isStuck, {});
    } catch (error) {
      report(true, { err: error });
    }
  }

  function report(isTrouble: boolean, details: object): void {
    if (isTrouble && !hasTrouble) log.warn(details, 'changes of keys and accounts wait for the admission engine');
    hasTrouble = isTrouble;
  }
}
