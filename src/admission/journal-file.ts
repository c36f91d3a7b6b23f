/**
 * The one writer of the journal. Takes frames, writes all of one turn of the event loop with one call, and tells each
 * when its write returned, in the order of their positions.
 * An admission waits for a bounded time and is refused when the disk fails; every other frame is kept and written again
 * until it lands. Must never hold the event loop up, and never tell that a frame landed before it has. Spec: reliability 2.5.
 */
import { everyInterval, type Every } from './clock.ts';
import { encodeFrame, type JournalFrame } from './journal-frames.ts';
import type { JournalLog, Segments } from './journal-segments.ts';

export type JournalFileOptions = {
  segments: Segments;
  capBytes: number;
  /** An admission is refused when its write has not returned by then. */
  stallMs: number;
  /** Between two tries on a disk that fails or is full. */
  retryMs: number;
  syncMs: number;
  nowMs: () => number;
  every?: Every;
  log: JournalLog;
};

/** `maybe`: its write is still under way, so the frame may land yet. */
export type AdmissionWrite = { landed: boolean | 'maybe' };

export interface JournalFile {
  /** Never rejects. `onLanded` is called whenever the frame lands, be it after the answer. */
  admit(frame: JournalFrame, onLanded: (position: number) => void): Promise<AdmissionWrite>;
  /** Written whatever it takes; null when the journal was closed on a disk that takes nothing any more. */
  append(frame: JournalFrame, onWritten: (position: number | null) => void): void;
  /** Written if there is room; null when it was not. For what a later frame makes good. */
  note(frame: JournalFrame, onWritten: (position: number | null) => void): void;
  hasRoom(): boolean;
  sync(): Promise<void>;
  close(deadlineMs: number): Promise<void>;
}

type Item = {
  bytes: Buffer;
  kind: 'admission' | 'row' | 'note';
  enqueuedAtMs: number;
  onWritten: (position: number | null) => void;
  /** Of an admission that nobody has told yet. */
  onRefused: ((write: AdmissionWrite) => void) | null;
};

const bytesPerWrite = 4 * 2 ** 20;

