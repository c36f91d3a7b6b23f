/**
 * The way of usage rows into Postgres: a bounded backlog, written in batches, retried for as long as it takes.
 * Takes settled records and a function that inserts a batch; gives back-pressure (`hasRoom`), which closes admission
 * before a row could be dropped. Must never drop a row because the database is away, and never hold a request up.
 * Spec: reliability 2.4 DRAIN, performance 3.5.
 */
import type { UsageSink } from '../contract/admission.ts';
import type { UsageRecord } from '../contract/flow.ts';

export type LedgerOptions = {
  /**
   * One transaction; a conflict by request id only ever improves the row. With rows of a journal, `journalPosition` is the
   * highest of theirs: to be saved in the same transaction, as all rows of lower positions have landed then.
   */
  insert(records: readonly UsageRecord[], journalPosition: number | null): Promise<void>;
  /** At most 200 on an in-process database, which shares our event loop. */
  batchRows: number;
  intervalMs: number;
  capRows: number;
  /** Wait after a failure; doubles up to 32 times. */
  retryMs: number;
  onWritten(records: readonly UsageRecord[]): void;
  onFailure(error: unknown, waitingRows: number): void;
  /** A row that fails alone while the database answers: kept out of the way, never silently. */
  onPoison(record: UsageRecord, error: unknown): void;
};

export interface Ledger extends UsageSink {
  /** Rows of a journal come in the order of their positions. */
  append(record: UsageRecord, journalPosition?: number): void;
  depth(): number;
  /** Writes what is there now, without waiting for its time; false when some could not be written before `deadlineMs`. */
  flush(deadlineMs: number): Promise<boolean>;
  /** Writes what is left; gives the rows that could not be written before `deadlineMs` had passed. */
  close(deadlineMs: number): Promise<readonly UsageRecord[]>;
}

type Waiting = { record: UsageRecord; journalPosition: number | null };

export function createLedger(options: LedgerOptions): Ledger {
  let backlog: Waiting[] = [];
  let failures = 0;
  let timer: NodeJS.Timeout | null = null;
  let running: Promise<void> | null = null;
  let isClosing = false;

  function schedule(delayMs: number): void {
    if (timer !== null || running !== null) return;
    timer = setTimeout(() => {
      timer = null;
      void run();
    }, delayMs);
  }

  function cancelTimer(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
  }

  const backoffMs = (): number => options.retryMs * 2 ** Math.min(Math.max(failures - 1, 0), 5);

  /** One writer at a time: a second one would write the same rows, and drop others in their stead. */
  function run(): Promise<void> {
    running ??= drain().finally(() => {
      running = null;
      if (backlog.length > 0 && !isClosing) schedule(failures > 0 ? backoffMs() : 0);
    });
    return running;
  }

  async function drain(): Promise<void> {
    try {
      while (backlog.length > 0) {
        await writeFirst(Math.min(options.batchRows, backlog.length));
        failures = 0;
      }
    } catch (error) {
      failures += 1;
      options.onFailure(error, backlog.length);
    }
  }

  /**
   * A batch that the database refuses is halved until the one bad row stands alone. What has landed leaves the backlog
   * at once, so that a failure behind it repeats nothing.
   */
  async function writeFirst(count: number): Promise<void> {
    const waiting = backlog.slice(0, count);
    const batch = waiting.map(({ record }) => record);
    try {
      await options.insert(batch, highestPosition(waiting));
    } catch (error) {
      if (!isRefusedData(error)) throw error;
      const [first] = batch;
      if (count > 1 || first === undefined) {
        const half = Math.ceil(count / 2);
        await writeFirst(half);
        await writeFirst(count - half);
        return;
      }
      backlog = backlog.slice(1);
      options.onPoison(first, error);
      return;
    }
    backlog = backlog.slice(count);
    options.onWritten(batch);
  }

  /** Gives how many are left when its time is up. */
  async function writeAll(deadlineMs: number): Promise<number> {
    const deadlineAtMs = performance.now() + deadlineMs;
    for (;;) {
      cancelTimer();
      // A database that never answers must not keep the process.
      await atMost(run(), deadlineAtMs - performance.now());
      const leftMs = deadlineAtMs - performance.now();
      if (backlog.length === 0 || leftMs <= 0) return backlog.length;
      await new Promise((resolve) => setTimeout(resolve, Math.min(backoffMs(), leftMs)));
    }
  }

  return {
    append(record, journalPosition) {
      backlog.push({ record, journalPosition: journalPosition ?? null });
      const isFullBatch = backlog.length === options.batchRows && failures === 0;
      if (isFullBatch) cancelTimer();
      schedule(isFullBatch ? 0 : options.intervalMs);
    },
    hasRoom: () => backlog.length < options.capRows,
    depth: () => backlog.length,
    flush: async (deadlineMs) => (await writeAll(deadlineMs)) === 0,
    async close(deadlineMs) {
      isClosing = true;
      await writeAll(deadlineMs);
      return backlog.map(({ record }) => record);
    },
  };
}

const highestPosition = (waiting: readonly Waiting[]): number | null =>
  waiting.findLast(({ journalPosition }) => journalPosition !== null)?.journalPosition ?? null;

/** Resolves with the work or when its time is up. */
function atMost(work: Promise<void>, limitMs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, Math.max(0, limitMs));
  work.then(resolve, reject).finally(() => clearTimeout(timer));
  return promise;
}

/** SQLSTATE classes 22 (data) and 23 (constraint): the row is at fault, and no retry will heal it. */
function isRefusedData(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || !('code' in error)) return false;
  return typeof error.code === 'string' && /^2[23]/.test(error.code);
}
