/** One TCP connection on which a test writes the very bytes of HTTP, and reads whole replies. */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Test } from 'tap';

export type RawReply = { status: number; headers: Record<string, string>; body: string };

export type RawConnection = {
  write(bytes: string | Uint8Array): void;
  /** The next reply; null when the connection is closed before one is complete. */
  reply(): Promise<RawReply | null>;
  /** What came and was not yet taken as a reply. */
  text(): string;
  /** Says that nothing more will be written. */
  end(): void;
  /** Resolves when the other side has closed. */
  closed: Promise<unknown>;
};

export async function openRaw(t: Test, url: string, options: { allowHalfOpen?: boolean } = {}): Promise<RawConnection> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), ...options });
  t.teardown(() => socket.destroy());
  let received: Buffer = Buffer.alloc(0);
  let isClosed = false;
  let notify = (): void => undefined;
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    notify();
  });
  // A reset is one way in which the other side may close.
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      isClosed = true;
      notify();
      resolve();
    });
  });
  await once(socket, 'connect');
  return {
    write: (bytes) => void socket.write(bytes),
    async reply() {
      for (;;) {
        const found = cutReply(received);
        if (found !== null) {
          received = found.rest;
          return found.reply;
        }
        if (isClosed) return null;
        await new Promise<void>((resolve) => {
          notify = resolve;
        });
      }
    },
    text: () => received.toString('utf8'),
    end: () => void socket.end(),
    closed,
  };
}

function cutReply(bytes: Buffer): { reply: RawReply; rest: Buffer } | null {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd === -1) return null;
  const [statusLine = '', ...lines] = bytes.toString('latin1', 0, headEnd).split('\r\n');
  const headers = Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const start = headEnd + 4;
  if (headers['transfer-encoding'] !== undefined) throw new Error('a test asked for a reply of unknown length');
  const end = start + Number(headers['content-length'] ?? 0);
  if (bytes.length < end) return null;
  const status = Number(statusLine.split(' ')[1]);
  return { reply: { status, headers, body: bytes.toString('utf8', start, end) }, rest: bytes.subarray(end) };
}
