/**
 * Which file the journal writes to: numbered segments that follow each other, and a reserved one for a full disk.
 * Takes bytes and gives their position in the journal's whole life; a failed write leaves no trace in front of the next.
 * Must never leave a segment behind that does not end in a whole frame: only the last may, and only after a kill.
 */
import type { DiskFile, JournalDisk } from './journal-disk.ts';
import { encodeFrame } from './journal-frames.ts';

export type JournalLog = {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
};

export type SegmentsOptions = {
  disk: JournalDisk;
  journalId: string;
  /** The number of the segment to begin. */
  first: number;
  /** Sizes of the older ones, by number. */
  older: ReadonlyMap<number, number>;
  segmentBytes: number;
  segmentMs: number;
  reserveBytes: number;
  /** Each write is on the medium before it counts. */
  isStrict: boolean;
  nowMs: () => number;
  log: JournalLog;
};

export interface Segments {
  /** Gives the position of the first byte. */
  write(bytes: Buffer): Promise<number>;
  /** Bytes that may still be written; without bound unless this is the reserve. */
  roomBytes(): number;
  /** The reserve is in use, or there is none to fall back on. */
  isShortOfRoom(): boolean;
  rotateIfDue(): Promise<void>;
  enterReserve(): Promise<void>;
  /** Back to a file without bound; fails while the disk has no room for a new reserve. */
  restoreReserve(): Promise<void>;
  sync(): Promise<void>;
  removeBefore(number: number): Promise<void>;
  totalBytes(): number;
  close(): Promise<void>;
}

type Current = {
  number: number;
  file: DiskFile;
  offset: number;
  capacityBytes: number;
  startedAtMs: number;
  isDirty: boolean;
  /** Something may lie behind `offset` that is no whole frame, or one that its writer was told had failed. */
  isTorn: boolean;
};

type Beginning = { number: number; follows: number; capacityBytes: number };

const reserveName = 'reserve';
const reserveDraftName = 'reserve.new';
const segmentSpan = 2 ** 32;

export const segmentName = (number: number): string => `${String(number).padStart(8, '0')}.log`;
export const segmentNumber = (name: string): number | null =>
  /^\d{8,}\.log$/.test(name) ? Number.parseInt(name, 10) : null;
/** Ordered as the journal was written, and exact for two million segments. */
export const positionOf = (segment: number, offset: number): number => segment * segmentSpan + offset;
export const segmentOf = (position: number): number => Math.floor(position / segmentSpan);

export async function openSegments(options: SegmentsOptions): Promise<Segments> {
  const { disk, journalId, segmentBytes, segmentMs, reserveBytes, isStrict, nowMs, log } = options;
  const sizes = new Map(options.older);
  disk.remove(reserveDraftName);
  let isMissingReserve = false;
  if (!hasReserve()) {
    // What is in the journal must reach the database even so: that may be what makes room.
    await createReserve().catch((error: unknown) => {
      isMissingReserve = true;
      log.error(
        { err: error },
        'the disk has no room for the reserve of the journal: nothing is admitted until it has',
      );
    });
  }
  let current = await createSegment(options.first, Math.max(0, ...sizes.keys()));

  function hasReserve(): boolean {
    return disk.list().includes(reserveName) && disk.sizeBytes(reserveName) === reserveBytes;
  }

  /** Written out, because a file of holes would find no room when it is needed. */
  async function createReserve(): Promise<void> {
    disk.remove(reserveDraftName);
    const file = await disk.create(reserveDraftName);
    try {
      await file.write(Buffer.alloc(reserveBytes), 0);
      await file.sync();
      await file.close();
      await disk.rename(reserveDraftName, reserveName);
    } catch (error) {
      await file.close().catch(ignore);
      disk.remove(reserveDraftName);
      throw error;
    }
    isMissingReserve = false;
  }

  async function createSegment(number: number, follows: number): Promise<Current> {
    const file = await disk.create(segmentName(number));
    try {
      return await begin(file, { number, follows, capacityBytes: Number.POSITIVE_INFINITY });
    } catch (error) {
      await file.close().catch(ignore);
      disk.remove(segmentName(number));
      throw error;
    }
  }

  async function begin(file: DiskFile, { number, follows, capacityBytes }: Beginning): Promise<Current> {
    const head = encodeFrame({ kind: 'head', version: 1, journal: journalId, segment: number, follows });
    await file.write(head, 0);
    if (isStrict) await file.sync();
    sizes.set(number, head.length);
    const startedAtMs = nowMs();
    return { number, file, offset: head.length, capacityBytes, startedAtMs, isDirty: true, isTorn: false };
  }

  async function heal(): Promise<void> {
    if (!current.isTorn) return;
    await current.file.truncate(current.offset);
    current.isTorn = false;
  }

  /** The next segment exists only once this one is whole on the medium: a cut in the middle could not be told from damage. */
  async function finish(): Promise<void> {
    await heal();
    await sync();
  }

  function succeed(next: Current): void {
    const { file } = current;
    current = next;
    // Its data is safe already.
    file.close().catch(ignore);
  }

  async function sync(): Promise<void> {
    if (!current.isDirty) return;
    current.isDirty = false;
    await current.file.sync();
  }

  return {
    async write(bytes) {
      await heal();
      const { file, number, offset } = current;
      try {
        await file.write(bytes, offset);
        if (isStrict) await file.sync();
      } catch (error) {
        current.isTorn = true;
        throw error;
      }
      current.offset = offset + bytes.length;
      current.isDirty = !isStrict;
      sizes.set(number, current.offset);
      return positionOf(number, offset);
    },
    roomBytes: () => current.capacityBytes - current.offset,
    isShortOfRoom: () => isMissingReserve || Number.isFinite(current.capacityBytes),
    async rotateIfDue() {
      const isOld = nowMs() - current.startedAtMs >= segmentMs;
      if (Number.isFinite(current.capacityBytes) || (current.offset < segmentBytes && !isOld)) return;
      await finish();
      succeed(await createSegment(current.number + 1, current.number));
    },
    async enterReserve() {
      await finish();
      const number = current.number + 1;
      const file = await disk.open(reserveName);
      try {
        const next = await begin(file, { number, follows: current.number, capacityBytes: reserveBytes });
        // The name comes last: a reserve that was not taken yet may be taken again.
        await disk.rename(reserveName, segmentName(number));
        succeed(next);
      } catch (error) {
        await file.close().catch(ignore);
        sizes.delete(number);
        throw error;
      }
    },
    async restoreReserve() {
      await createReserve();
      current.isTorn = true;
      current.capacityBytes = Number.POSITIVE_INFINITY;
      await heal();
    },
    sync,
    async removeBefore(number) {
      const old = [...sizes.keys()].filter((other) => other < number && other < current.number);
      if (old.length === 0) return;
      // What replaces them is on the medium before they go.
      await current.file.sync();
      for (const other of old.toSorted((a, b) => a - b)) {
        disk.remove(segmentName(other));
        sizes.delete(other);
      }
    },
    totalBytes: () => sizes.values().reduce((sum, sizeBytes) => sum + sizeBytes, 0),
    async close() {
      if (current.isTorn || Number.isFinite(current.capacityBytes)) {
        await current.file.truncate(current.offset).catch(ignore);
      }
      await sync();
      await current.file.close();
    },
  };
}

/** Of two failures the first one tells; a file that cannot be closed is gone all the same. */
const ignore = (): void => undefined;
