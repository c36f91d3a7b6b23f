/** The model list: whose, of what, in which order, and how often it is really sent. */
import t from 'tap';
import type { JsonObject } from '../../src/contract/json.ts';
import { objects } from '../support/chat-stream.ts';
import { at, parseObject } from '../support/json-at.ts';
import { startGateway } from '../support/gateway.ts';
import { startUpstream } from '../support/upstream.ts';
import { checkRefusal, rawReply } from './refusals.ts';

const upstream = await startUpstream(t, (_request, response) => {
  response.destroy();
});
const gateway = await startGateway(t, {
  environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url },
  yaml: `
providers:
  house: { dialect: openai-compat, base_url: "${upstream.url}", allow_private: true }
models:
  small: [openai/gpt-4o-mini, demo/echo]
  local: house/qwen
  absent: together/meta-llama/Llama-3.3-70B-Instruct-Turbo
tiers:
  free: { price: 0,  rpm: 10,   tpm: 20k,  concurrency: 2,   history: 7d,  models: [small, "demo/*"] }
  none: { price: 0,  rpm: 10,   tpm: 20k,  concurrency: 2,   history: 7d,  models: [] }
  plus: { price: 99, rpm: 5000, tpm: 100m, concurrency: 500, history: 90d, models: "*" }
`,
});
const { token } = await gateway.createKey();

const get = (path: string, bearer = token, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${gateway.url}/v1/models${path}`, { headers: { authorization: `Bearer ${bearer}`, ...headers } });

const read = async (path: string, bearer = token): Promise<JsonObject> =>
  parseObject(await (await get(path, bearer)).text());
const idsOf = async (bearer: string): Promise<unknown[]> => objects((await read('', bearer)).data).map(({ id }) => id);

t.test("gives OpenAI's list with the facts of the catalogue", async (t) => {
  const list = await read('');
  t.equal(list.object, 'list');
  const models = objects(list.data);
  for (const model of models) {
    t.equal(model.object, 'model');
    t.type(model.id, 'string');
    t.ok(Number.isInteger(model.created));
    t.type(model.owned_by, 'string');
  }
  t.match(
    models.find(({ id }) => id === 'openai/gpt-4o-mini'),
    {
      created: 1721260800,
      owned_by: 'openai',
      name: 'GPT-4o mini',
      context_length: 128_000,
      architecture: { input_modalities: ['text', 'image'], output_modalities: ['text'] },
      pricing: { prompt: '0.00000015', completion: '0.0000006', input_cache_read: '0.000000075' },
      top_provider: { max_completion_tokens: 16_384 },
    },
  );
  t.ok(objects(list.data).every(({ supported_parameters: names }) => names === undefined || Array.isArray(names)));
});

t.test('lists aliases by their own names, first, and not those that lead nowhere', async (t) => {
  const ids = await idsOf(token);
  t.same(ids.slice(0, 2), ['small', 'local']);
  t.notOk(ids.includes('absent'), 'its provider is off');
  t.notOk(ids.some((id) => String(id).startsWith('anthropic/')));
  t.match(await read('/small'), { id: 'small', owned_by: 'openai', context_length: 128_000 });
  t.strictSame(await read('/local'), { id: 'local', object: 'model', created: 0, owned_by: 'house' });
});

t.test('lists to each key what its tier and it itself may use', async (t) => {
  t.same(await idsOf((await gateway.createKey('free')).token), ['small', 'demo/echo', 'demo/lorem']);
  t.same(await idsOf((await gateway.createKey('free', { models: ['small', 'openai/*'] })).token), ['small']);
  t.same(await idsOf((await gateway.createKey('none')).token), []);
  const narrow = (await gateway.createKey('plus', { models: ['openai/gpt-4o'] })).token;
  t.same(await idsOf(narrow), ['openai/gpt-4o']);
  const hidden = await rawReply(await get('/small', narrow));
  checkRefusal(t, hidden, { status: 404, code: 'model_not_found', message: /Did you mean openai\/gpt-4o\?/ });
  const nothing = await rawReply(await get('/small', (await gateway.createKey('none')).token));
  checkRefusal(t, nothing, { status: 404, code: 'model_not_found', message: /No model is available to this key/ });
});

t.test('finds a model whose id holds a slash, encoded or not, and by its bare name', async (t) => {
  for (const path of [
    '/openai/gpt-4o-mini',
    '/openai%2Fgpt-4o-mini',
    '/openai%2fgpt-4o-mini',
    '/openai/gpt%2D4o-mini',
  ]) {
    t.match(await read(path), { id: 'openai/gpt-4o-mini', object: 'model' }, path);
  }
  t.match(await read('/gpt-4o-mini'), { id: 'gpt-4o-mini', owned_by: 'openai' });
});

t.test('c8 tells the nearest names when a model is unknown', async (t) => {
  for (const path of ['/gpt-4o-minni', '/nobody/gpt-4o-minni']) {
    const reply = await rawReply(await get(path));
    checkRefusal(t, reply, { status: 404, code: 'model_not_found', message: /Did you mean .*openai\/gpt-4o-mini/ });
  }
});

t.test('sends the list once to who remembers it, and to each key its own', async (t) => {
  const first = await get('');
  const tag = first.headers.get('etag') ?? '';
  t.match(tag, /^"\S+"$/);
  t.match(first.headers.get('cache-control'), /private/);
  const text = await first.text();
  const again = await get('', token, { 'if-none-match': tag });
  t.equal(again.status, 304);
  t.equal(await again.text(), '');
  t.match(again.headers.get('x-request-id'), /^req_/);
  const changed = await get('', token, { 'if-none-match': '"other"' });
  t.equal(changed.status, 200);
  t.equal(await changed.text(), text, 'in the same order');
  const ofAnother = await get('', (await gateway.createKey('free')).token, { 'if-none-match': tag });
  t.equal(ofAnother.status, 200);
});

t.test('asks no provider, counts against no limit, writes no row', async (t) => {
  const key = await gateway.createKey('free', { limits: { requestsPerMinute: 1 } });
  for (let count = 0; count < 20; count += 1) t.equal((await get('', key.token)).status, 200);
  t.equal(upstream.requests.length, 0);
  const body = JSON.stringify({
    model: 'demo/echo',
    messages: [{ role: 'user', content: 'hi' }],
    demo: { delay_ms: 0 },
  });
  const response = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    body,
    headers: { authorization: `Bearer ${key.token}`, 'content-type': 'application/json' },
  });
  t.equal(response.status, 200);
  t.equal(at(parseObject(await response.text()), 'model'), 'demo/echo');
  t.equal((await gateway.rows(1)).length, 1);
});
