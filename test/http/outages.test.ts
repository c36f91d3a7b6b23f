/** Redis or Postgres is away: who is served, who is told what, and what the operator sees. */
import t, { type Test } from 'tap';
import { generateApiKey } from '../../src/auth/api-key.ts';
import { openDatabase } from '../../src/platform/postgres.ts';
import type { StoreSchema } from '../../src/store/schema.ts';
import { openFaultProxy } from '../admission/fault-proxy.ts';
import { createTestDatabase, silentLog, type TestDatabase } from '../support/database.ts';
import { post, redisOf, startGateway, type TestGateway } from '../support/gateway.ts';

const body = { model: 'demo/echo', messages: [{ role: 'user', content: 'hi' }], demo: { delay_ms: 0 } };
const ask = (gateway: TestGateway, token: string): Promise<Response> => post(gateway, token, body);
const get = (gateway: TestGateway, path: string, token = ''): Promise<Response> =>
  fetch(`${gateway.url}${path}`, { headers: { authorization: `Bearer ${token}` } });

async function untilReadyz(gateway: TestGateway, expected: object): Promise<Response> {
  const deadline = performance.now() + 15_000;
  for (;;) {
    const reply = await get(gateway, '/readyz');
    const { dependencies } = (await reply.json()) as { dependencies: object };
    if (JSON.stringify(dependencies) === JSON.stringify(expected) || performance.now() > deadline) return reply;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function checkUnavailable(t: Test, reply: Response, code: string): Promise<void> {
  t.equal(reply.status, 503);
  t.equal(reply.headers.get('retry-after'), '1');
  t.match(await reply.json(), { error: { code, type: 'server_error' } });
}

/** The gateway's way to a database of its own, through a proxy that can fall silent. */
async function openProxied(
  t: Test,
): Promise<{ database: TestDatabase; proxy: Awaited<ReturnType<typeof openFaultProxy>> }> {
  const direct = await createTestDatabase(t);
  const proxy = await openFaultProxy(direct.url);
  const { db, kind, close } = await openDatabase<StoreSchema>({
    url: proxy.url,
    dataDirectory: '',
    poolSize: 4,
    acquireTimeoutMs: 1_000,
    statementTimeoutMs: 1_000,
    log: silentLog,
  });
  t.teardown(async () => {
    proxy.cut();
    await close();
    await proxy.close();
  });
  return { database: { url: proxy.url, kind, db, close }, proxy };
}

t.test('goes on for known keys while Postgres is away, and loses no row', async (t) => {
  const { database, proxy } = await openProxied(t);
  const gateway = await startGateway(t, { database });
  const known = await gateway.createKey();
  const fresh = await gateway.createKey();
  t.equal((await ask(gateway, known.token)).status, 200);
  await gateway.rows(1);

  proxy.setMode('hold-requests');
  t.equal((await ask(gateway, known.token)).status, 200, 'a known key');
  t.equal((await get(gateway, '/v1/models', known.token)).status, 200);
  await checkUnavailable(t, await ask(gateway, fresh.token), 'auth_unavailable');
  await checkUnavailable(t, await get(gateway, '/v1/key', known.token), 'limits_unavailable');
  t.equal((await ask(gateway, `${known.token}x`)).status, 401, 'proven bad without any look-up');
  t.equal((await ask(gateway, generateApiKey().token)).status, 503, 'nobody can know');
  const ready = await untilReadyz(gateway, { postgres: 'degraded', redis: 'embedded' });
  t.equal(ready.status, 200, 'stays in rotation');
  t.match(await (await get(gateway, '/metrics')).text(), 'tollgate_degraded{dep="postgres"} 1');

  proxy.setMode('pass');
  proxy.cut();
  await untilReadyz(gateway, { postgres: 'ok', redis: 'embedded' });
  t.equal((await ask(gateway, fresh.token)).status, 200);
  t.equal((await gateway.rows(3)).length, 3, 'the rows of the outage are there');
  t.match(await (await get(gateway, '/metrics')).text(), 'tollgate_degraded{dep="postgres"} 0');
});

t.test('refuses with 503 while Redis is silent, never with 401 or 429', async (t) => {
  const redis = redisOf(t);
  const proxy = await openFaultProxy(redis.url);
  t.teardown(proxy.close);
  const gateway = await startGateway(t, { redis: { ...redis, url: proxy.url } });
  const { token } = await gateway.createKey('free');
  t.equal((await ask(gateway, token)).status, 200);

  proxy.setMode('hold-requests');
  for (let call = 0; call < 12; call += 1) await checkUnavailable(t, await ask(gateway, token), 'limits_unavailable');
  t.equal((await ask(gateway, `${token}x`)).status, 401);
  t.equal((await get(gateway, '/v1/models', token)).status, 200, 'a snapshot of less than a minute is good enough');
  await checkUnavailable(t, await get(gateway, '/v1/key', token), 'limits_unavailable');
  const ready = await untilReadyz(gateway, { postgres: 'ok', redis: 'degraded' });
  t.equal(ready.status, 200, 'stays in rotation');
  const metrics = await (await get(gateway, '/metrics')).text();
  t.match(metrics, 'tollgate_degraded{dep="redis"} 1');
  t.match(metrics, /tollgate_decisions_total\{mode="unavailable"\} 12/);

  proxy.setMode('pass');
  proxy.cut();
  await untilReadyz(gateway, { postgres: 'ok', redis: 'ok' });
  let status = 503;
  const deadline = performance.now() + 15_000;
  while (status === 503 && performance.now() < deadline) {
    ({ status } = await ask(gateway, token));
    if (status === 503) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.equal(status, 200, 'and nothing of what was refused is held against the key');
});
