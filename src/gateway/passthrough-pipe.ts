/**
 * A stream whose bytes the caller gets as they are. Only whole events are handed on, so that what the gateway adds of
 * its own (a comment, an error) never lands inside one. When the gateway itself asked for usage, it takes that out
 * again by bytes: the usage event, and the member `"usage":null` of the others. Nothing is parsed but the first event,
 * which may be an error, and the one with the usage. Spec: fidelity 2.2 and 2.4, performance 3.3.
 */
import type { GatewayError } from '../contract/errors.ts';
import { gatewayError } from '../contract/errors.ts';
import type { Usage } from '../contract/flow.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../contract/json.ts';
import { ByteQueue } from '../upstream/byte-queue.ts';
import { isWhole, maximumEventBytes } from '../upstream/sse.ts';
import type { Pipe } from './pipe.ts';

export type PassthroughOptions = {
  /** The caller did not ask for usage, the gateway did. */
  cutUsage: boolean;
  findError(body: JsonObject, eventName: string): GatewayError | null;
  readUsage(body: JsonObject): Usage | null;
};

/** Enough to hold the last events of a stream: finish, usage, what may follow it, end marker. */
const tailBytes = 16 * 1024;
const usageNull = ',"usage":null';
const usageKey = '"usage":';
const endMarker = '[DONE]';

export class PassthroughPipe implements Pipe {
  readonly #options: PassthroughOptions;
  readonly #queue = new ByteQueue();
  /** Bytes of the queue that hold no event's end, for certain. */
  #scanned = 0;
  #isOpened = false;
  #tail: Buffer[] = [];
  #tailLength = 0;
  #events = 0;
  #cutUsage: Usage | null = null;
  failure: GatewayError | null = null;
  isFailureShown = false;
  isComplete = false;
  isEnded = false;

  constructor(options: PassthroughOptions) {
    this.#options = options;
  }

  push(chunk: Buffer): Buffer | null {
    this.#queue.append(chunk);
    const waiting = this.#queue.view();
    const end = lastEventEnd(waiting, this.#scanned);
    if (end === 0) {
      this.#scanned = waiting.length;
      if (waiting.length > maximumEventBytes) throw tooLarge();
      return null;
    }
    const events = waiting.subarray(0, end);
    if (!this.#isOpened && !this.#open(events)) {
      this.#scanned = waiting.length;
      return null;
    }
    this.#queue.consume(end);
    this.#scanned = this.#queue.length;
    this.#remember(events);
    if (this.isEnded) return null;
    const marker = endMarkerEnd(events);
    this.isEnded = marker !== -1;
    // What comes behind the end is metered and no longer shown.
    const shown = this.isEnded ? events.subarray(0, marker) : events;
    return this.#options.cutUsage ? this.#withoutUsage(shown) : shown;
  }

  end(): Buffer | string | null {
    const rest = this.#queue.view().toString();
    const lastEvent = this.#isOpened || this.#open(this.#queue.view()) ? wholeEvent(rest) : null;
    const tail = `${Buffer.concat(this.#tail).toString()}${lastEvent ?? ''}`;
    const hasEndMarker = /(?:^|\n)data: ?\[DONE\]/.test(tail);
    this.isComplete = hasEndMarker || /"finish_reason":\s*"/.test(tail);
    if (this.failure === null) this.#findLateError(tail);
    if (this.failure !== null || !this.isComplete) return null;
    return hasEndMarker ? lastEvent : `${lastEvent ?? ''}data: [DONE]\n\n`;
  }

  usage(): Usage | null {
    if (this.#cutUsage !== null) return this.#cutUsage;
    const tail = Buffer.concat(this.#tail);
    let at = tail.lastIndexOf(usageKey);
    while (at !== -1) {
      const json = parseEvent(tail.subarray(eventStart(tail, at), eventEnd(tail, at)));
      const usage = json === null ? null : this.#options.readUsage(json);
      if (usage !== null) return usage;
      at = at === 0 ? -1 : tail.lastIndexOf(usageKey, at - 1);
    }
    return null;
  }

  /** Providers of this dialect send about one token in an event; the first one only names the role. */
  estimateOutputTokens(): number {
    return Math.max(0, this.#events - 1);
  }

  /** Looks at the first event that is no comment, before the caller has seen a status. False: it is not here yet. */
  #open(events: Buffer): boolean {
    const first = firstDataEvent(events);
    if (first === null) return false;
    this.#isOpened = true;
    const json = parseEvent(first);
    this.failure = json === null ? null : this.#options.findError(json, eventNameOf(first));
    return this.failure === null;
  }

  #remember(events: Buffer): void {
    for (let at = events.indexOf('\n\n'); at !== -1; at = events.indexOf('\n\n', at + 2)) this.#events += 1;
    this.#tail.push(events);
    this.#tailLength += events.length;
    let first = this.#tail[0];
    while (first !== undefined && this.#tailLength - first.length >= tailBytes) {
      this.#tail.shift();
      this.#tailLength -= first.length;
      first = this.#tail[0];
    }
  }

  #withoutUsage(events: Buffer): Buffer | null {
    let at = events.indexOf(usageKey);
    if (at === -1) return events;
    const kept: Buffer[] = [];
    let from = 0;
    while (at !== -1) {
      const nullAt = at - 1;
      if (events.toString('latin1', nullAt, nullAt + usageNull.length) === usageNull) {
        kept.push(events.subarray(from, nullAt));
        from = nullAt + usageNull.length;
      } else if (this.#takeUsageEvent(events, at)) {
        kept.push(events.subarray(from, eventStart(events, at)));
        from = eventEnd(events, at);
      }
      at = events.indexOf(usageKey, Math.max(from, at + 1));
    }
    kept.push(events.subarray(from));
    const result = Buffer.concat(kept);
    return result.length === 0 ? null : result;
  }

  /** Only the event that carries nothing but usage goes; anything else in it is the caller's. */
  #takeUsageEvent(events: Buffer, at: number): boolean {
    const json = parseEvent(events.subarray(eventStart(events, at), eventEnd(events, at)));
    if (json === null || !Array.isArray(json['choices']) || json['choices'].length > 0) return false;
    const usage = this.#options.readUsage(json);
    if (usage !== null) this.#cutUsage = usage;
    return usage !== null;
  }

