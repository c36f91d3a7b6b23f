/**
 * An engine whose every admission and settlement is in the journal first. Wraps the engine of a single process: takes the
 * same calls and gives the same answers, only later by one write to a file.
 * Rows go to the ledger in the order of their positions, so that a cursor can say which of them the database has.
 * Must never admit what the journal does not know, and never keep a settlement from landing. Spec: reliability 2.5.
 */
import type { AdmissionEngine, AdmitRequest, AdmitResult, Settlement, UsageSink } from '../contract/admission.ts';
import type { UsageRecord } from '../contract/flow.ts';
import { notDispatchedRecord } from './abandoned-record.ts';
import { everyInterval, type Every } from './clock.ts';
import type { Journal } from './journal.ts';

export interface PositionedSink extends UsageSink {
  append(record: UsageRecord, position?: number): void;
}

/** The state of the buckets, as JSON, to start from where the last process stopped. */
export type LevelStore = { snapshot(): unknown; restore(value: unknown): void };

export type JournaledEngineOptions<Engine extends AdmissionEngine> = {
  /**
   * Makes the engine to wrap. It must hand its rows to this sink, that of a settlement before `settle` gives its promise:
   * so rows keep the order of their positions.
   */
  createInner(sink: UsageSink): Engine;
  journal: Journal;
  ledger: PositionedSink;
  levels?: LevelStore;
  /** What `openJournal` found. */
  savedLevels?: unknown;
  /** How old the progress of a row may be whose process died; levels are saved as often. */
  heartbeatMs?: number;
  every?: Every;
};

export type JournaledEngine<Engine> = Engine & {
  /** Rows that the journal has still to take, and the ledger after it. */
  unwrittenRows: () => number;
};

export function createJournaledEngine<Engine extends AdmissionEngine>(
  options: JournaledEngineOptions<Engine>,
): JournaledEngine<Engine> {
  const { journal, ledger, levels, savedLevels, heartbeatMs = 10_000, every = everyInterval } = options;
  /** By id of every request that the inner engine admitted and nobody has settled: did its frame land? */
  const admissions = new Map<string, Promise<boolean>>();
  /** What to do with the row that the inner engine is about to hand over. */
  const settling = new Map<string, (record: UsageRecord) => void>();
  const progress = new Map<string, number>();
  let unwritten = 0;
  /** Since the last checkpoint: an idle gateway must not fill its disk. */
  let isChanged = false;
  const inner = options.createInner({ append: takeRow, hasRoom: () => journal.hasRoom() && ledger.hasRoom() });
  if (levels !== undefined && savedLevels !== undefined) levels.restore(savedLevels);
  const stopHeartbeat = every(heartbeatMs, beat);

  async function admit(request: AdmitRequest): Promise<AdmitResult> {
    const result = await inner.admit(request);
    if (result.outcome !== 'admitted') return result;
    let landed = admissions.get(request.id);
    if (landed === undefined) {
      landed = writeAdmission(request);
      admissions.set(request.id, landed);
    }
    return (await landed) ? result : { outcome: 'unavailable', reason: 'journal_full' };
  }

  async function writeAdmission(request: AdmitRequest): Promise<boolean> {
    isChanged = true;
    const { landed } = await journal.admit(request);
    if (landed === true) return true;
    if (landed === 'maybe') journal.giveUp(request.id);
    const { id, accountId, record } = request;
    const actual = { requests: 0, tokens: 0 };
    // Nothing was admitted, so there is no row.
    await settleInside({ id, accountId, kind: 'void', actual, record: notDispatchedRecord(record) }, () => undefined);
    return false;
  }

  async function settleInside(settlement: Settlement, onRow: (record: UsageRecord) => void): Promise<void> {
    isChanged = true;
    admissions.delete(settlement.id);
    progress.delete(settlement.id);
    settling.set(settlement.id, onRow);
    try {
      await inner.settle(settlement);
    } finally {
      if (settling.get(settlement.id) === onRow) settling.delete(settlement.id);
    }
  }

  /**
   * The slot is free at once and the row follows: a client that has its reply may ask again before any write returns. A
   * process that dies between the two leaves an open admission, which becomes a row at the next start.
   */
  async function settle(settlement: Settlement): Promise<void> {
    const written: Promise<void>[] = [];
    await settleInside(settlement, (record) => written.push(writeRow(record)));
    await Promise.all(written);
  }

  function takeRow(record: UsageRecord): void {
    const onRow = settling.get(record.requestId);
    if (onRow !== undefined) return onRow(record);
    // Of a lease that ran out; the inner engine has settled it by itself.
    admissions.delete(record.requestId);
    progress.delete(record.requestId);
    void writeRow(record);
  }

  function writeRow(record: UsageRecord): Promise<void> {
    unwritten += 1;
    return new Promise((resolve) => {
      journal.settle(record, (position) => {
        unwritten -= 1;
        appendRow(record, position);
        resolve();
      });
    });
  }

  /** Without a position the cursor does not move past it: the journal was closed before it could take the row. */
  function appendRow(record: UsageRecord, position: number | null): void {
    if (position === null) ledger.append(record);
    else ledger.append(record, position);
  }

  function beat(): void {
    if (progress.size > 0) journal.reportProgress(Object.fromEntries(progress));
    progress.clear();
    if (levels !== undefined && isChanged) journal.checkpoint(levels.snapshot());
    isChanged = false;
  }

  return {
    ...inner,
    unwrittenRows: () => unwritten,
    admit,
    settle,
    markDispatched(id, accountId) {
      journal.markDispatched(id);
      inner.markDispatched(id, accountId);
    },
    reportProgress(id, accountId, tokens) {
      if (admissions.has(id)) progress.set(id, Math.max(tokens, progress.get(id) ?? 0));
      inner.reportProgress(id, accountId, tokens);
    },
    async close() {
      stopHeartbeat();
      beat();
      await inner.close();
      await journal.close();
    },
  };
}
