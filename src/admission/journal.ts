/**
 * The local journal of the embedded mode: every admission and every settlement is in a file before anybody is told of it,
 * so a process killed at any instruction leaves no hole in the ledger.
 * `openJournal` reads what the last process left, settles its open requests and gives the rows that the database may lack;
 * they go to the ledger before the first request is taken. Old segments go when nothing in them is needed any more.
 * Needs the folder for itself: two writers would destroy it. Spec: reliability 2.5.
 */
import { randomUUID } from 'node:crypto';
import type { AdmitRequest } from '../contract/admission.ts';
import type { UsageRecord } from '../contract/flow.ts';
import type { Every } from './clock.ts';
import { openJournalDisk, type JournalDisk } from './journal-disk.ts';
import { createJournalFile, type AdmissionWrite, type JournalFile } from './journal-file.ts';
import { replayJournal, type PlacedRecord, type Replay } from './journal-replay.ts';
import { openSegments, segmentOf, type JournalLog, type Segments } from './journal-segments.ts';
import { createSegmentUse, type SegmentUse } from './journal-use.ts';

export type OpenJournalOptions = {
  folder: string;
  /** Up to where the rows of this journal are in the database; 0 when it knows nothing of it. */
  readCursor(journalId: string): Promise<number>;
  log: JournalLog;
  /** `strict`: on the medium before the answer. `standard`: within 100 ms, which only a loss of power can tell apart. */
  durability?: 'standard' | 'strict';
  segmentBytes?: number;
  segmentMs?: number;
  reserveBytes?: number;
  capBytes?: number;
  stallMs?: number;
  retryMs?: number;
  syncMs?: number;
  disk?: JournalDisk;
  every?: Every;
  nowMs?: () => number;
  createId?: () => string;
};

export interface Journal {
  readonly id: string;
  /** False on a full or silent disk, and at the cap. */
  hasRoom(): boolean;
  /** Resolves when the write has returned; never rejects. */
  admit(request: Pick<AdmitRequest, 'record' | 'outputPicoUsd'>): Promise<AdmissionWrite>;
  markDispatched(id: string): void;
  reportProgress(tokensById: Readonly<Record<string, number>>): void;
  /** `onWritten` is called in the order of positions; with null when the journal was closed without having written it. */
  settle(record: UsageRecord, onWritten: (position: number | null) => void): void;
  /** The caller of this admission was told no, and its frame may have landed. */
  giveUp(id: string): void;
  checkpoint(levels: unknown): void;
  /** The rows up to here are in the database. */
  committed(position: number): void;
  sizeBytes(): number;
  close(deadlineMs?: number): Promise<void>;
}

export type OpenedJournal = {
  journal: Journal;
  /** For the ledger, in this order. */
  recovered: readonly PlacedRecord[];
  /** Of the last checkpoint; undefined when there was none. */
  levels: unknown;
};

const closeDeadlineMs = 5_000;

export async function openJournal(options: OpenJournalOptions): Promise<OpenedJournal> {
  const { folder, log, nowMs = () => performance.now(), createId = randomUUID } = options;
  const disk = options.disk ?? openJournalDisk(folder);
  const replay = replayJournal(disk, log);
  const id = replay.journalId ?? createId();
  const cursor = replay.journalId === null ? 0 : await options.readCursor(id);
  const segments = await openSegments({
    disk,
    journalId: id,
    first: Math.max(replay.segments.at(-1)?.number ?? 0, segmentOf(cursor)) + 1,
    older: new Map(replay.segments.map(({ number, sizeBytes }) => [number, sizeBytes])),
    segmentBytes: options.segmentBytes ?? 16 * 2 ** 20,
    segmentMs: options.segmentMs ?? 600_000,
    reserveBytes: options.reserveBytes ?? 4 * 2 ** 20,
    isStrict: options.durability === 'strict',
    nowMs,
    log,
  });
  const file = createJournalFile({
    segments,
    capBytes: options.capBytes ?? 2 ** 30,
    stallMs: options.stallMs ?? 250,
    retryMs: options.retryMs ?? 1000,
    syncMs: options.syncMs ?? 100,
    nowMs,
    log,
    ...(options.every === undefined ? {} : { every: options.every }),
  });
  const recovered = recover(replay, cursor);
  const rows = recovered.length;
  const cutOff = replay.abandoned.length;
  if (rows > 0) log.warn({ rows, of_requests_cut_off: cutOff }, 'usage rows were recovered from the journal');
  const needed = {
    cursor,
    checkpointSegment: replay.checkpointSegment,
    until: rows > 0 && cutOff > 0 ? replay.endPosition : 0,
  };
  const journal = createJournal({ id, file, segments, use: createSegmentUse(replay.segments, needed), log });
  journal.committed(cursor);
  return { journal, recovered, levels: replay.levels };
}

/**
 * The owner of every open request is dead, since the folder is ours alone. Nothing is written of its row, so a full disk
 * does not keep it back: as long as its segment is there, every start makes the same row of the same frames. Only the last
 * one moves the cursor, to the end of what was replayed, because then all of them are in the database.
 */
function recover(replay: Replay, cursor: number): PlacedRecord[] {
  const { settled, abandoned, endPosition } = replay;
  if (cursor === endPosition) return [];
  const last = abandoned.length - 1;
  return [
    ...settled.filter(({ position }) => position > cursor),
    ...abandoned.map((record, index) => ({ record, position: index === last ? endPosition : null })),
  ];
}

type Parts = { id: string; file: JournalFile; segments: Segments; use: SegmentUse; log: JournalLog };

function createJournal({ id, file, segments, use, log }: Parts): Journal {
  let removing: Promise<void> = Promise.resolve();
  let removedBefore = 0;
  let isClosed = false;

  function removeUnneeded(): void {
    // The next start does it then.
    if (isClosed) return;
    const firstNeeded = use.firstNeeded();
    if (firstNeeded <= removedBefore) return;
    removedBefore = firstNeeded;
    removing = removing
      .then(() => segments.removeBefore(firstNeeded))
      .catch((error: unknown) => log.warn({ err: error }, 'old journal segments could not be deleted'));
  }

  return {
    id,
    hasRoom: () => file.hasRoom(),
    admit: ({ record, outputPicoUsd }) =>
      file.admit({ kind: 'admit', record, ...(outputPicoUsd === undefined ? {} : { outputPicoUsd }) }, (position) =>
        use.opened(record.requestId, position),
      ),
    markDispatched: (id) => file.append({ kind: 'mark', id }, ignore),
    reportProgress: (tokens) => file.note({ kind: 'progress', tokens }, ignore),
    settle: (record, onWritten) =>
      file.append({ kind: 'settle', record }, (position) => {
        if (position !== null) use.settled(record.requestId, position);
        onWritten(position);
      }),
    giveUp: (id) => file.append({ kind: 'give_up', id }, () => use.closed(id)),
    checkpoint(levels) {
      file.note({ kind: 'checkpoint', levels }, (position) => {
        if (position === null) return;
        use.checkpointed(position);
        removeUnneeded();
      });
    },
    committed(position) {
      use.committed(position);
      removeUnneeded();
    },
    sizeBytes: () => segments.totalBytes(),
    async close(deadlineMs = closeDeadlineMs) {
      isClosed = true;
      await removing;
      await file.close(deadlineMs);
    },
  };
}

const ignore = (): void => undefined;