export function createJournalFile(options: JournalFileOptions): JournalFile {
  const { segments, capBytes, stallMs, retryMs, syncMs, nowMs, every = everyInterval, log } = options;
  let queue: Item[] = [];
  let inFlight: readonly Item[] = [];
  let isScheduled = false;
  let isWorking = false;
  let isStalled = false;
  /** From a failed write until the next try. */
  let isFailing = false;
  let isClosed = false;
  let stallTimer: NodeJS.Timeout | null = null;
  /** Set while a failed write waits for its next try. */
  let retryTimer: NodeJS.Timeout | null = null;
  let isSyncing = false;
  let closing: Promise<void> | null = null;
  const stopSync = every(syncMs, syncLater);
  if (segments.isShortOfRoom()) restoreReserveLater();

  function enqueue(item: Item): void {
    queue.push(item);
    if (item.kind === 'admission') stallTimer ??= setTimeout(checkStall, stallMs);
    schedule();
  }

  function schedule(): void {
    if (isScheduled || isWorking || retryTimer !== null) return;
    isScheduled = true;
    setImmediate(() => {
      isScheduled = false;
      if (!isWorking) void work();
    });
  }

  async function work(): Promise<void> {
    isWorking = true;
    while (mayWrite()) await writeNext();
    isWorking = false;
  }

  const mayWrite = (): boolean => queue.length > 0 && retryTimer === null;
  const isBusy = (): boolean => queue.length > 0 || isWorking;

  async function writeNext(): Promise<void> {
    try {
      await segments.rotateIfDue();
      inFlight = takeBatch();
      if (inFlight.length === 0) return retryLater();
      announce(await segments.write(Buffer.concat(inFlight.map(({ bytes }) => bytes))));
    } catch (error) {
      await recover(error);
    }
  }

  /** What fits into one write, and in the reserve only what fits into that. */
  function takeBatch(): Item[] {
    let left = Math.min(bytesPerWrite, segments.roomBytes());
    const end = queue.findIndex(({ bytes }) => {
      left -= bytes.length;
      return left < 0;
    });
    if (end === -1) return queue.splice(0);
    const isLongFirst = end === 0 && (queue[0]?.bytes.length ?? 0) <= segments.roomBytes();
    return queue.splice(0, isLongFirst ? 1 : end);
  }

  function announce(start: number): void {
    const landed = inFlight;
    inFlight = [];
    isStalled = false;
    isFailing = false;
    let position = start;
    for (const item of landed) {
      tell(() => item.onWritten(position));
      position += item.bytes.length;
    }
  }

  function tell(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      log.error({ err: error }, 'a listener of the journal failed');
    }
  }

  async function recover(error: unknown): Promise<void> {
    const failed = inFlight;
    inFlight = [];
    isStalled = false;
    isFailing = true;
    queue = [...failed, ...queue];
    dropQueued('admission');
    // A long note in front must not keep a row from what little room is left.
    dropQueued('note');
    if (isDiskFull(error) && !segments.isShortOfRoom()) {
      log.error({ err: error }, 'the disk of the journal is full: nothing is admitted until there is room again');
      try {
        await segments.enterReserve();
        restoreReserveLater();
        return;
      } catch (reserveError) {
        log.error({ err: reserveError }, 'the reserve of the journal cannot be used');
      }
    } else log.error({ err: error }, 'a write to the journal failed and is tried again');
    retryLater();
  }

  function dropQueued(kind: Item['kind']): void {
    const dropped = queue.filter((item) => item.kind === kind);
    queue = queue.filter((item) => item.kind !== kind);
    for (const { onRefused, onWritten } of dropped) {
      if (kind === 'admission') onRefused?.({ landed: false });
      else tell(() => onWritten(null));
    }
  }

  function retryLater(): void {
    retryTimer ??= setTimeout(() => {
      retryTimer = null;
      isFailing = false;
      schedule();
    }, retryMs);
  }

  function restoreReserveLater(): void {
    const timer = setTimeout(() => {
      if (!isClosed) void restoreReserve();
    }, retryMs);
    timer.unref();
  }

  /** Between two writes only: both move the end of the same file. */
  async function restoreReserve(): Promise<void> {
    if (isWorking) return restoreReserveLater();
    isWorking = true;
    try {
      await segments.restoreReserve();
      log.info({}, 'the disk of the journal has room again');
    } catch (error) {
      log.warn({ err: error }, 'the disk of the journal is still full');
    }
    isWorking = false;
    if (segments.isShortOfRoom()) restoreReserveLater();
    schedule();
  }

  function checkStall(): void {
    stallTimer = null;
    const oldest = [...inFlight, ...queue].find(({ onRefused }) => onRefused !== null);
    if (oldest === undefined) return;
    const leftMs = stallMs - (nowMs() - oldest.enqueuedAtMs);
    if (leftMs > 0) {
      stallTimer = setTimeout(checkStall, leftMs);
      return;
    }
    isStalled = isWorking;
    log.error({}, 'the disk of the journal does not answer: nothing is admitted until it does');
    for (const item of inFlight) item.onRefused?.({ landed: 'maybe' });
    dropQueued('admission');
  }

  function syncLater(): void {
    if (isSyncing) return;
    isSyncing = true;
    segments
      .sync()
      .catch((error: unknown) => log.error({ err: error }, 'the journal could not be synced'))
      .finally(() => {
        isSyncing = false;
      });
  }

  async function close(deadlineMs: number): Promise<void> {
    stopSync();
    const deadlineAtMs = nowMs() + deadlineMs;
    while (isBusy() && nowMs() < deadlineAtMs) await new Promise((resolve) => setTimeout(resolve, 5));
    isClosed = true;
    if (stallTimer !== null) clearTimeout(stallTimer);
    if (retryTimer !== null) clearTimeout(retryTimer);
    const left = [...inFlight, ...queue];
    queue = [];
    inFlight = [];
    for (const item of left) tell(() => item.onWritten(null));
    // A disk that never answers would hold the end of the process up.
    if (!isWorking) await segments.close();
  }

  const itemOf = (frame: JournalFrame, onWritten: Item['onWritten']) => {
    return { bytes: encodeFrame(frame), enqueuedAtMs: nowMs(), onWritten, onRefused: null };
  };

  const hasRoom = (): boolean =>
    !isStalled && !isFailing && !isClosed && !segments.isShortOfRoom() && segments.totalBytes() < capBytes;

  return {
    admit(frame, onLanded) {
      // It had room when the engine asked, a moment ago.
      if (!hasRoom()) return Promise.resolve({ landed: false });
      const { promise, resolve } = Promise.withResolvers<AdmissionWrite>();
      const item: Item = {
        bytes: encodeFrame(frame),
        kind: 'admission',
        enqueuedAtMs: nowMs(),
        onWritten(position) {
          item.onRefused = null;
          if (position !== null) onLanded(position);
          resolve({ landed: position !== null });
        },
        onRefused(write) {
          item.onRefused = null;
          resolve(write);
        },
      };
      enqueue(item);
      return promise;
    },
    append(frame, onWritten) {
      if (isClosed) onWritten(null);
      else enqueue({ ...itemOf(frame, onWritten), kind: 'row' });
    },
    note(frame, onWritten) {
      if (hasRoom()) enqueue({ ...itemOf(frame, onWritten), kind: 'note' });
      else onWritten(null);
    },
    hasRoom,
    sync: () => segments.sync(),
    close: (deadlineMs) => (closing ??= close(deadlineMs)),
  };
}

function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false;
  return error.code === 'ENOSPC' || error.code === 'EDQUOT';
}
