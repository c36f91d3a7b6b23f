/**
 * Amazon's binary event stream (`application/vnd.amazon.eventstream`): frames of a prelude, headers, a payload and two
 * checksums, read at the level of bytes behind the same interface as Server-Sent Events. An event carries its
 * `:event-type`; an exception is told as `exception:<type>`. Spec: fidelity 2.1.
 */
import { crc32 } from 'node:zlib';
import { gatewayError, type GatewayError } from '../contract/errors.ts';
import type { SseEvent } from '../contract/provider.ts';
import { ByteQueue } from './byte-queue.ts';
import { maximumEventBytes } from './sse.ts';

export const amazonEventStreamType = 'application/vnd.amazon.eventstream';

/** Total length, length of the headers, checksum of both. */
const preludeBytes = 12;
const checksumBytes = 4;
const stringType = 7;
/** Bytes of a header's value by its type; a string and a byte array say their length themselves. */
const valueBytes = [0, 0, 1, 2, 4, 8, null, null, 8, 16] as const;

export class AmazonEventStreamReader {
  readonly #queue = new ByteQueue();

  /** Complete events in `chunk` and what came before. Throws a `GatewayError` for a frame that is damaged or too large. */
  push(chunk: Buffer): SseEvent[] {
    const events: SseEvent[] = [];
    this.#queue.append(chunk);
    for (;;) {
      const bytes = this.#queue.view();
      const length = frameLength(bytes);
      if (length === null || bytes.length < length) return events;
      const event = readFrame(bytes.subarray(0, length));
      this.#queue.consume(length);
      if (event !== null) events.push(event);
    }
  }

  /** Half a frame at the end tells nothing. */
  end(): SseEvent[] {
    return [];
  }
}

/** null: not enough bytes to know. */
function frameLength(bytes: Buffer): number | null {
  if (bytes.length < preludeBytes) return null;
  const length = bytes.readUInt32BE(0);
  const headersLength = bytes.readUInt32BE(4);
  if (crc32(bytes.subarray(0, 8)) !== bytes.readUInt32BE(8)) throw damaged();
  if (length > maximumEventBytes) {
    throw gatewayError('upstreamBadReply', { message: 'The provider sent an event that is too large to relay.' });
  }
  if (length < preludeBytes + headersLength + checksumBytes) throw damaged();
  return length;
}

function readFrame(frame: Buffer): SseEvent | null {
  const end = frame.length - checksumBytes;
  if (crc32(frame.subarray(0, end)) !== frame.readUInt32BE(end)) throw damaged();
  const payloadStart = preludeBytes + frame.readUInt32BE(4);
  const headers = readHeaders(frame.subarray(preludeBytes, payloadStart));
  const data = frame.toString('utf8', payloadStart, end);
  const kind = headers.get(':message-type');
  if (kind === 'event') return { event: headers.get(':event-type') ?? '', data };
  if (kind === 'exception') return { event: `exception:${headers.get(':exception-type') ?? ''}`, data };
  if (kind !== 'error') return null;
  const message = headers.get(':error-message') ?? '';
  return { event: `exception:${headers.get(':error-code') ?? ''}`, data: JSON.stringify({ message }) };
}

/** Strings only: nothing else says what a frame is. */
function readHeaders(bytes: Buffer): Map<string, string> {
  const headers = new Map<string, string>();
  let at = 0;
  try {
    while (at < bytes.length) {
      const nameEnd = at + 1 + bytes.readUInt8(at);
      const name = bytes.toString('utf8', at + 1, nameEnd);
      const type = bytes.readUInt8(nameEnd);
      const fixed = valueBytes[type];
      if (fixed === undefined) throw damaged();
      const start = nameEnd + (fixed === null ? 3 : 1);
      const end = start + (fixed ?? bytes.readUInt16BE(nameEnd + 1));
      if (end > bytes.length) throw damaged();
      if (type === stringType) headers.set(name, bytes.toString('utf8', start, end));
      at = end;
    }
  } catch {
    throw damaged();
  }
  return headers;
}

const damaged = (): GatewayError =>
  gatewayError('upstreamBadReply', { message: 'The provider sent a damaged event stream.' });
