/**
 * The bytes of the journal: each frame is its length, a CRC-32 and JSON. Pure: frames in, bytes out, and back.
 * A reader must tell a write that was cut short, which a killed process leaves at the very end, from damage to what was
 * once whole: the first is cut off, the second is never passed over in silence. Spec: reliability 2.5.
 */
import { crc32 } from 'node:zlib';
import type { UsageRecord } from '../contract/flow.ts';
import { isJsonObject } from '../contract/json.ts';

export type JournalFrame =
  /** `follows` is the segment before it, so that a missing one is noticed. */
  | { kind: 'head'; version: 1; journal: string; segment: number; follows: number }
  | { kind: 'admit'; record: UsageRecord; outputPicoUsd?: number }
  | { kind: 'mark'; id: string }
  | { kind: 'progress'; tokens: Readonly<Record<string, number>> }
  | { kind: 'settle'; record: UsageRecord }
  /** The caller was told no before the frame of its admission had landed: no row. */
  | { kind: 'give_up'; id: string }
  | { kind: 'checkpoint'; levels: unknown };

export type PlacedFrame = { frame: JournalFrame; offset: number };

export type FrameFault = {
  offset: number;
  /** Nothing whole comes after it. */
  isTail: boolean;
};

export type SegmentContent = {
  frames: readonly PlacedFrame[];
  /** Where the last whole frame ends. */
  endOffset: number;
  fault: FrameFault | null;
};

const headBytes = 8;
const kinds: readonly unknown[] = ['head', 'admit', 'mark', 'progress', 'settle', 'give_up', 'checkpoint'];
/** How the JSON of every frame begins; it is what a search for whole frames behind a bad one looks for. */
const opening = '{"kind":"';

/** CRC-32 of zlib, which the runtime computes natively; a CRC-32C in JavaScript would cost more than the JSON. */
export function encodeFrame(frame: JournalFrame): Buffer {
  const text = JSON.stringify(frame);
  const bytes = Buffer.allocUnsafe(headBytes + Buffer.byteLength(text));
  bytes.write(text, headBytes);
  bytes.writeUInt32LE(bytes.length - headBytes, 0);
  bytes.writeUInt32LE(crc32(bytes.subarray(headBytes)), 4);
  return bytes;
}

export function readSegment(bytes: Buffer): SegmentContent {
  const frames: PlacedFrame[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const found = frameAt(bytes, offset);
    if (found === null) return { frames, endOffset: offset, fault: { offset, isTail: !hasFrameAfter(bytes, offset) } };
    frames.push({ frame: found.frame, offset });
    offset = found.endOffset;
  }
  return { frames, endOffset: offset, fault: null };
}

function frameAt(bytes: Buffer, offset: number): { frame: JournalFrame; endOffset: number } | null {
  const bodyOffset = offset + headBytes;
  if (bodyOffset > bytes.length) return null;
  const endOffset = bodyOffset + bytes.readUInt32LE(offset);
  if (endOffset === bodyOffset || endOffset > bytes.length) return null;
  const body = bytes.subarray(bodyOffset, endOffset);
  if (crc32(body) !== bytes.readUInt32LE(offset + 4)) return null;
  const frame = parseFrame(body);
  return frame === null ? null : { frame, endOffset };
}

function parseFrame(body: Buffer): JournalFrame | null {
  try {
    const value: unknown = JSON.parse(body.toString());
    return isJsonObject(value) && kinds.includes(value['kind']) ? (value as JournalFrame) : null;
  } catch {
    // The checksum held, so this is no frame of ours.
    return null;
  }
}

/** The length of the bad frame cannot be trusted, so the search goes by how a frame begins. */
function hasFrameAfter(bytes: Buffer, badOffset: number): boolean {
  let bodyOffset = bytes.indexOf(opening, badOffset + headBytes + 1);
  while (bodyOffset !== -1) {
    if (frameAt(bytes, bodyOffset - headBytes) !== null) return true;
    bodyOffset = bytes.indexOf(opening, bodyOffset + 1);
  }
  return false;
}
