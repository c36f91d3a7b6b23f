/**
 * Stands in for the gateway while it starts: alive, not ready, and to every other request a 503 that clients repeat. It
 * touches nothing, so an orchestrator neither kills nor uses a process that waits for its stores. Spec: reliability 5, A9.3.
 */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gatewayError, retryAfterHeaders } from '../contract/errors.ts';
import { publicRequestId } from '../gateway/reply.ts';

export type WaitingServer = {
  /** Where it listens, also when it was left to the system to choose. */
  port: number;
  /** Frees the port. Safe to repeat. */
  close(): Promise<void>;
};

export type WaitingServerOptions = {
  host: string;
  port: number;
  /** UUIDv7 of the given time. */
  createRequestId: (nowMs: number) => string;
};

const retryMs = 1_000;
const reason = 'the gateway starts and has no contact with its stores yet';

export async function openWaitingServer({ host, port, createRequestId }: WaitingServerOptions): Promise<WaitingServer> {
  const server = createServer((request, response) => {
    request.resume();
    response.setHeader('x-request-id', publicRequestId(createRequestId(Date.now())));
    answer(response, request.url?.split('?', 1)[0] ?? '');
  });
  server.listen({ host, port });
  await once(server, 'listening');
  const { port: boundPort } = server.address() as AddressInfo;
  return {
    port: boundPort,
    async close() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function answer(response: ServerResponse, path: string): void {
  if (path === '/healthz' || path === '/health') {
    send(response, 200, { status: 'ok' });
    return;
  }
  const headers = retryAfterHeaders(retryMs);
  if (path === '/readyz') {
    send(response, 503, { status: 'not ready', reason, degraded: true, dependencies: {} }, headers);
    return;
  }
  const error = gatewayError('authUnavailable', { message: `Try again: ${reason}.`, headers });
  send(response, error.status, error.toBody(), error.headers);
}

function send(response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  response.writeHead(status, {
    ...headers,
    'content-type': 'application/json; charset=utf-8',
    'x-content-type-options': 'nosniff',
  });
  response.end(JSON.stringify(body));
}
