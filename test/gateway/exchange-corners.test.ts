import t from 'tap';
import { post, startGateway } from '../support/gateway.ts';
import { chunk, completion, endMarker, openStream, sendJson, startUpstream, type Answer } from '../support/upstream.ts';

type Tap = Parameters<typeof startGateway>[0];

const messages = [{ role: 'user', content: 'hi' }];
const streamBody = { model: 'gpt-4o-mini', messages, stream: true };
const whole = chunk({ role: 'assistant', content: 'a' }) + chunk({}, 'stop') + endMarker;

async function startWorld(t: Tap, answer: Answer, yaml = '') {
  const upstream = await startUpstream(t, answer);
  const environment = { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url };
  const gateway = await startGateway(t, { environment, yaml });
  return { gateway, upstream, token: (await gateway.createKey()).token };
}

t.test('a stream whose content type was lost on the way is a stream all the same', async (t) => {
  const { gateway, token } = await startWorld(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/octet-stream' });
    response.end(whole);
  });
  const response = await post(gateway, token, streamBody);
  t.equal(response.headers.get('content-type'), 'text/event-stream; charset=utf-8');
  t.equal(await response.text(), whole);
});

t.test('a plain reply that comes after a comment is told as one event', async (t) => {
  const reply = completion('late');
  const { gateway, token } = await startWorld(
    t,
    (_request, response) => {
      setTimeout(() => sendJson(response, reply), 250);
    },
    'timeouts: { keep_alive_comment: 50ms }',
  );
  const text = await (await post(gateway, token, streamBody)).text();
  t.ok(text.startsWith(': ping\n\n'));
  t.ok(text.endsWith(`data: ${JSON.stringify(reply)}\n\n${endMarker}`));
  t.match((await gateway.rows(1))[0], { status: 'ok', prompt_tokens: 9 });
});

t.test('a reply without end is cut off', async (t) => {
  const { gateway, token, upstream } = await startWorld(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(1024 * 1024, 0x20)));
      if (!response.destroyed) response.once('drain', more);
    };
    more();
  });
  const response = await post(gateway, token, { model: 'gpt-4o-mini', messages });
  t.equal(response.status, 502);
  t.match(await response.json(), { error: { code: 'upstream_error', message: /too large/ } });
  await upstream.requests[0]?.closedEarly;
});

t.test('a request that drops thousands of paths is told of them in a header that any client takes', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('x')));
  const yaml = `providers: { groq: { key: k, base_url: "${upstream.url}", allow_private: true } }`;
  const gateway = await startGateway(t, { yaml });
  const { token } = await gateway.createKey();
  const named = Array.from({ length: 2_000 }, () => ({ role: 'user', name: 'a', content: 'hi' }));
  const reply = await post(gateway, token, { model: 'groq/small', messages: named });
  t.equal(reply.status, 200);
  const told = reply.headers.get('x-tollgate-dropped-params') ?? '';
  t.match(told, /^messages\.0\.name, .*\(\d+ more\)$/);
  t.ok(told.length < 2_100, `${told.length} characters`);
});

t.test('strict mode refuses what would otherwise be dropped and reported', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('x')));
  const yaml = `providers: { house: { dialect: openai-compat, base_url: "${upstream.url}", allow_private: true } }`;
  const gateway = await startGateway(t, { yaml });
  const { token } = await gateway.createKey();
  const body = { model: 'house/small', messages, prompt_cache_key: 'x' };
  const lenient = await post(gateway, token, body);
  t.equal(lenient.status, 200);
  t.equal(lenient.headers.get('x-tollgate-dropped-params'), 'prompt_cache_key');
  const strict = await post(gateway, token, body, { headers: { 'x-tollgate-strict': 'true' } });
  t.equal(strict.status, 400);
  t.match(await strict.json(), { error: { code: 'unsupported_parameter', param: 'prompt_cache_key' } });
  const strictKey = await gateway.createKey('plus', { strict: true });
  t.equal((await post(gateway, strictKey.token, body)).status, 400, 'by the key');
  t.equal(upstream.requests.length, 1);
  t.match(await gateway.rows(3), [{ status: 'ok' }, { status: 'not_dispatched' }, { status: 'not_dispatched' }]);
  const strictGateway = await startGateway(t, { yaml: `strict: true\n${yaml}` });
  const { token: other } = await strictGateway.createKey();
  t.equal((await post(strictGateway, other, body)).status, 400, 'by the configuration');
  t.equal((await post(strictGateway, other, { ...body, prompt_cache_key: undefined })).status, 200);
});

t.test('a stream that outlives the drain is told so in-band, and its row says why', async (t) => {
  const { gateway, token } = await startWorld(t, (_request, response) => {
    openStream(response);
    response.write(chunk({ role: 'assistant', content: 'a' }));
  });
  const response = await post(gateway, token, streamBody);
  const reader = response.body?.getReader();
  await reader?.read();
  const closed = gateway.app.close({ delayMs: 0, deadlineMs: 100 });
  let rest = '';
  for (;;) {
    const next = await reader?.read();
    if (next === undefined || next.done) break;
    rest += Buffer.from(next.value).toString();
  }
  t.match(rest, /"code":"gateway_draining"/);
  t.notMatch(rest, /\[DONE\]/);
  await closed;
  t.match((await gateway.rows(1))[0], { status: 'drained', rank: 2 });
});
