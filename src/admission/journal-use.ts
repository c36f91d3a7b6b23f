/** Which segments of the journal are still needed: those of open requests, of rows not yet in the database, of the last checkpoint. */
import type { SegmentSummary } from './journal-replay.ts';
import { segmentOf } from './journal-segments.ts';

export interface SegmentUse {
  opened(id: string, position: number): void;
  closed(id: string): void;
  settled(id: string, position: number): void;
  checkpointed(position: number): void;
  committed(position: number): void;
  /** Segments go from the oldest on only: one behind an open request may hold the settlement of another in front of it. */
  firstNeeded(): number;
}

export type SegmentNeed = {
  cursor: number;
  checkpointSegment: number | null;
  /** All older segments stay until the cursor is there; 0 when nothing was recovered from them. */
  until: number;
};

export function createSegmentUse(older: readonly SegmentSummary[], need: SegmentNeed): SegmentUse {
  const { cursor, checkpointSegment, until } = need;
  const openIn = new Map<string, number>();
  const openCounts = new Map<number, number>();
  const lastRows = new Map(older.map(({ number, lastRowPosition }) => [number, Math.max(lastRowPosition, until)]));
  const last = older.at(-1)?.number ?? 0;
  let newest = last;
  let first = older[0]?.number ?? last + 1;
  let committedTo = cursor;
  let checkpointIn = checkpointSegment;

  function closed(id: string): void {
    const segment = openIn.get(id);
    if (segment === undefined) return;
    openIn.delete(id);
    openCounts.set(segment, (openCounts.get(segment) ?? 1) - 1);
  }

  const isNeeded = (segment: number): boolean =>
    segment >= newest ||
    segment === checkpointIn ||
    (openCounts.get(segment) ?? 0) > 0 ||
    (lastRows.get(segment) ?? 0) > committedTo;

  return {
    opened(id, position) {
      const segment = segmentOf(position);
      newest = Math.max(newest, segment);
      openIn.set(id, segment);
      openCounts.set(segment, (openCounts.get(segment) ?? 0) + 1);
    },
    closed,
    settled(id, position) {
      const segment = segmentOf(position);
      newest = Math.max(newest, segment);
      lastRows.set(segment, Math.max(lastRows.get(segment) ?? 0, position));
      closed(id);
    },
    checkpointed(position) {
      checkpointIn = segmentOf(position);
      newest = Math.max(newest, checkpointIn);
    },
    committed(position) {
      committedTo = Math.max(committedTo, position);
    },
    firstNeeded() {
      while (!isNeeded(first)) {
        openCounts.delete(first);
        lastRows.delete(first);
        first += 1;
      }
      return first;
    },
  };
}