  /** An error in the middle of the stream has gone to the caller as it came; the row must know it. */
  #findLateError(tail: string): void {
    if (!tail.includes('"error"')) return;
    for (const event of tail.split(/\r?\n\r?\n/)) {
      const bytes = Buffer.from(event);
      const json = parseEvent(bytes);
      const failure = json === null ? null : this.#options.findError(json, eventNameOf(bytes));
      if (failure === null) continue;
      this.failure = failure;
      this.isFailureShown = true;
    }
  }
}

const lineFeed = 0x0a;
const carriageReturn = 0x0d;

/** The index behind the last blank line, or 0. What was scanned before is not scanned again, but for a blank line's start. */
function lastEventEnd(bytes: Buffer, scanned: number): number {
  const from = Math.max(0, scanned - 3);
  const fresh = from === 0 ? bytes : bytes.subarray(from);
  const feed = fresh.lastIndexOf('\n\n');
  const returns = fresh.lastIndexOf('\r\n\r\n');
  if (feed === -1 && returns === -1) return 0;
  return from + (feed > returns ? feed + 2 : returns + 4);
}

/** Start of the event that holds the byte `at`. */
function eventStart(bytes: Buffer, at: number): number {
  const feed = bytes.lastIndexOf('\n\n', at);
  const returns = bytes.lastIndexOf('\r\n\r\n', at);
  return Math.max(feed === -1 ? 0 : feed + 2, returns === -1 ? 0 : returns + 4);
}

function eventEnd(bytes: Buffer, at: number): number {
  for (let feed = bytes.indexOf(lineFeed, at); feed !== -1; feed = bytes.indexOf(lineFeed, feed + 1)) {
    if (bytes[feed + 1] === lineFeed) return feed + 2;
    if (bytes[feed + 1] === carriageReturn && bytes[feed + 2] === lineFeed) return feed + 3;
  }
  return bytes.length;
}

/** The index behind the end marker's event, or -1. Words may hold the marker, but no line of theirs begins with it. */
function endMarkerEnd(bytes: Buffer): number {
  for (let at = bytes.indexOf(endMarker); at !== -1; at = bytes.indexOf(endMarker, at + 1)) {
    if (/(?:^|\n)data: ?$/.test(bytes.toString('latin1', Math.max(0, at - 7), at))) return eventEnd(bytes, at);
  }
  return -1;
}

function firstDataEvent(bytes: Buffer): Buffer | null {
  let start = 0;
  while (start < bytes.length) {
    const end = eventEnd(bytes, start);
    const event = bytes.subarray(start, end);
    if (dataOf(event) !== '') return event;
    start = end;
  }
  return null;
}

function dataOf(event: Buffer): string {
  return event
    .toString()
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .flatMap((line) => (line.startsWith('data:') ? [line.slice(line.startsWith(' ', 5) ? 6 : 5)] : []))
    .join('\n');
}

function eventNameOf(event: Buffer): string {
  return /(?:^|\n)event: ?([^\r\n]*)/.exec(event.toString())?.[1] ?? '';
}

function parseEvent(event: Buffer): JsonObject | null {
  try {
    const json = JSON.parse(dataOf(event)) as JsonValue;
    return isJsonObject(json) ? json : null;
  } catch {
    // The end marker, a comment, or the half of an event at the edge of the tail.
    return null;
  }
}

/** The last event may lack its blank line, without which no client would dispatch it. Half an event is dropped. */
function wholeEvent(text: string): string | null {
  const event = text.replace(/[\r\n]+$/, '');
  const data = dataOf(Buffer.from(event));
  return data !== '' && isWhole(data) ? `${event}\n\n` : null;
}

function tooLarge(): GatewayError {
  return gatewayError('upstreamBadReply', { message: 'The provider sent an event that is too large to relay.' });
}
