/**
 * Server-Sent Events, read at the level of bytes: any line end, a byte order mark, comments, several data lines, events
 * split anywhere, also inside a character. Linear in time, bounded in memory. Spec: fidelity 2.1.
 */
import { gatewayError } from '../contract/errors.ts';
import type { SseEvent } from '../contract/provider.ts';
import { ByteQueue } from './byte-queue.ts';

export const maximumEventBytes = 4 * 1024 * 1024;

const lineFeed = 0x0a;
const carriageReturn = 0x0d;

export class SseReader {
  readonly #queue = new ByteQueue();
  readonly #limitBytes: number;
  /** Bytes of the queue that hold no line end, for certain. */
  #scanned = 0;
  #data: string[] = [];
  #eventName = '';
  #eventBytes = 0;
  #isFirstLine = true;
  #skipLineFeed = false;

  constructor(limitBytes: number = maximumEventBytes) {
    this.#limitBytes = limitBytes;
  }

  /** Complete events in `chunk` and what came before. Throws a `GatewayError` for an event over the limit. */
  push(chunk: Buffer): SseEvent[] {
    const events: SseEvent[] = [];
    this.#queue.append(chunk);
    const bytes = this.#queue.view();
    let lineStart = 0;
    let from = this.#scanned;
    let nextReturn = bytes.indexOf(carriageReturn, from);
    for (;;) {
      const nextFeed = bytes.indexOf(lineFeed, from);
      if (nextReturn !== -1 && nextReturn < from) nextReturn = bytes.indexOf(carriageReturn, from);
      const isReturn = nextReturn !== -1 && (nextFeed === -1 || nextReturn < nextFeed);
      const lineEnd = isReturn ? nextReturn : nextFeed;
      if (lineEnd === -1) break;
      const isSecondHalf = this.#skipLineFeed && !isReturn && lineEnd === lineStart;
      this.#skipLineFeed = isReturn;
      if (!isSecondHalf) this.#takeLine(bytes, lineStart, lineEnd, events);
      lineStart = lineEnd + 1;
      from = lineStart;
    }
    this.#queue.consume(lineStart);
    this.#scanned = this.#queue.length;
    if (this.#eventBytes + this.#queue.length > this.#limitBytes) throw this.#tooLarge();
    return events;
  }

  /**
   * The stream is over. A last event without its blank line counts only when it is whole, which can be told for the end
   * marker and for JSON; anything else was cut.
   */
  end(): SseEvent[] {
    const events: SseEvent[] = [];
    if (this.#queue.length > 0) {
      const rest = this.#queue.view();
      this.#takeLine(rest, 0, rest.length, events);
      this.#queue.consume(rest.length);
      this.#scanned = 0;
    }
    if (this.#data.length > 0 && isWhole(this.#data.join('\n'))) this.#dispatch(events);
    return events;
  }

  #takeLine(bytes: Buffer, start: number, end: number, events: SseEvent[]): void {
    if (start === end) {
      this.#dispatch(events);
      return;
    }
    this.#eventBytes += end - start;
    if (this.#eventBytes > this.#limitBytes) throw this.#tooLarge();
    let line = bytes.toString('utf8', start, end);
    if (this.#isFirstLine) {
      this.#isFirstLine = false;
      if (line.startsWith('\uFEFF')) line = line.slice(1);
    }
    const colon = line.indexOf(':');
    if (colon === 0) return;
    const field = colon === -1 ? line : line.slice(0, colon);
    const valueStart = colon === -1 ? line.length : line.startsWith(' ', colon + 1) ? colon + 2 : colon + 1;
    if (field === 'data') this.#data.push(line.slice(valueStart));
    else if (field === 'event') this.#eventName = line.slice(valueStart);
  }

  #dispatch(events: SseEvent[]): void {
    if (this.#data.length > 0) {
      const [only = ''] = this.#data;
      events.push({ event: this.#eventName, data: this.#data.length === 1 ? only : this.#data.join('\n') });
      this.#data = [];
    }
    this.#eventName = '';
    this.#eventBytes = 0;
  }

  #tooLarge(): Error {
    return gatewayError('upstreamBadReply', { message: 'The provider sent an event that is too large to relay.' });
  }
}

export function isWhole(data: string): boolean {
  if (data === '[DONE]') return true;
  try {
    JSON.parse(data);
    return true;
  } catch {
    return false;
  }
}

/** One event as bytes on the wire, with the blank line that makes a client dispatch it. */
export function frameEvent(event: SseEvent): string {
  return event.event === '' ? `data: ${event.data}\n\n` : `event: ${event.event}\ndata: ${event.data}\n\n`;
}
