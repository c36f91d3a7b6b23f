import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { Test } from 'tap';

export type Described = { text: string; streamBytes?: number };

/** Speaks just enough of the protocol for a client to connect and for the watch to ask its script. */
export async function openDescribedServer(t: Test, description: Described): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      for (const [, command] of chunk.toString().matchAll(/\*\d+\r\n\$\d+\r\n(\w+)\r\n/g)) {
        const { text, streamBytes = 0 } = description;
        if (command?.toLowerCase() === 'info') socket.write(`$${text.length}\r\n${text}\r\n`);
        else if (command?.toLowerCase() === 'eval')
          socket.write(`*2\r\n$${text.length}\r\n${text}\r\n:${streamBytes}\r\n`);
        else socket.write(command?.toLowerCase() === 'hello' ? '-NOPROTO unsupported\r\n' : '+OK\r\n');
      }
    });
  });
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
