/**
 * The Postgres side of the drain: one batch of entries into rows, and only then the acknowledgement. Waits out a database
 * that is away for as long as it takes, halves a batch that is refused for its data, and sends what cannot be a row to the
 * dead letters. It must never acknowledge an entry that is neither a row nor a dead letter. Spec: reliability 2.4 DRAIN.
 */
import type { UsageRecord } from '../contract/flow.ts';
import type { UsageDeadLetter } from '../store/usage-dead-letters.ts';
import type { StreamEntry } from './stream-group.ts';
import { parseUsageRecord } from './stream-record.ts';

export type StreamLog = {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
};

export type StreamWriterOptions = {
  stream: string;
  /** One transaction; a conflict by request id only ever improves the row. */
  insert(records: readonly UsageRecord[]): Promise<void>;
  /** A second letter about the same entry must change nothing. */
  deadLetter(letters: readonly UsageDeadLetter[]): Promise<void>;
  acknowledge(entryIds: readonly string[]): Promise<void>;
  /** Before each further attempt, with the entries that are still in our hands. Must not throw. */
  beforeRetry(entryIds: readonly string[]): Promise<void>;
  /** An entry that was given to more processes than this is believed to have killed them. */
  maxDeliveries: number;
  /** Wait after the first failure; doubles. */
  retryMs: number;
  pause(durationMs: number, signal: AbortSignal): Promise<void>;
  signal: AbortSignal;
  log: StreamLog;
  onWritten(records: readonly UsageRecord[]): void;
  onDeadLetters(letters: readonly UsageDeadLetter[]): void;
};

export interface StreamWriter {
  /** Throws `StreamStopped` when the drain is told to stop while the database or Redis is away. */
  write(entries: readonly StreamEntry[]): Promise<void>;
  /** Entries that were given to `write` and are neither acknowledged nor given back. */
  held(): readonly string[];
}

export class StreamStopped extends Error {}

type Row = { entry: StreamEntry; record: UsageRecord };
type Broken = { entry: StreamEntry; reason: string };

/** An error that nobody has classified is tried this often before the data is blamed. */
const unclearAttempts = 5;
const longestRetryMs = 5_000;

export function createStreamWriter(options: StreamWriterOptions): StreamWriter {
  const { stream, signal, log } = options;
  let held = new Set<string>();

  async function write(entries: readonly StreamEntry[]): Promise<void> {
    held = new Set(entries.map(({ entryId }) => entryId));
    const rows: Row[] = [];
    const broken: Broken[] = [];
    for (const entry of entries) {
      const result = readEntry(entry, options.maxDeliveries);
      if ('record' in result) rows.push({ entry, record: result.record });
      else broken.push({ entry, reason: result.reason });
    }
    await insertRows(rows);
    await bury(broken);
  }

  async function insertRows(rows: readonly Row[]): Promise<void> {
    if (rows.length === 0) return;
    const records = rows.map(({ record }) => record);
    const refusal = await persist('rows', () => options.insert(records), isRefused);
    if (refusal === null) {
      options.onWritten(records);
      await acknowledge(rows);
      return;
    }
    const [first] = rows;
    if (rows.length === 1 && first !== undefined) return bury([{ entry: first.entry, reason: describe(refusal) }]);
    const half = Math.ceil(rows.length / 2);
    await insertRows(rows.slice(0, half));
    await insertRows(rows.slice(half));
  }

  async function bury(broken: readonly Broken[]): Promise<void> {
    if (broken.length === 0) return;
    const letters = broken.map(({ entry, reason }) => ({
      streamId: `${stream} ${entry.entryId}`,
      requestId: entry.requestId,
      payload: entry.record ?? '',
      error: reason,
    }));
    await persist('dead letters', () => options.deadLetter(letters), never);
    for (const { streamId, requestId, error } of letters) {
      log.error({ entry: streamId, request_id: requestId, reason: error }, 'a usage record could not become a row');
    }
    options.onDeadLetters(letters);
    await acknowledge(broken);
  }

  async function acknowledge(done: readonly { entry: StreamEntry }[]): Promise<void> {
    const entryIds = done.map(({ entry }) => entry.entryId);
    await persist('acknowledgements', () => options.acknowledge(entryIds), never);
    for (const entryId of entryIds) held.delete(entryId);
  }

  /** Gives null when the work is done, and the error when it is one that further attempts will not heal. */
  async function persist(
    what: string,
    work: () => Promise<void>,
    isFinal: (error: unknown, attempt: number) => boolean,
  ): Promise<unknown> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await work();
        if (attempt > 1) log.info({ stream, what, attempts: attempt }, 'the usage drain goes on');
        return null;
      } catch (error) {
        if (isFinal(error, attempt)) return error;
        if (attempt === 1) log.warn({ err: error, stream, what, waiting_rows: held.size }, 'the usage drain waits');
        await options.pause(backoffMs(options.retryMs, attempt), signal);
        if (signal.aborted) throw new StreamStopped('stopped while usage rows wait', { cause: error });
      }
      await options.beforeRetry([...held]);
    }
  }

  return { write, held: () => [...held] };
}

function readEntry(entry: StreamEntry, maxDeliveries: number): { record: UsageRecord } | { reason: string } {
  if (entry.deliveries > maxDeliveries) return { reason: `delivered ${entry.deliveries - 1} times, never finished` };
  return parseUsageRecord(entry.record, entry.requestId);
}

/** Drainers that met the same deadlock or the same restart must not come back in step. */
function backoffMs(firstMs: number, attempt: number): number {
  return Math.min(longestRetryMs, firstMs * 2 ** (attempt - 1)) * (0.5 + Math.random() / 2);
}

const never = (): boolean => false;

/**
 * Only what the data can be blamed for is final. Everything that says something about the server, the network or the
 * schema is waited out: it would turn the whole backlog into dead letters.
 */
function isRefused(error: unknown, attempt: number): boolean {
  // A cost that is no number is found while the statement is built.
  if (error instanceof RangeError) return true;
  const state = sqlStateOf(error);
  if (state === null) return false;
  if (dataAtFault.test(state)) return true;
  return !serverAtFault.test(state) && attempt >= unclearAttempts;
}

/** Cardinality, data, constraint, program limit. */
const dataAtFault = /^(?:21|22|23|54)/;
/** Connection, transaction state and rollback, credentials, schema, resources, locks, operator, system. */
const serverAtFault = /^(?:08|25|28|3D|3F|40|42|53|55|57|58)/;

/** Five characters with a digit among them; `EPIPE` is no SQLSTATE. */
function sqlStateOf(error: unknown): string | null {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return null;
  return /^(?=.*\d)[0-9A-Z]{5}$/.test(error.code) ? error.code : null;
}

function describe(error: unknown): string {
  const state = sqlStateOf(error);
  const message = error instanceof Error ? error.message : String(error);
  return state === null ? message : `${state} ${message}`;
}
