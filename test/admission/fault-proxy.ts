/** A TCP proxy between an engine and its Redis that can fall silent in either direction, or cut every connection. */
import { createServer, connect, type AddressInfo, type Socket } from 'node:net';

export type FaultProxy = {
  url: string;
  /** `hold-requests`: what the client sends waits. `drop-replies`: it arrives, and the answer is lost. */
  setMode: (mode: FaultMode) => void;
  cut: () => void;
  /** Bytes that clients sent, whether passed on or held. */
  bytesFromClients: () => number;
  close: () => Promise<void>;
};

export type FaultMode = 'pass' | 'hold-requests' | 'drop-replies';

export async function openFaultProxy(targetUrl: string): Promise<FaultProxy> {
  const target = new URL(targetUrl);
  const sockets = new Set<Socket>();
  const releases: (() => void)[] = [];
  let mode: FaultMode = 'pass';
  let bytes = 0;
  const server = createServer((client) => {
    const upstream = connect(Number(target.port === '' ? '6379' : target.port), target.hostname);
    let held: Buffer[] = [];
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      // A cut connection is what this proxy is for.
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (mode === 'hold-requests') held.push(chunk);
      else upstream.write(chunk);
    });
    upstream.on('data', (chunk) => {
      if (mode !== 'drop-replies') client.write(chunk);
    });
    releases.push(() => {
      for (const chunk of held) if (!upstream.destroyed) upstream.write(chunk);
      held = [];
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: Object.assign(new URL(targetUrl), { hostname: '127.0.0.1', port: String(port) }).href,
    setMode: (wanted) => {
      mode = wanted;
      if (wanted !== 'hold-requests') for (const release of releases) release();
    },
    cut,
    bytesFromClients: () => bytes,
    close: async () => {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
