/** What operators and their machines ask: alive, ready, and how it goes. */
import t from 'tap';
import { post, startGateway, type TestGateway } from '../support/gateway.ts';
import { chunk, completion, endMarker, openStream, sendJson, startUpstream } from '../support/upstream.ts';

const messages = [{ role: 'user', content: 'hi' }];

const get = (gateway: TestGateway, path: string): Promise<Response> => fetch(`${gateway.url}${path}`);

/** Names with their labels, without the values. */
async function seriesOf(gateway: TestGateway): Promise<string[]> {
  const text = await (await get(gateway, '/metrics')).text();
  return text.split('\n').flatMap((line) => (line === '' || line.startsWith('#') ? [] : [line.replace(/ \S+$/, '')]));
}

t.test('says that it is alive, ready, and what it counts, without a key', async (t) => {
  const gateway = await startGateway(t, {});
  for (const path of ['/healthz', '/health']) {
    const response = await get(gateway, path);
    t.equal(response.status, 200);
    t.same(await response.json(), { status: 'ok' });
    t.match(response.headers.get('x-request-id'), /^req_/);
  }
  const ready = await get(gateway, '/readyz');
  t.equal(ready.status, 200);
  t.same(await ready.json(), {
    status: 'ready',
    degraded: false,
    dependencies: { postgres: 'ok', redis: 'embedded' },
  });
  const metrics = await get(gateway, '/metrics');
  t.match(metrics.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
  t.match(await metrics.text(), /^# HELP tollgate_requests_total /m);
});

t.test('is alive and not ready while it drains, serves to the end, and says goodbye in each reply', async (t) => {
  let release = (): void => undefined;
  const upstream = await startUpstream(t, async (request, response) => {
    if (request.body['stream'] !== true) {
      sendJson(response, completion('hello'));
      return;
    }
    openStream(response);
    response.write(chunk({ role: 'assistant', content: 'so ' }));
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    response.end(chunk({ content: 'long' }) + chunk({}, 'stop') + endMarker);
  });
  const gateway = await startGateway(t, {
    environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url },
  });
  const { token } = await gateway.createKey();
  const running = await post(gateway, token, { model: 'gpt-4o-mini', messages, stream: true });
  const closing = gateway.app.close({ delayMs: 2500, deadlineMs: 5000 });
  const notReady = await get(gateway, '/readyz');
  t.equal(notReady.status, 503);
  t.equal(notReady.headers.get('retry-after'), '1');
  t.match(await notReady.json(), { status: 'not ready', reason: 'draining', degraded: false });
  t.equal((await get(gateway, '/healthz')).status, 200, 'alive');
  const late = await post(gateway, token, { model: 'gpt-4o-mini', messages });
  t.equal(late.status, 200, 'balancers may still send');
  t.equal(late.headers.get('connection'), 'close');
  const refused = await post(gateway, token, '{}');
  t.equal(refused.status, 400);
  t.equal(refused.headers.get('connection'), 'close');
  const listed = await fetch(`${gateway.url}/v1/models`, { headers: { authorization: `Bearer ${token}` } });
  t.equal(listed.headers.get('connection'), 'close');
  const stream = await post(gateway, token, { model: 'demo/lorem', messages, stream: true, demo: { delay_ms: 0 } });
  t.equal(stream.headers.get('connection'), 'close');
  await stream.text();
  release();
  t.match(await running.text(), /long.*\[DONE\]/s, 'what was running comes to its end');
  await closing;
  await t.rejects(get(gateway, '/healthz'), 'nobody listens any more');
  const rows = await gateway.database.db.selectFrom('usage_events').selectAll().execute();
  t.same(
    rows.map(({ status }) => status),
    ['ok', 'ok', 'ok'],
  );
});

t.test('keeps its series few, whatever callers write', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('hello')));
  const gateway = await startGateway(t, {
    environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url },
    yaml: 'models:\n  small: openai/gpt-4o-mini',
  });
  const { token } = await gateway.createKey();
  const ask = async (model: string): Promise<number> => {
    const response = await post(gateway, token, { model, messages });
    await response.text();
    return response.status;
  };
  const visit = async (path: string): Promise<void> => {
    await (await fetch(`${gateway.url}${path}`, { headers: { authorization: `Bearer ${token}` } })).text();
  };
  // One of each kind first.
  t.equal(await ask('gpt-4o-mini'), 200);
  t.equal(await ask('openai/made-up'), 200, 'what the catalogue lacks is for the provider to judge');
  t.equal(await ask('made-up'), 404);
  await visit('/v1/made-up');
  await gateway.rows(2);
  while (!(await seriesOf(gateway)).some((line) => line.includes('usage_rows')))
    await new Promise((resolve) => setTimeout(resolve, 5));
  const before = await seriesOf(gateway);
  for (let count = 0; count < 200; count += 1) {
    t.equal(await ask(count % 2 === 0 ? `openai/made-up-${count}` : `made-up-${count}`), count % 2 === 0 ? 200 : 404);
    if (count % 20 === 0) await visit(`/v1/made-up-${count}`);
  }
  await gateway.createKey();
  t.same(await seriesOf(gateway), before);
  t.notOk(before.some((line) => /made-up|account|key="/.test(line)));
  t.ok(before.some((line) => line.includes('model="openai/gpt-4o-mini"')));
  t.ok(before.some((line) => line.includes('model="other"')));
});
