/** Writes frames of Amazon's event stream, from its description and not from our reader. */
import { crc32 } from 'node:zlib';

function header(name: string, value: string): Buffer {
  const [nameBytes, valueBytes] = [Buffer.from(name), Buffer.from(value)];
  const length = Buffer.alloc(2);
  length.writeUInt16BE(valueBytes.length);
  return Buffer.concat([Buffer.from([nameBytes.length]), nameBytes, Buffer.from([7]), length, valueBytes]);
}

export function amazonFrame(headers: Record<string, string>, payload: string, extraHeaders = Buffer.alloc(0)): Buffer {
  const written = Object.entries(headers).map(([name, value]) => header(name, value));
  const head = Buffer.concat([...written, extraHeaders]);
  const body = Buffer.from(payload);
  const prelude = Buffer.alloc(12);
  prelude.writeUInt32BE(16 + head.length + body.length, 0);
  prelude.writeUInt32BE(head.length, 4);
  prelude.writeUInt32BE(crc32(prelude.subarray(0, 8)), 8);
  const whole = Buffer.concat([prelude, head, body]);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(whole));
  return Buffer.concat([whole, sum]);
}

export const amazonEvent = (type: string, payload: unknown): Buffer =>
  amazonFrame(
    { ':event-type': type, ':content-type': 'application/json', ':message-type': 'event' },
    JSON.stringify(payload),
  );
