/**
 * The way of usage rows into Postgres: a bounded backlog, written in batches, retried for as long as it takes.
 * Takes settled records and a function that inserts a batch; gives back-pressure (`hasRoom`), which closes admission
 * before a row could be dropped. Must never drop a row because the database is away, and never hold a request up.
 * Spec: reliability 2.4 DRAIN, performance 3.5.
 */
import type { UsageSink } from '../contract/admission.ts';
import type { UsageRecord } from '../contract/flow.ts';

export type LedgerOptions = {
  /** One transaction; a conflict by request id only ever improves the row. */
  insert(records: readonly UsageRecord[]): Promise<void>;
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
  depth(): number;
  /** Writes what is left; gives the rows that could not be written before `deadlineMs` had passed. */
  close(deadlineMs: number): Promise<readonly UsageRecord[]>;
}

export function createLedger(options: LedgerOptions): Ledger {
  let backlog: UsageRecord[] = [];
  let inFlight = 0;
  let failures = 0;
  let timer: NodeJS.Timeout | null = null;
  let running: Promise<void> | null = null;
  let isClosing = false;

  function schedule(delayMs: number): void {
    if (timer !== null || running !== null) return;
    timer = setTimeout(() => {
      timer = null;
      running = drain().finally(() => {
        running = null;
        if (backlog.length > 0 && !isClosing) schedule(failures > 0 ? backoffMs() : 0);
      });
    }, delayMs);
  }

  const backoffMs = (): number => options.retryMs * 2 ** Math.min(failures - 1, 5);

  async function drain(): Promise<void> {
    while (backlog.length > 0) {
      const batch = backlog.slice(0, options.batchRows);
      inFlight = batch.length;
      try {
        await write(batch);
      } catch (error) {
        failures += 1;
        inFlight = 0;
        options.onFailure(error, backlog.length);
        return;
      }
      failures = 0;
      inFlight = 0;
      backlog = backlog.slice(batch.length);
    }
  }

  /** A batch that the database refuses is halved until the one bad row stands alone. */
  async function write(batch: readonly UsageRecord[]): Promise<void> {
    try {
      await options.insert(batch);
      options.onWritten(batch);
    } catch (error) {
      if (!isRefusedData(error)) throw error;
      const [first] = batch;
      if (batch.length === 1 && first !== undefined) {
        options.onPoison(first, error);
        return;
      }
      const middle = Math.ceil(batch.length / 2);
      await write(batch.slice(0, middle));
      await write(batch.slice(middle));
    }
  }

  return {
    append(record) {
      backlog.push(record);
      schedule(backlog.length >= options.batchRows ? 0 : options.intervalMs);
    },
    hasRoom: () => backlog.length < options.capRows,
    depth: () => Math.max(backlog.length, inFlight),
    async close(deadlineMs) {
      isClosing = true;
      if (timer !== null) clearTimeout(timer);
      timer = null;
      const deadline = performance.now() + deadlineMs;
      for (;;) {
        await running;
        if (backlog.length === 0 || performance.now() >= deadline) return backlog;
        const left = deadline - performance.now();
        if (failures > 0) await new Promise((resolve) => setTimeout(resolve, Math.min(backoffMs(), left)));
        running = drain().finally(() => {
          running = null;
        });
      }
    },
  };
}

/** SQLSTATE classes 22 (data) and 23 (constraint): the row is at fault, and no retry will heal it. */
function isRefusedData(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || !('code' in error)) return false;
  return typeof error.code === 'string' && /^2[23]/.test(error.code);
}
