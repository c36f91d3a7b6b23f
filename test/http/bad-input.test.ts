/** Bodies that cannot be served: told what is wrong, at no cost, and none of their content repeated. */
import t, { type Test } from 'tap';
import { post, startGateway, type TestKey } from '../support/gateway.ts';
import { completion, sendJson, startUpstream } from '../support/upstream.ts';
import { checkRefusal, rawReply, type Refusal } from './refusals.ts';

const canary = 'CANARY-7f3a9c';
const model = 'gpt-4o-mini';
const messages = [{ role: 'user', content: canary }];
const good = { model, messages };

const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('hello')));
const gateway = await startGateway(t, {
  environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url },
  yaml: 'body_limit: 1MiB',
});
let goodRequests = 0;

/** A key whose second request within a minute is refused, so that whatever is consumed shows. */
const strictKey = (): Promise<TestKey> =>
  gateway.createKey('plus', { limits: { requestsPerMinute: 1, tokensPerMinute: 20_000 } });

async function askWell(key: TestKey): Promise<string> {
  const response = await post(gateway, key.token, good);
  goodRequests += response.status === 200 ? 1 : 0;
  await response.text();
  return `${response.status}, left: ${response.headers.get('x-ratelimit-remaining-requests')} requests, ${response.headers.get('x-ratelimit-remaining-tokens')} tokens`;
}

const untouched = await askWell(await strictKey());

type Case = { body: string | Uint8Array; headers?: Record<string, string> } & Refusal;

async function checkCase(t: Test, { body, headers = {}, ...expected }: Case): Promise<void> {
  const key = await strictKey();
  const reply = await rawReply(
    await fetch(`${gateway.url}/v1/chat/completions?${canary}=${canary}`, {
      method: 'POST',
      body,
      headers: {
        authorization: `Bearer ${key.token}`,
        'content-type': 'application/json',
        'x-anything': canary,
        'user-agent': canary,
        cookie: `a=${canary}`,
        ...headers,
      },
    }),
  );
  checkRefusal(t, reply, expected);
  t.notOk(JSON.stringify(reply).includes(canary), 'nothing of the body is repeated');
  t.equal(await askWell(key), untouched, 'and nothing was consumed');
}

const change = (members: object): string => JSON.stringify({ ...good, ...members });
const invalidType = { status: 400, code: 'invalid_type' };
const invalidValue = { status: 400, code: 'invalid_value' };
const invalidJson = { status: 400, code: 'invalid_json' };
const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);

