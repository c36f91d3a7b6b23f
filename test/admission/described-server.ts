import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { Test } from 'tap';

/** Speaks just enough of the protocol for a client to connect and ask for INFO. */
export async function openDescribedServer(t: Test, description: { text: string }): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      for (const [, command] of chunk.toString().matchAll(/\*\d+\r\n\$\d+\r\n(\w+)\r\n/g)) {
        const { text } = description;
        if (command?.toLowerCase() === 'info') socket.write(`$${text.length}\r\n${text}\r\n`);
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
