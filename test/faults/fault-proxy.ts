/**
 * A TCP proxy between a gateway and one of its stores. It can be slow, fall silent in either direction or both, refuse
 * and reset. Nothing is lost on a connection that lives on: what was held back is passed on when the mode allows it.
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import type { Test } from 'tap';

/**
 * `blackhole`: accepted, and silent in both directions. `refuse`: open connections are reset, and so is each new one.
 * `drop-replies`: the question arrives and its answer is lost. A connection that lost bytes ends with the mode: TCP never
 * goes on behind a hole.
 */
export type FaultMode = 'pass' | 'delay' | 'blackhole' | 'drop-replies' | 'refuse';

export type FaultProxy = {
  /** The target's address with this proxy's port. */
  url: string;
  setMode: (mode: FaultMode, delayMs?: number) => void;
  /** Resets every open connection. */
  reset: () => void;
  /** Answers that were swallowed so far, in bytes. */
  droppedBytes: () => number;
};

type Link = { pump: () => void; reset: () => void; hasHole: () => boolean };
type State = { mode: FaultMode; delayMs: number; droppedBytes: number };

export async function openFaultProxy(t: Test, targetUrl: string, standardPort: number): Promise<FaultProxy> {
  const target = new URL(targetUrl);
  const links = new Set<Link>();
  const state: State = { mode: 'pass', delayMs: 0, droppedBytes: 0 };
  const reset = (): void => {
    for (const link of links) link.reset();
  };
  const server = createServer((client) => {
    if (state.mode === 'refuse') {
      resetSocket(client);
      return;
    }
    const port = target.port === '' ? standardPort : Number(target.port);
    const link = join(client, connect(port, target.hostname), state, () => links.delete(link));
    links.add(link);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    state.mode = 'refuse';
    reset();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: Object.assign(new URL(targetUrl), { hostname: '127.0.0.1', port: String(port) }).href,
    setMode(mode, delayMs = 0) {
      state.mode = mode;
      state.delayMs = delayMs;
      if (mode === 'refuse') reset();
      for (const link of links) {
        if (link.hasHole()) link.reset();
        else link.pump();
      }
    },
    reset,
    droppedBytes: () => state.droppedBytes,
  };
}

function join(client: Socket, server: Socket, state: State, onEnd: () => void): Link {
  const waiting: { to: Socket; bytes: Buffer }[] = [];
  let hasHole = false;
  const close = (): void => {
    client.destroy();
    server.destroy();
    onEnd();
  };
  for (const socket of [client, server]) {
    // A broken connection is what this proxy is for.
    socket.on('error', () => {});
    socket.on('close', close);
  }
  const pass = (to: Socket, bytes: Buffer): void => {
    if (state.mode === 'blackhole') waiting.push({ to, bytes });
    else if (state.mode === 'drop-replies' && to === client) {
      hasHole = true;
      state.droppedBytes += bytes.length;
    } else to.write(bytes);
  };
  const relay = (to: Socket) => (bytes: Buffer) => {
    if (state.mode === 'delay') setTimeout(() => pass(to, bytes), state.delayMs);
    else pass(to, bytes);
  };
  client.on('data', relay(server));
  server.on('data', relay(client));
  return {
    hasHole: () => hasHole,
    pump() {
      for (const { to, bytes } of waiting.splice(0)) if (!to.destroyed) pass(to, bytes);
    },
    reset() {
      resetSocket(client);
      resetSocket(server);
    },
  };
}

/** A socket that has ended already cannot be reset: its handle would never close, and the process never end. */
function resetSocket(socket: Socket): void {
  if (socket.writableEnded || socket.destroyed) socket.destroy();
  else socket.resetAndDestroy();
}