const cases: Record<string, Case> = {
  'c90 malformed JSON': {
    ...invalidJson,
    body: `{"model":"x","messages":["${canary}" oops]}`,
    message: /not valid JSON/,
  },
  'JSON that ends too early': { ...invalidJson, body: `{"model":"x","messages":[{"content":"${canary}` },
  'a second document behind the first': { ...invalidJson, body: `${JSON.stringify(good)}${JSON.stringify(good)}` },
  'no body at all': { ...invalidJson, body: '', message: /has no body/ },
  'only spaces': { ...invalidJson, body: '   ' },
  'bytes that are no UTF-8': {
    ...invalidJson,
    body: Buffer.concat([Buffer.from('{"model":"'), Buffer.from([0xff, 0xfe, 0xed, 0xa0, 0x80]), Buffer.from('"}')]),
    message: /UTF-8/,
  },
  'an array': { ...invalidType, body: JSON.stringify([good]), message: /must be a JSON object.*an array/ },
  'a string': { ...invalidType, body: JSON.stringify(canary) },
  null: { ...invalidType, body: 'null' },
  'no model': { status: 400, code: 'missing_required_parameter', param: 'model', body: JSON.stringify({ messages }) },
  'a model that is a number': { ...invalidType, param: 'model', body: change({ model: 5 }) },
  'a model that is an object': { ...invalidType, param: 'model', body: change({ model: { toString: 'x' } }) },
  'an empty model': { status: 400, code: 'missing_required_parameter', param: 'model', body: change({ model: '' }) },
  'c8 an unknown model': {
    status: 404,
    code: 'model_not_found',
    body: change({ model: 'gpt-4o-mino' }),
    message: /`gpt-4o-mino` does not exist.*Did you mean .*gpt-4o-mini/,
  },
  'a model named like a member of every object': {
    status: 404,
    code: 'model_not_found',
    body: change({ model: '__proto__' }),
  },
  'a model with a megabyte of name': {
    status: 404,
    code: 'model_not_found',
    body: change({ model: 'm'.repeat(500_000) }),
    message: /^.{50,1000}$/,
  },
  'no messages': {
    status: 400,
    code: 'missing_required_parameter',
    param: 'messages',
    body: JSON.stringify({ model }),
  },
  'c40 an empty list of messages': {
    status: 400,
    code: 'empty_array',
    param: 'messages',
    body: change({ messages: [] }),
  },
  'messages that are a string': { ...invalidType, param: 'messages', body: change({ messages: canary }) },
  'a message that is a string': {
    ...invalidType,
    param: 'messages[1]',
    body: change({ messages: [...messages, 'x'] }),
  },
  'a message without a role': {
    ...invalidType,
    param: 'messages[0].role',
    body: change({ messages: [{ content: 'x' }] }),
  },
  'too many messages': {
    status: 400,
    code: 'integer_above_max_value',
    param: 'messages',
    body: change({ messages: Array.from({ length: 4097 }, () => ({ role: 'user' })) }),
  },
  'stream as a word': { ...invalidType, param: 'stream', body: change({ stream: 'yes' }) },
  'stream options as a list': {
    ...invalidType,
    param: 'stream_options',
    body: change({ stream: true, stream_options: [] }),
  },
  'stream options without a stream': {
    ...invalidValue,
    param: 'stream_options',
    body: change({ stream_options: { include_usage: true } }),
  },
  'include_usage as a word': {
    ...invalidType,
    param: 'stream_options.include_usage',
    body: change({ stream: true, stream_options: { include_usage: 'true' } }),
  },
  'negative max_tokens': {
    status: 400,
    code: 'integer_below_min_value',
    param: 'max_tokens',
    body: change({ max_tokens: -1 }),
  },
  'max_tokens with a fraction': { ...invalidType, param: 'max_tokens', body: change({ max_tokens: 1.5 }) },
  'max_tokens as text': { ...invalidType, param: 'max_tokens', body: change({ max_tokens: '100' }) },
  'max_completion_tokens beyond reason': {
    status: 400,
    code: 'integer_above_max_value',
    param: 'max_completion_tokens',
    body: change({ max_completion_tokens: 1e300 }),
  },
  'a temperature out of range': {
    status: 400,
    code: 'decimal_above_max_value',
    param: 'temperature',
    body: change({ temperature: 2.1 }),
  },
  'a temperature as text': { ...invalidType, param: 'temperature', body: change({ temperature: 'hot' }) },
  'a negative top_p': { status: 400, code: 'decimal_below_min_value', param: 'top_p', body: change({ top_p: -0.1 }) },
  'n of zero': { status: 400, code: 'integer_below_min_value', param: 'n', body: change({ n: 0 }) },
  'n beyond reason': { status: 400, code: 'integer_above_max_value', param: 'n', body: change({ n: 1_000_000 }) },
  'stop as a number': { ...invalidType, param: 'stop', body: change({ stop: 5 }) },
  'stop with a number in it': { ...invalidType, param: 'stop[1]', body: change({ stop: ['a', 5] }) },
  'tools as an object': { ...invalidType, param: 'tools', body: change({ tools: {} }) },
  'a number beyond every number': {
    ...invalidValue,
    param: 'seed',
    body: `{"model":"${model}","seed":1e400,"messages":[{"role":"user","content":"x"}]}`,
  },
  'half of a surrogate pair': {
    ...invalidValue,
    param: 'messages[0].content',
    body: `{"model":"${model}","messages":[{"role":"user","content":"${canary} \\ud800"}]}`,
  },
  'half of a surrogate pair in a name': {
    ...invalidValue,
    param: /^metadata/,
    body: `{"model":"${model}","metadata":{"\\udfff":1},"messages":[{"role":"user","content":"x"}]}`,
  },
  'a __proto__ at the top': {
    ...invalidValue,
    param: '__proto__',
    body: `{"__proto__":{"model":"gpt-4o"},"model":"${model}","messages":[{"role":"user","content":"x"}]}`,
  },
  'a __proto__ deep inside, written with escapes': {
    ...invalidValue,
    param: 'messages[0].__proto__',
    body: `{"model":"${model}","messages":[{"role":"user","\\u005f_proto_\\u005f":{"a":1}}]}`,
  },
  'two models': {
    status: 400,
    code: 'duplicate_parameter',
    param: 'model',
    body: `{"model":"${model}","messages":[{"role":"user","content":"x"}],"model":"gpt-4o"}`,
  },
  'two models, one of them written with an escape': {
    status: 400,
    code: 'duplicate_parameter',
    param: 'model',
    body: `{"mod\\u0065l":"gpt-4o","messages":[{"role":"user","content":"x"}],"model":"${model}"}`,
  },
  'a body nested too deep': {
    status: 400,
    code: 'nesting_too_deep',
    param: /^deep/,
    body: `{"model":"${model}","messages":[{"role":"user","content":"x"}],"deep":${nested(100)}}`,
  },
  'a depth bomb': {
    status: 400,
    code: 'nesting_too_deep',
    param: /^deep/,
    body: `{"model":"${model}","messages":[{"role":"user","content":"x"}],"deep":${nested(500_000)}}`,
  },
  'a depth bomb of objects that never ends': { ...invalidJson, body: '{"a":'.repeat(200_000) },
  'c89 a body over the limit': {
    status: 413,
    code: 'request_too_large',
    body: change({ padding: 'x'.repeat(1024 * 1024) }),
    message: /larger than 1048576 bytes/,
  },
};

