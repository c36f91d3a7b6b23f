/**
 * Sees every settlement through. Takes one, tries it, and repeats it with the same id until the server has answered;
 * the script itself appends the row to the usage stream. Where there is no stream, the row goes to the sink exactly when
 * the answer says that this settlement counts. After two seconds of silence it goes to the sink in any case (the ledger
 * keeps the best row of each request, so a row handed over early or twice does no harm).
 * Must never lose a row and never grow without bound. Spec: reliability 2.3 point 6 and 2.4.
 */
import type { UsageSink } from '../contract/admission.ts';
import type { UsageRecord } from '../contract/flow.ts';
import type { TickBatcher, TickReply } from './tick-batcher.ts';
import type { TickOperation } from './tick-operations.ts';

export type SettlementDelivery = {
  batcher: TickBatcher;
  operation: TickOperation;
  record: UsageRecord;
  /** The void of an admission without an answer: it has a row only if the server knew the request. */
  isGivenUp: boolean;
};

export type SettlementQueueOptions = {
  sink: UsageSink;
  /** The server keeps the rows of the settlements it answers. */
  hasStream: boolean;
  /** An answered settlement, not one that was given up. */
  onSettled: (delivery: SettlementDelivery) => void;
  nowMs: () => number;
  capacity: number;
  onFailure: (message: string) => void;
};

export interface SettlementQueue {
  /** Resolves when it is done or safely queued. */
  deliver(delivery: SettlementDelivery): Promise<void>;
  /** The server is back: what waits is tried at once. */
  retryNow(): void;
  size(): number;
  /** Tries all once more; what still has no answer leaves its row behind, and its lease to the reaper. */
  close(): Promise<void>;
}

type Pending = SettlementDelivery & {
  sinceMs: number;
  attempts: number;
  tryAtMs: number;
  /** A try whose reply was lost: the next may be told that it repeats itself. */
  mayHaveRun: boolean;
  isAppended: boolean;
  current: Promise<void> | null;
};

const retryTickMs = 100;
const shortestDelayMs = 100;
const longestDelayMs = 5000;
const patienceMs = 2000;

export function createSettlementQueue(options: SettlementQueueOptions): SettlementQueue {
  const { sink, hasStream, nowMs, capacity, onFailure, onSettled } = options;
  const pending = new Set<Pending>();
  let timer: NodeJS.Timeout | null = null;

  function deliver(delivery: SettlementDelivery): Promise<void> {
    const item: Pending = {
      ...delivery,
      sinceMs: nowMs(),
      attempts: 0,
      tryAtMs: 0,
      mayHaveRun: false,
      isAppended: false,
      current: null,
    };
    pending.add(item);
    return attempt(item);
  }

  function attempt(item: Pending): Promise<void> {
    item.attempts += 1;
    item.current = item.batcher.submit(item.operation).then((reply) => {
      item.current = null;
      conclude(item, reply);
    });
    return item.current;
  }

  function conclude(item: Pending, reply: TickReply): void {
    if (reply.kind === 'answered') {
      pending.delete(item);
      const isRepeat = reply.reply[0] === 'DUP' && item.mayHaveRun && !item.isGivenUp;
      if (!hasStream && (reply.reply[0] === 'OK' || isRepeat)) append(item);
      if (!item.isGivenUp) onSettled(item);
      return;
    }
    if (reply.kind === 'ambiguous') item.mayHaveRun = true;
    if (reply.kind === 'failed') onFailure(reply.message);
    item.tryAtMs = nowMs() + Math.min(longestDelayMs, shortestDelayMs * 2 ** (item.attempts - 1));
    if (pending.size > capacity) abandon(item);
    else startTimer();
  }

  function append(item: Pending): void {
    if (item.isAppended) return;
    item.isAppended = true;
    sink.append(item.record);
  }

  function abandon(item: Pending): void {
    if (!item.isGivenUp) append(item);
    pending.delete(item);
  }

  function startTimer(): void {
    if (timer !== null) return;
    timer = setInterval(retryDue, retryTickMs);
    timer.unref();
  }

  function stopTimer(): void {
    if (timer !== null) clearInterval(timer);
    timer = null;
  }

  function retryDue(): void {
    const now = nowMs();
    if (pending.size === 0) stopTimer();
    for (const item of pending) {
      if (now - item.sinceMs >= patienceMs && !item.isGivenUp) append(item);
      if (item.current === null && item.tryAtMs <= now) void attempt(item);
    }
  }

  function retryNow(): void {
    for (const item of pending) item.tryAtMs = 0;
    retryDue();
  }

  async function close(): Promise<void> {
    stopTimer();
    await Promise.all([...pending].flatMap(({ current }) => current ?? []));
    await Promise.all([...pending].map(attempt));
    stopTimer();
    for (const item of pending) abandon(item);
  }

  return { deliver, retryNow, size: () => pending.size, close };
}
