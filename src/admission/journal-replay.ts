/**
 * What an earlier process left in the journal: rows that may not have reached the database, and requests that it died with.
 * Reads every segment before anything is written. A write that was cut short at the very end is cut off; damage anywhere
 * else refuses the start, because rows would be missing without anybody knowing. Spec: reliability 2.5.
 */
import type { UsageRecord } from '../contract/flow.ts';
import { notDispatchedRecord, orphanRecord, type Abandoned } from './abandoned-record.ts';
import type { JournalDisk } from './journal-disk.ts';
import { readSegment, type JournalFrame, type PlacedFrame } from './journal-frames.ts';
import { positionOf, segmentName, segmentNumber, type JournalLog } from './journal-segments.ts';

/** null: the row of a request that was cut off; it has no frame of its own. */
export type PlacedRecord = { record: UsageRecord; position: number | null };

/** What keeps a segment: rows until the cursor has passed them. */
export type SegmentSummary = { number: number; sizeBytes: number; lastRowPosition: number };

export type Replay = {
  /** null: there was no journal. */
  journalId: string | null;
  segments: readonly SegmentSummary[];
  settled: readonly { record: UsageRecord; position: number }[];
  /** The rows of requests that were running when the process died. */
  abandoned: readonly UsageRecord[];
  /** Behind every frame that was read; 0 when there was none. */
  endPosition: number;
  /** Of the last checkpoint. */
  levels: unknown;
  checkpointSegment: number | null;
};

type OpenRequest = Abandoned & { isDispatched: boolean; progressTokens: number };

type Reading = {
  journalId: string | null;
  open: Map<string, OpenRequest>;
  settled: { record: UsageRecord; position: number }[];
  levels: unknown;
  checkpointSegment: number | null;
};

export function replayJournal(disk: JournalDisk, log: JournalLog): Replay {
  const numbers = numbersOf(disk);
  const reading: Reading = {
    journalId: null,
    open: new Map(),
    settled: [],
    levels: undefined,
    checkpointSegment: null,
  };
  const segments = numbers.map((number, index) =>
    readOne(number, { disk, log, reading, earlier: numbers[index - 1], isLast: index === numbers.length - 1 }),
  );
  const { journalId, settled, levels, checkpointSegment, open } = reading;
  const last = segments.at(-1);
  return {
    journalId,
    segments,
    settled,
    levels,
    checkpointSegment,
    abandoned: [...open.values()].map(rowOf),
    endPosition: last === undefined ? 0 : positionOf(last.number, last.sizeBytes),
  };
}

const rowOf = ({ record, outputPicoUsd, isDispatched, progressTokens }: OpenRequest): UsageRecord =>
  isDispatched
    ? orphanRecord({ record, ...(outputPicoUsd === undefined ? {} : { outputPicoUsd }) }, progressTokens)
    : notDispatchedRecord(record);

/** A last segment without one whole frame is of a process that died before its first write had returned. */
function numbersOf(disk: JournalDisk): readonly number[] {
  const numbers = disk
    .list()
    .flatMap((name) => segmentNumber(name) ?? [])
    .toSorted((left, right) => left - right);
  const last = numbers.at(-1);
  if (last === undefined) return numbers;
  const { frames, fault } = readSegment(disk.read(segmentName(last)));
  if (frames.length > 0 || fault?.isTail === false) return numbers;
  disk.remove(segmentName(last));
  return numbersOf(disk);
}

type ReadContext = {
  disk: JournalDisk;
  log: JournalLog;
  reading: Reading;
  earlier: number | undefined;
  isLast: boolean;
};

function readOne(number: number, { disk, log, reading, earlier, isLast }: ReadContext): SegmentSummary {
  const name = segmentName(number);
  const bytes = disk.read(name);
  const { frames, endOffset, fault } = readSegment(bytes);
  if (fault !== null && !(isLast && fault.isTail)) throw damaged(disk.pathOf(name), fault.offset, bytes.length);
  if (fault !== null) {
    const lostBytes = bytes.length - endOffset;
    // A reserve that was in use is empty from here on; that is no loss.
    if (bytes.subarray(endOffset).some((byte) => byte !== 0))
      log.warn({ segment: number, bytes: lostBytes }, 'a write to the journal was cut short by the end of its process');
    disk.cut(name, endOffset);
  }
  checkHead(frames[0], { number, earlier, disk, reading });
  let lastRowPosition = 0;
  for (const { frame, offset } of frames) {
    const position = positionOf(number, offset);
    if (frame.kind === 'settle') lastRowPosition = position;
    take(frame, { reading, position, number });
  }
  return { number, sizeBytes: endOffset, lastRowPosition };
}

type HeadContext = Pick<ReadContext, 'disk' | 'reading' | 'earlier'> & { number: number };

function checkHead(first: PlacedFrame | undefined, { number, earlier, disk, reading }: HeadContext): void {
  const path = disk.pathOf(segmentName(number));
  const head = first?.frame;
  if (head?.kind !== 'head' || head.segment !== number || head.version !== 1) {
    throw new Error(`${path} is not segment ${number} of a journal that this version can read. Move it away.`);
  }
  if (earlier !== undefined && head.follows !== earlier) throw missingSegment(disk, head.follows);
  reading.journalId ??= head.journal;
  if (reading.journalId !== head.journal) {
    throw new Error(`${path} belongs to another journal than the segments before it. Move one of the two away.`);
  }
}

function take(frame: JournalFrame, place: { reading: Reading; position: number; number: number }): void {
  const { reading, position, number } = place;
  const { open } = reading;
  switch (frame.kind) {
    case 'head':
      return;
    case 'admit':
      open.set(frame.record.requestId, { ...frame, isDispatched: false, progressTokens: 0 });
      return;
    case 'mark':
      markDispatched(open.get(frame.id));
      return;
    case 'progress':
      for (const [id, tokens] of Object.entries(frame.tokens)) raiseProgress(open.get(id), tokens);
      return;
    case 'settle':
      open.delete(frame.record.requestId);
      reading.settled.push({ record: frame.record, position });
      return;
    case 'give_up':
      open.delete(frame.id);
      return;
    case 'checkpoint':
      reading.levels = frame.levels;
      reading.checkpointSegment = number;
  }
}

function markDispatched(request: OpenRequest | undefined): void {
  if (request !== undefined) request.isDispatched = true;
}

function raiseProgress(request: OpenRequest | undefined, tokens: number): void {
  if (request !== undefined) request.progressTokens = Math.max(request.progressTokens, tokens);
}

function damaged(path: string, offset: number, sizeBytes: number): Error {
  return new Error(
    `The journal is damaged: ${path} has no valid frame at byte ${offset} of ${sizeBytes}, and it was whole once. ` +
      'Restore the file from a backup. To start without the usage rows behind that byte, which are lost then, ' +
      `run: truncate -s ${offset} '${path}'`,
  );
}

function missingSegment(disk: JournalDisk, number: number): Error {
  return new Error(
    `The journal lacks ${disk.pathOf(segmentName(number))}, although there are segments before and after it. ` +
      'Restore the file from a backup. To start without its usage rows, move the segments before it away as well.',
  );
}
