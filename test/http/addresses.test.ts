/** Addresses and methods that lead nowhere, and content types that are none of ours. */
import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { completion, sendJson, startUpstream } from '../support/upstream.ts';
import { openRaw } from './raw-connection.ts';
import { checkRefusal, rawReply } from './refusals.ts';

const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('hello')));
const gateway = await startGateway(t, {
  environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url },
});
const { token } = await gateway.createKey();
const body = JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'hi' }] });
const authorization = `Bearer ${token}`;

const ask = (method: string, path: string): Promise<Response> =>
  fetch(`${gateway.url}${path}`, { method, headers: { authorization } });

t.test('c91 tells method and address when there is nothing', async (t) => {
  for (const [method, path] of [
    ['POST', '/v1/foo'],
    ['GET', '/v1'],
    ['GET', '/v1/'],
    ['POST', '/v1/chat/completions/'],
    ['POST', '/v1/chat//completions'],
    ['POST', '/chat/completions'],
    ['GET', '/'],
    ['GET', '/v2/models'],
    ['OPTIONS', '/v1/nothing'],
    ['PROPFIND', '/v1/nothing'],
    ['GET', '/.env'],
  ] as const) {
    const reply = await rawReply(await ask(method, `${path}?key=${token}`));
    checkRefusal(t, reply, { status: 404, code: 'unknown_url', message: new RegExp(`\\(${method} ${path}\\)`) });
    t.notOk(JSON.stringify(reply).includes(token), 'the query is not repeated');
  }
});

t.test('tells the right method when another one is used', async (t) => {
  for (const [method, path, allow] of [
    ['GET', '/v1/chat/completions', 'POST'],
    ['PUT', '/v1/chat/completions', 'POST'],
    ['DELETE', '/v1/chat/completions', 'POST'],
    ['OPTIONS', '/v1/chat/completions', 'POST'],
    ['POST', '/v1/models', 'GET'],
    ['DELETE', '/v1/models/openai/gpt-4o-mini', 'GET'],
  ] as const) {
    const response = await ask(method, path);
    t.equal(response.headers.get('allow'), allow);
    checkRefusal(t, await rawReply(response), { status: 405, code: 'method_not_allowed', message: new RegExp(allow) });
  }
  const head = await ask('HEAD', '/v1/models');
  t.equal(head.status, 405);
  t.equal(await head.text(), '');
});

t.test('asks for the key before it says what there is', async (t) => {
  for (const path of ['/v1/nothing', '/v1/models', '/v1/chat/completions']) {
    checkRefusal(t, await rawReply(await fetch(`${gateway.url}${path}`)), { status: 401, code: 'invalid_api_key' });
  }
});

/** Written raw, because a client would tidy them up. */
const crooked: Record<string, { path: string; status: number; code: string | null }> = {
  'percent signs that encode nothing': { path: '/v1/models/%zz', status: 400, code: null },
  'percent signs that are no UTF-8': { path: '/v1/models/%E0%A4%A', status: 400, code: null },
  'a way out and into another scope': { path: '/v1/../metrics', status: 404, code: 'unknown_url' },
  'two slashes at the start': { path: '//v1/models', status: 404, code: 'unknown_url' },
  'a whole address of another host': { path: 'http://169.254.169.254/v1/nothing', status: 404, code: 'unknown_url' },
  'a star': { path: '*', status: 404, code: 'unknown_url' },
  'a NUL, encoded': { path: '/v1/models/%00', status: 404, code: 'model_not_found' },
  'a model name of eight thousand letters': {
    path: `/v1/models/${'m'.repeat(8000)}`,
    status: 404,
    code: 'model_not_found',
  },
  'a very long address': { path: `/v1/${'x'.repeat(8000)}`, status: 404, code: 'unknown_url' },
};

for (const [name, { path, ...expected }] of Object.entries(crooked)) {
  t.test(`refuses ${name}`, async (t) => {
    const raw = await openRaw(t, gateway.url);
    raw.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\n\r\n`);
    const reply = await raw.reply();
    checkRefusal(t, reply, { ...expected, message: /^[^]{10,600}$/ });
  });
}

const post = (contentType: string | null): Promise<Response> =>
  fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    // Bytes have no type of their own that a client would add.
    body: Buffer.from(body),
    headers: contentType === null ? { authorization } : { authorization, 'content-type': contentType },
  });

t.test('takes JSON under every spelling of its type', async (t) => {
  for (const contentType of [
    'application/json',
    'application/json; charset=utf-8',
    'application/json;charset=UTF-8',
    'Application/JSON',
    'application/json ; a=b',
    'application/json\t; x',
    'application/json;',
    'application/vnd.api+json',
  ]) {
    const response = await post(contentType);
    t.equal(response.status, 200, contentType);
    t.equal(upstream.requests.at(-1)?.headers['content-type'], 'application/json');
  }
});

t.test('refuses what is no JSON, by the name that it was given', async (t) => {
  for (const contentType of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/jsonx',
    'application/json5',
    'text/json',
    'application/json, text/plain',
    ';application/json',
    'json',
    'a/b; application/json',
  ]) {
    const reply = await rawReply(await post(contentType));
    checkRefusal(t, reply, { status: 415, code: 'unsupported_media_type', message: /application\/json/ });
    t.ok(reply.body.includes(JSON.stringify(JSON.stringify(contentType)).slice(1, -1)), contentType);
  }
  checkRefusal(t, await rawReply(await post(null)), {
    status: 415,
    code: 'unsupported_media_type',
    message: /no Content-Type/,
  });
});

t.test('wrote rows only for what was served, and no key into the log', async (t) => {
  const rows = await gateway.rows(8);
  t.equal(rows.length, 8);
  t.notOk(JSON.stringify(gateway.logLines()).includes(token));
  t.notOk(gateway.logLines().some(({ level }) => level === 'error'));
});
