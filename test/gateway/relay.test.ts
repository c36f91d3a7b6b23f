import t from 'tap';
import { post, startGateway } from '../support/gateway.ts';
import { completion, sendJson, startUpstream, streamText, openStream } from '../support/upstream.ts';

const messages = [{ role: 'user', content: 'hi' }];

t.test('a reply passes byte for byte, is metered, priced, logged and settled', async (t) => {
  const reply = completion('hello');
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, reply));
  const gateway = await startGateway(t, {
    environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url },
  });
  const key = await gateway.createKey();
  const body =
    '{ "model" : "openai/gpt-4o-mini",\n"messages":[{"role":"user","content":"hi"}], "brand_new": {"x": 1e0} }';
  const response = await post(gateway, key.token, body);
  t.equal(response.status, 200);
  t.equal(await response.text(), JSON.stringify(reply));
  t.equal(upstream.requests[0]?.rawBody, body.replace('openai/gpt-4o-mini', 'gpt-4o-mini'));
  t.equal(upstream.requests[0]?.headers.authorization, 'Bearer sk-upstream');
  t.match(Object.fromEntries(response.headers), {
    'content-type': 'application/json',
    'x-request-id': /^req_[0-9a-f]{32}$/,
    'openai-version': '2020-10-01',
    'openai-processing-ms': /^\d+$/,
    'x-ratelimit-limit-requests': '5000',
    'x-ratelimit-remaining-requests': '4999',
    'x-ratelimit-reset-requests': /ms$/,
    'x-ratelimit-limit-tokens': '100000000',
    'x-tollgate-provider': 'openai',
    'x-tollgate-model': 'openai/gpt-4o-mini',
    'x-tollgate-attempts': '1',
    'x-tollgate-upstream-request-id': 'req_upstream',
    'x-tollgate-cost-usd': '0.00000315',
  });
  const [row] = await gateway.rows(1);
  t.match(row, {
    account_id: key.accountId,
    key_id: key.keyId,
    tier: 'plus',
    endpoint: 'chat.completions',
    model: 'openai/gpt-4o-mini',
    provider: 'openai',
    upstream_model: 'gpt-4o-mini',
    stream: false,
    status: 'ok',
    http_status: 200,
    usage_source: 'provider',
    prompt_tokens: 9,
    completion_tokens: 3,
    rank: 3,
  });
  t.equal(`req_${String(row?.['request_id']).replaceAll('-', '')}`, response.headers.get('x-request-id'));
  const lines = gateway.logLines().filter(({ msg }) => msg === 'request');
  t.equal(lines.length, 1);
  t.match(lines[0], { status: 200, outcome: 'ok', prompt_tokens: 9, cost_usd: '0.00000315' });
});

t.test('a stream passes byte for byte when usage was asked for, and without it when not', async (t) => {
  const sent: string[] = [];
  const upstream = await startUpstream(t, (request, response) => {
    const text = streamText(request, ['hé', '😀']);
    sent.push(text);
    openStream(response);
    response.end(text);
  });
  const gateway = await startGateway(t, {
    environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url },
  });
  const { token } = await gateway.createKey();
  const asked = await post(gateway, token, {
    model: 'gpt-4o-mini',
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  t.equal(await asked.text(), sent[0]);
  t.equal(asked.headers.get('content-type'), 'text/event-stream; charset=utf-8');
  t.equal(asked.headers.get('x-accel-buffering'), 'no');
  const notAsked = await post(gateway, token, { model: 'gpt-4o-mini', messages, stream: true });
  t.equal(await notAsked.text(), streamText({ ...upstream.requests[1], body: {} } as never, ['hé', '😀']));
  t.same(upstream.requests[1]?.body['stream_options'], { include_usage: true });
  const rows = await gateway.rows(2);
  for (const row of rows)
    t.match(row, { status: 'ok', stream: true, prompt_tokens: 9, completion_tokens: 3, usage_source: 'provider' });
});

t.test('a stream that answers a question for one reply is put together again', async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    openStream(response);
    response.end(streamText(request, ['Hel', 'lo']));
  });
  const gateway = await startGateway(t, {
    environment: { TOGETHER_API_KEY: 'k', TOGETHER_BASE_URL: upstream.url },
  });
  const { token } = await gateway.createKey();
  const response = await post(gateway, token, { model: 'together/some/model', messages });
  t.equal(response.status, 200);
  t.match(response.headers.get('content-type'), /^application\/json/);
  t.match(await response.json(), {
    object: 'chat.completion',
    choices: [{ index: 0, message: { role: 'assistant', content: 'Hello' }, finish_reason: 'stop' }],
  });
  const [row] = await gateway.rows(1);
  t.match(row, { status: 'ok', stream: false, http_status: 200 });
});

