/**
 * Counts what was refused (429, 401, 503) by minute, account, key and reason, and writes the counts once a minute.
 * Takes one call per refusal, which costs a look-up in a map and never a row; gives batches to `insert`. It is bounded
 * whatever callers do, keeps its counts while the database is away, and never holds a request up or the process alive.
 */
import type { RejectionCount } from '../store/rejections.ts';

export type Rejection = Omit<RejectionCount, 'minuteMs' | 'count'>;

export type RejectionCounterOptions = {
  /** Adds to what is there, as a whole or not at all. A reply that is lost after the commit makes a count too high. */
  insert(counts: readonly RejectionCount[]): Promise<void>;
  clock(): number;
  intervalMs?: number;
  /** Beyond it, refusals go to one series named `other` per minute and status. */
  maxSeries?: number;
  batchRows?: number;
  onFailure(error: unknown, waitingSeries: number): void;
};

export interface RejectionCounter {
  count(rejection: Rejection): void;
  /** Series that wait to be written. */
  size(): number;
  flush(): Promise<void>;
  /** Writes what is left, for at most so long; gives how many refusals could not be written. */
  close(deadlineMs: number): Promise<number>;
}

const minuteMs = 60_000;
/** Minutes of `other` that may wait, per counter: a database that is away for longer makes the last of them grow. */
const maxOtherSeries = 1_000;

export function createRejectionCounter(options: RejectionCounterOptions): RejectionCounter {
  const { intervalMs = 60_000, maxSeries = 10_000, batchRows = 1_000 } = options;
  const series = new Map<string, RejectionCount>();
  /** Status to the minute of its newest `other`. */
  const lastOther = new Map<number, number>();
  let timer: NodeJS.Timeout | null = null;
  let running: Promise<void> | null = null;
  let isClosed = false;

  function count(rejection: Rejection): void {
    const startMs = Math.floor(options.clock() / minuteMs) * minuteMs;
    if (!add(startMs, rejection, maxSeries)) countOther(startMs, rejection.status);
    timer ??= isClosed ? null : setTimeout(flushInTime, intervalMs).unref();
  }

  /** False when it would be a new series beyond the cap. */
  function add(startMs: number, rejection: Rejection, cap: number): boolean {
    const { accountId, keyId, reason, status } = rejection;
    const key = `${startMs} ${status} ${accountId} ${keyId} ${reason}`;
    const known = series.get(key);
    if (known !== undefined) known.count += 1;
    else if (series.size < cap) series.set(key, { ...rejection, minuteMs: startMs, count: 1 });
    else return false;
    return true;
  }

  function countOther(startMs: number, status: number): void {
    const other = { accountId: null, keyId: null, reason: 'other', status };
    if (add(startMs, other, maxSeries + maxOtherSeries)) {
      lastOther.set(status, startMs);
      return;
    }
    const lastMs = lastOther.get(status) ?? startMs;
    lastOther.set(status, lastMs);
    add(lastMs, other, Number.POSITIVE_INFINITY);
  }

  function flushInTime(): void {
    timer = null;
    void flush();
  }

  /** One writer at a time: a second one would write the same counts again. */
  function flush(): Promise<void> {
    running ??= write().finally(() => {
      running = null;
      if (series.size > 0 && !isClosed) timer ??= setTimeout(flushInTime, intervalMs).unref();
    });
    return running;
  }

  async function write(): Promise<void> {
    const waiting = [...series.keys()];
    try {
      for (let start = 0; start < waiting.length; start += batchRows)
        await writeBatch(waiting.slice(start, start + batchRows));
    } catch (error) {
      options.onFailure(error, series.size);
    }
  }

  /** What is refused while the batch is on its way stays for the next one. */
  async function writeBatch(keys: readonly string[]): Promise<void> {
    const sent = keys.flatMap((key) => {
      const entry = series.get(key);
      return entry === undefined ? [] : [{ key, entry, row: { ...entry } }];
    });
    await options.insert(sent.map(({ row }) => row));
    for (const { key, entry, row } of sent) {
      entry.count -= row.count;
      if (entry.count === 0) series.delete(key);
    }
  }

  return {
    count,
    size: () => series.size,
    flush,
    async close(deadlineMs) {
      isClosed = true;
      if (timer !== null) clearTimeout(timer);
      // One that runs already began before the last refusals.
      await atMost((running ?? Promise.resolve()).then(flush), deadlineMs);
      return [...series.values()].reduce((total, entry) => total + entry.count, 0);
    },
  };
}

/** A database that never answers must not keep the process. The work reports its own failures. */
async function atMost(work: Promise<void>, limitMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, limitMs);
  await Promise.race([work, promise]);
  clearTimeout(timer);
}