for (const [name, refused] of Object.entries(cases)) {
  t.test(`refuses ${name}, at no cost, when it is sent`, (t) => checkCase(t, refused));
}

t.test('refuses a body over the limit that comes in chunks of unknown number', async (t) => {
  const key = await strictKey();
  async function* endless(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(`{"model":"${model}","padding":"`);
    for (let count = 0; count < 40; count += 1) {
      yield Buffer.from('x'.repeat(64 * 1024));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  const response = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key.token}`, 'content-type': 'application/json' },
    body: ReadableStream.from(endless()),
    duplex: 'half',
  });
  checkRefusal(t, await rawReply(response), { status: 413, code: 'request_too_large' });
  t.equal(await askWell(key), untouched);
});

t.test('answers a well-formed body that came in chunks', async (t) => {
  const { token } = await gateway.createKey();
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (const byte of Buffer.from(JSON.stringify(good))) {
      yield Buffer.from([byte]);
      if (byte === 0x22) await new Promise((resolve) => setImmediate(resolve));
    }
  }
  const response = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: ReadableStream.from(pieces()),
    duplex: 'half',
  });
  t.equal(response.status, 200);
  goodRequests += 1;
  t.equal(upstream.requests.at(-1)?.rawBody, JSON.stringify(good));
});

t.test('wrote one row for each good request, no row for another, and nothing of any body into the log', async (t) => {
  const rows = await gateway.rows(goodRequests);
  t.equal(rows.length, goodRequests);
  t.ok(rows.every(({ status }) => status === 'ok'));
  const log = JSON.stringify(gateway.logLines());
  t.notOk(log.includes(canary));
  t.equal(gateway.logLines().filter(({ outcome }) => outcome === 'client_error').length, Object.keys(cases).length + 1);
  t.notOk(gateway.logLines().some(({ level }) => level === 'error'));
});