t.test('a provider with several keys is asked with each in its turn', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('x')));
  const gateway = await startGateway(t, {
    yaml: `providers: { openai: { keys: [one, { key: two, weight: 2 }], base_url: "${upstream.url}", allow_private: true } }`,
  });
  const { token } = await gateway.createKey();
  for (let turn = 0; turn < 3; turn += 1) {
    const response = await post(gateway, token, { model: 'openai/gpt-4o-mini', messages });
    t.equal(response.status, 200);
    await response.text();
  }
  t.same(
    upstream.requests.map(({ headers }) => headers.authorization),
    ['Bearer two', 'Bearer one', 'Bearer two'],
  );
});

t.test('without a token to be had nobody is asked, and the operator alone can mend it', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('never')));
  const gateway = await startGateway(t, {
    environment: { VERTEX_API_KEY: '{"no":"account"}', VERTEX_PROJECT: 'p', VERTEX_BASE_URL: upstream.url },
  });
  const { token } = await gateway.createKey();
  for (const stream of [false, true]) {
    const response = await post(gateway, token, { model: 'vertex/gemini-3.6-flash', messages, stream });
    t.equal(response.status, 502);
    t.match(await response.json(), { error: { code: 'upstream_authentication', message: /no valid credential/ } });
  }
  t.equal(upstream.requests.length, 0);
  t.match(await gateway.rows(2), [{ status: 'not_dispatched' }, { status: 'not_dispatched' }]);
});

t.test('c29 a picture at a URL is fetched only from hosts that the operator named', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('never')));
  const environment = {
    BEDROCK_API_KEY: 'AKID:secret',
    BEDROCK_REGION: 'eu-west-1',
    BEDROCK_BASE_URL: upstream.url.replace(/\/v1$/, ''),
  };
  const picture = { type: 'image_url', image_url: { url: 'https://127.0.0.1/a.png' } };
  const body = { model: 'bedrock/anthropic.claude-x', messages: [{ role: 'user', content: [picture] }] };
  for (const [yaml, message] of [
    ['', /image|data:/i],
    ['fetch_hosts: ["*"]', /could not be fetched/],
  ] as const) {
    const gateway = await startGateway(t, { yaml, environment });
    const response = await post(gateway, (await gateway.createKey()).token, body);
    t.equal(response.status, 400);
    t.match(await response.json(), { error: { type: 'invalid_request_error', message } });
  }
  t.equal(upstream.requests.length, 0);
});

t.test('what an adapter allows for thinking is held with the rest', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, {}, 500));
  const gateway = await startGateway(t, { environment: { ANTHROPIC_API_KEY: 'k', ANTHROPIC_BASE_URL: upstream.url } });
  const held = async (more: object): Promise<number> => {
    const { token } = await gateway.createKey();
    const body = { model: 'anthropic/claude-sonnet-4-5', messages, max_tokens: 2000, ...more };
    const response = await post(gateway, token, body);
    await response.text();
    const read = (what: string): number => Number(response.headers.get(`x-ratelimit-${what}-tokens`));
    return read('limit') - read('remaining');
  };
  const [plain, thinking] = [await held({}), await held({ reasoning_effort: 'high' })];
  t.ok(thinking - plain >= 38_400, `${thinking} against ${plain}`);
  t.match(upstream.requests[1]?.body, { max_tokens: 40_400 });
});
