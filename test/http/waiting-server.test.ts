import { createServer } from 'node:net';
import { once } from 'node:events';
import t from 'tap';
import { openWaitingServer } from '../../src/http/waiting-server.ts';
import { createUuidSource } from '../../src/platform/uuid.ts';

const host = '127.0.0.1';

t.test('is alive, not ready, and asks everybody else to come again', async (t) => {
  const server = await openWaitingServer({ host, port: 0, createRequestId: createUuidSource() });
  t.teardown(() => server.close());
  const url = `http://${host}:${server.port}`;
  for (const path of ['/healthz', '/health']) t.equal((await fetch(url + path)).status, 200, path);

  const ready = await fetch(`${url}/readyz?verbose`);
  t.equal(ready.status, 503);
  t.match(await ready.json(), { status: 'not ready', reason: /no contact with its stores/ });

  const body = JSON.stringify({ text: 'x'.repeat(1_000_000) });
  const asked = await fetch(`${url}/v1/chat/completions`, { method: 'POST', body });
  t.equal(asked.status, 503);
  t.equal(asked.headers.get('retry-after'), '1');
  t.match(asked.headers.get('x-request-id'), /^req_[0-9a-f]{32}$/);
  t.match(await asked.json(), {
    error: { type: 'server_error', code: 'auth_unavailable', param: null, message: /starts/ },
  });
});

t.test('gives its port free at once, whoever is still connected', async (t) => {
  const server = await openWaitingServer({ host, port: 0, createRequestId: createUuidSource() });
  await (await fetch(`http://${host}:${server.port}/healthz`)).text();
  await server.close();
  await server.close();
  const successor = createServer().listen({ host, port: server.port });
  t.teardown(() => successor.close());
  await once(successor, 'listening');
  t.match(successor.address(), { port: server.port });
});

t.test('says so when the port is taken', async (t) => {
  const holder = createServer().listen({ host, port: 0 });
  t.teardown(() => holder.close());
  await once(holder, 'listening');
  const address = holder.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await t.rejects(openWaitingServer({ host, port, createRequestId: createUuidSource() }), { code: 'EADDRINUSE' });
});
