/**
 * How many questions may be with the store at a time, how many may wait, and for how long anyone waits. A store that hangs
 * costs each caller the timeout and never more than its slots; a flood of questions fills the line and nothing else.
 */
export type LookupQueueOptions = {
  concurrency: number;
  /** Beyond this many waiting ones, ordinary questions are refused at once. */
  waitingLimit: number;
  timeoutMs: number;
};

export type Lookup<T> = {
  ask: () => Promise<T>;
  /** Goes to the head of the line and is never refused: for what was known to be good and must be asked again. */
  isUrgent: boolean;
};

export type LookupQueue<T> = { run: (lookup: Lookup<T>) => Promise<T> };

export function createLookupQueue<T>({ concurrency, waitingLimit, timeoutMs }: LookupQueueOptions): LookupQueue<T> {
  const urgent: (() => void)[] = [];
  const ordinary: (() => void)[] = [];
  let running = 0;

  return {
    async run({ ask, isUrgent }) {
      if (!isUrgent && running >= concurrency && ordinary.length >= waitingLimit) {
        throw new Error('too many keys are being looked up');
      }
      return new Promise<T>((resolve, reject) => {
        const waiting = isUrgent ? urgent : ordinary;
        const timer = setTimeout(() => {
          const index = waiting.indexOf(start);
          if (index !== -1) waiting.splice(index, 1);
          reject(new Error(`the key could not be looked up within ${timeoutMs} ms`));
        }, timeoutMs);
        function start(): void {
          running += 1;
          ask()
            .then(resolve, reject)
            // The slot stays taken after a timeout: the store is still busy with the question.
            .finally(finish);
        }
        function finish(): void {
          clearTimeout(timer);
          running -= 1;
          startNext();
        }
        waiting.push(start);
        startNext();
      });
    },
  };

  function startNext(): void {
    if (running < concurrency) (urgent.shift() ?? ordinary.shift())?.();
  }
}
