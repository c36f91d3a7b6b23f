/**
 * Reads HTTP/1.1 replies off a raw socket and counts Server-Sent Events as they arrive. Own code, because a client
 * library would add its own queues between the wire and the clock. Chunked and length-framed bodies; nothing else.
 */

export type Reading = {
  /** Events that became complete with this piece. */
  events: number;
  /** The reply is whole and the connection may carry the next request. */
  isComplete: boolean;
};

export type ReplyReader = {
  push(piece: Buffer): Reading;
  /** Makes it ready for the next reply on the same connection. */
  reset(): void;
  status(): number;
  /** The body without its framing; empty unless it was asked for. */
  body(): Buffer;
};

type Phase = 'head' | 'size' | 'data' | 'data-end' | 'fixed' | 'trailer' | 'complete';

const lineFeed = 10;

export function createReplyReader({ keepsBody }: { keepsBody: boolean }): ReplyReader {
  let phase: Phase = 'head';
  let line = '';
  let remaining = 0;
  let status = 0;
  let isAfterLineFeed = false;
  let kept: Buffer[] = [];

  function countEvents(data: Buffer): number {
    if (keepsBody) kept.push(Buffer.from(data));
    let events = 0;
    // Position of a line feed that still waits for its twin; -1 is the last byte of the data before.
    let waiting = isAfterLineFeed ? -1 : -2;
    for (let at = data.indexOf(lineFeed); at !== -1; at = data.indexOf(lineFeed, at + 1)) {
      if (at === waiting + 1) {
        events += 1;
        waiting = -2;
      } else waiting = at;
    }
    isAfterLineFeed = waiting === data.length - 1;
    return events;
  }

  function onHead(head: string): void {
    status = Number(head.slice(9, 12));
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    remaining = Number(length ?? 0);
    if (/\r\ntransfer-encoding: *chunked/i.test(head)) phase = 'size';
    else phase = remaining > 0 ? 'fixed' : 'complete';
  }

  /** Consumes text up to and with the terminator; undefined when it has not all come. */
  function takeThrough(terminator: string, piece: Buffer, from: number): number | undefined {
    const before = line.length;
    line += piece.toString('latin1', from);
    const end = line.indexOf(terminator);
    if (end === -1) return undefined;
    const next = from + end + terminator.length - before;
    line = line.slice(0, end);
    return next;
  }

  function takeData(piece: Buffer, from: number): { next: number; events: number } {
    const end = Math.min(piece.length, from + remaining);
    remaining -= end - from;
    return { next: end, events: countEvents(piece.subarray(from, end)) };
  }

  function push(piece: Buffer): Reading {
    let at = 0;
    let events = 0;
    while (at < piece.length && phase !== 'complete') {
      if (phase === 'data' || phase === 'fixed') {
        const taken = takeData(piece, at);
        at = taken.next;
        events += taken.events;
        if (remaining === 0) phase = phase === 'data' ? 'data-end' : 'complete';
        continue;
      }
      const next = takeThrough(phase === 'head' ? '\r\n\r\n' : '\r\n', piece, at);
      if (next === undefined) break;
      at = next;
      const text = line;
      line = '';
      if (phase === 'head') onHead(text);
      else if (phase === 'data-end') phase = 'size';
      else if (phase === 'trailer') phase = text === '' ? 'complete' : 'trailer';
      else {
        remaining = Number.parseInt(text, 16);
        phase = remaining === 0 ? 'trailer' : 'data';
      }
    }
    return { events, isComplete: phase === 'complete' };
  }

  return {
    push,
    reset() {
      phase = 'head';
      line = '';
      isAfterLineFeed = false;
      kept = [];
    },
    status: () => status,
    body: () => Buffer.concat(kept),
  };
}
