/** The `openai` package through a listening gateway to a server that speaks Anthropic's Messages API. */
import type OpenAI from 'openai';
import { APIError, InternalServerError, RateLimitError } from 'openai';
import t from 'tap';
import type { JsonObject } from '../../src/contract/json.ts';
import { streamed } from '../support/anthropic-stream.ts';
import { sseText } from '../support/sse-lines.ts';
import { openStream, sendJson } from '../support/upstream.ts';
import { checkError } from './sdk-errors.ts';
import { collect, messages, rejection, startSdkWorld } from './sdk-world.ts';

const world = await startSdkWorld(t, {
  provider: 'ANTHROPIC',
  yaml: 'models:\n  clever: [anthropic/claude-opus-4-8, anthropic/claude-sonnet-4-5]',
});
const { client, upstream } = world;

const sonnet = 'anthropic/claude-sonnet-4-5';
const opus = 'anthropic/claude-opus-4-8';
/** Short enough not to be streamed upstream. */
const max_tokens = 500;

type Params = OpenAI.Chat.ChatCompletionCreateParamsNonStreaming;
type Usage = Record<string, unknown>;

const text = (value: string): JsonObject => ({ type: 'text', text: value });
const use = (id: string, input: JsonObject): JsonObject => ({ type: 'tool_use', id, name: 'weather', input });
const thought: JsonObject = { type: 'thinking', thinking: 'Ask the weather.', signature: 'c2lnbmVk' };

function message(
  content: JsonObject[],
  stop = 'end_turn',
  usage: Usage = { input_tokens: 12, output_tokens: 5 },
): JsonObject {
  return {
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'claude-next-20260101',
    content,
    stop_reason: stop,
    stop_sequence: null,
    usage: usage as JsonObject,
  };
}

/** As the request asked: whole or as a stream. */
function answer(reply: JsonObject): void {
  upstream.answer = (request, response) => {
    if (request.body['stream'] !== true) {
      sendJson(response, reply, 200, { 'request-id': 'req_anthropic' });
      return;
    }
    openStream(response);
    response.end(sseText(streamed(reply)));
  };
}

const weather: OpenAI.Chat.ChatCompletionFunctionTool = {
  type: 'function',
  function: {
    name: 'weather',
    strict: true,
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
      additionalProperties: false,
    },
  },
};

t.test("sends Anthropic its own request, with the operator's key and nothing of the caller's", async (t) => {
  answer(message([text('hello')]));
  const other = world.newClient({
    defaultHeaders: { 'anthropic-version': 'mine', 'x-api-key': 'mine', 'anthropic-beta': 'mine' },
  });
  const call = other.chat.completions.create({
    model: sonnet,
    messages,
    max_tokens,
    verbosity: 'low',
    temperature: 1.5,
  });
  const { data, response } = await call.withResponse();
  t.match(data, { object: 'chat.completion', model: sonnet, id: /^chatcmpl-[A-Za-z0-9]{24}$/ });
  t.match(data.choices[0], { finish_reason: 'stop', message: { role: 'assistant', content: 'hello', refusal: null } });
  t.match(data.usage, { prompt_tokens: 12, completion_tokens: 5, total_tokens: 17 });
  t.equal(response.headers.get('x-tollgate-dropped-params'), 'temperature(1.5->1), verbosity');
  t.equal(response.headers.get('x-tollgate-model'), sonnet);
  const { path, headers, body } = world.lastRequest();
  t.equal(path, '/v1/messages');
  t.match(headers, {
    'x-api-key': 'sk-upstream',
    'anthropic-version': '2023-06-01',
    'content-type': 'application/json',
  });
  t.equal(headers['anthropic-beta'], undefined);
  t.notMatch(JSON.stringify(headers), world.key.token);
  t.strictSame(body, {
    model: 'claude-sonnet-4-5',
    max_tokens,
    messages: [{ role: 'user', content: [text('hi')] }],
    temperature: 1,
  });
});

t.test('refuses in strict mode what would be dropped', async (t) => {
  const error = await rejection(
    client.chat.completions.create({ model: sonnet, messages, seed: 1 }, { headers: { 'x-tollgate-strict': 'true' } }),
  );
  t.match(error, { status: 400, code: 'unsupported_parameter', param: 'seed' });
});

t.test('c11 gives a tool call of Claude with null content and its finish reason', async (t) => {
  answer(message([use('toolu_1', { city: 'Oslo' })], 'tool_use'));
  const reply = await client.chat.completions.create({
    model: sonnet,
    messages,
    max_tokens,
    tools: [weather],
    tool_choice: 'auto',
  });
  t.equal(reply.choices[0]?.finish_reason, 'tool_calls');
  t.equal(reply.choices[0]?.message.content, null);
  t.strictSame(reply.choices[0]?.message.tool_calls, [
    { id: 'toolu_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Oslo"}' } },
  ]);
  t.match(world.lastRequest().body, { tools: [{ name: 'weather', strict: true }], tool_choice: { type: 'auto' } });
});

t.test('c12 streams a tool call of Claude that the package puts together', async (t) => {
  answer(
    message([text('Let me see.'), use('toolu_1', { city: 'Oslo' }), use('toolu_2', { city: 'Łódź' })], 'tool_use'),
  );
  const stream = client.chat.completions.stream({ model: sonnet, messages, tools: [weather] });
  const chunks: OpenAI.Chat.ChatCompletionChunk[] = [];
  stream.on('chunk', (chunk) => chunks.push(chunk));
  const completion = await stream.finalChatCompletion();
  t.equal(completion.choices[0]?.message.content, 'Let me see.');
  t.match(completion.choices[0]?.message.tool_calls, [
    { id: 'toolu_1', function: { arguments: '{"city":"Oslo"}', parsed_arguments: { city: 'Oslo' } } },
    { id: 'toolu_2', function: { parsed_arguments: { city: 'Łódź' } } },
  ]);
  const deltas = chunks.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? []);
  t.strictSame(deltas[0], { index: 0, id: 'toolu_1', type: 'function', function: { name: 'weather', arguments: '' } });
  t.strictSame(Object.keys(deltas[1] ?? {}), ['index', 'function'], 'later only arguments');
  t.notOk(
    chunks.some((chunk) => chunk.usage !== undefined),
    'usage was not asked for',
  );
});

t.test('c16 joins several texts of one answer', async (t) => {
  answer(message([text('One. '), { type: 'server_tool_use', id: 's', name: 'web_search', input: {} }, text('Two.')]));
  const reply = await client.chat.completions.create({ model: sonnet, messages, max_tokens });
  t.equal(reply.choices[0]?.message.content, 'One. Two.');
  t.equal(reply.choices[0]?.message.tool_calls, undefined);
});

t.test('gives the same whether the answer came whole or was streamed to the gateway', async (t) => {
  answer(message([thought, text('Hei'), use('toolu_1', { city: 'Oslo' }), use('toolu_2', {})], 'tool_use'));
  const params: Params = { model: sonnet, messages, tools: [weather] };
  const short = await client.chat.completions.create({ ...params, max_tokens });
  t.not(world.lastRequest().body['stream'], true);
  const long = await client.chat.completions.create(params);
  t.equal(world.lastRequest().body['stream'], true, 'no limit means the longest answer, which may take long');
  t.equal(world.lastRequest().body['max_tokens'], 64_000);
  const own = { id: '', created: 0, _request_id: '' };
  t.same({ ...long, ...own }, { ...short, ...own });
  t.match(await world.gateway.row(long._request_id), {
    status: 'ok',
    prompt_tokens: 12,
    completion_tokens: 5,
    stream: false,
  });
});

t.test('c48 takes signed thinking back as the caller got it', async (t) => {
  const question: OpenAI.Chat.ChatCompletionMessageParam[] = [{ role: 'user', content: 'Weather?' }];
  const params = { model: sonnet, tools: [weather], reasoning_effort: 'medium' as const };
  answer(message([thought, text('Let me see.'), use('toolu_1', { city: 'Oslo' })], 'tool_use'));
  const whole = await client.chat.completions.create({ ...params, messages: question });
  t.match(world.lastRequest().body, { thinking: { type: 'enabled', budget_tokens: 19_200 }, max_tokens: 64_000 });
  const streamedOne = await client.chat.completions.stream({ ...params, messages: question }).finalChatCompletion();
  for (const reply of [whole.choices[0]?.message, streamedOne.choices[0]?.message]) {
    if (reply === undefined) throw new Error('no message');
    t.match(reply, { reasoning_content: 'Ask the weather.', thinking_blocks: [thought] });
    answer(message([text('Rain.')]));
    await client.chat.completions.create({
      ...params,
      messages: [...question, reply, { role: 'tool', tool_call_id: 'toolu_1', content: 'Rain' }],
    });
    t.same((world.lastRequest().body['messages'] as JsonObject[])[1], {
      role: 'assistant',
      content: [thought, text('Let me see.'), use('toolu_1', { city: 'Oslo' })],
    });
    t.match(world.lastRequest().body['thinking'], { type: 'enabled' });
    answer(message([thought, text('Let me see.'), use('toolu_1', { city: 'Oslo' })], 'tool_use'));
  }
});

t.test('c30 answers by a schema that the package parses', async (t) => {
  answer(message([text('{"city":"Oslo"}')]));
  const response_format = {
    type: 'json_schema' as const,
    json_schema: {
      name: 'place',
      strict: true,
      schema: { type: 'object', properties: { city: { type: 'string', minLength: 1 } }, required: ['city'] },
    },
  };
  const native = await client.chat.completions.create({ model: sonnet, messages, response_format });
  t.same(JSON.parse(native.choices[0]?.message.content ?? ''), { city: 'Oslo' });
  t.match(world.lastRequest().body['output_config'], {
    format: {
      type: 'json_schema',
      schema: { additionalProperties: false, properties: { city: { description: '{minLength: 1}' } } },
    },
  });
});

t.test('c55 tells a refusal', async (t) => {
  answer({ ...message([], 'refusal'), stop_details: { type: 'refusal', category: 'bio', explanation: 'Blocked.' } });
  for (const limit of [{ max_tokens }, {}]) {
    const reply = await client.chat.completions.create({ model: sonnet, messages, ...limit });
    t.match(reply.choices[0], { finish_reason: 'content_filter', message: { content: null, refusal: 'Blocked.' } });
  }
});

t.test('c52 counts what came from the cache as input', async (t) => {
  answer(message([text('x')], 'end_turn', { input_tokens: 2, cache_read_input_tokens: 1590, output_tokens: 4 }));
  for (const limit of [{ max_tokens }, {}]) {
    const { usage } = await client.chat.completions.create({ model: sonnet, messages, ...limit });
    t.match(usage, { prompt_tokens: 1592, total_tokens: 1596, prompt_tokens_details: { cached_tokens: 1590 } });
  }
});

t.test('c53 prices what was written to the cache, for minutes and for an hour', async (t) => {
  const usage = {
    input_tokens: 3,
    cache_read_input_tokens: 1111,
    cache_creation_input_tokens: 418,
    cache_creation: { ephemeral_5m_input_tokens: 400, ephemeral_1h_input_tokens: 18 },
    output_tokens: 33,
  };
  answer(message([text('x')], 'end_turn', usage));
  const call = client.chat.completions.create({ model: sonnet, messages, max_tokens });
  const { data, response, request_id: requestId } = await call.withResponse();
  t.match(data.usage, {
    prompt_tokens: 1532,
    total_tokens: 1565,
    prompt_tokens_details: { cached_tokens: 1111, cache_write_tokens: 418 },
  });
  const usd = (3 * 3 + 1111 * 0.3 + 400 * 3.75 + 18 * 6 + 33 * 15) / 1e6;
  t.equal(Number(response.headers.get('x-tollgate-cost-usd')), Number(usd.toFixed(7)));
  const stream = await client.chat.completions.create({
    model: sonnet,
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  const last = (await collect(stream)).at(-1);
  t.match(last, { choices: [], usage: { prompt_tokens: 1532, completion_tokens: 33 } });
  t.match(await world.gateway.row(requestId), {
    prompt_tokens: 1532,
    cached_tokens: 1111,
    cache_write_tokens: 418,
    completion_tokens: 33,
    usage_source: 'provider',
  });
});

const fault = (type: string, words = type): JsonObject => ({
  type: 'error',
  error: { type, message: words },
  request_id: 'req_x',
});

t.test(
  'c24 raises an error of the middle in the caller, keeps what came before, and ends without an end marker',
  async (t) => {
    upstream.answer = (_request, response) => {
      openStream(response);
      const events = streamed(message([text('Hello, this is the beginning')])).slice(0, 3);
      response.end(
        sseText([...events, { event: 'error', data: JSON.stringify(fault('overloaded_error', 'Overloaded')) }]),
      );
    };
    const call = client.chat.completions.create({ model: sonnet, messages, stream: true });
    const { data: stream, request_id: requestId } = await call.withResponse();
    let content = '';
    const error = await rejection(
      (async () => {
        for await (const chunk of stream) content += chunk.choices[0]?.delta.content ?? '';
      })(),
    );
    t.equal(content, 'Hello, this is the beginning');
    t.type(error, APIError);
    t.match(error, { code: 'overloaded', type: 'server_error', status: undefined });
    t.match(await world.gateway.row(requestId), { status: 'upstream_error', prompt_tokens: 12, completion_tokens: 7 });
  },
);

t.test('ends a reply that grows without end while it is gathered', async (t) => {
  const opening = streamed(message([text('Hello')])).slice(0, 2);
  const piece = { type: 'text_delta', text: 'x'.repeat(1024 * 1024) };
  const data = JSON.stringify({ type: 'content_block_delta', index: 0, delta: piece });
  const more = sseText([{ event: 'content_block_delta', data }]);
  upstream.answer = (_request, response) => {
    openStream(response);
    response.write(sseText(opening));
    const grow = (): void => {
      while (!response.destroyed && response.write(more));
      if (!response.destroyed) response.once('drain', grow);
    };
    grow();
  };
  const error = await rejection(client.chat.completions.create({ model: opus, messages }));
  t.match(error, { status: 502, message: /too large/ });
});

t.test('keeps the figures of a reply that broke off while it was gathered', async (t) => {
  upstream.answer = (_request, response) => {
    openStream(response);
    const events = streamed(message([text('Hello, this is the beginning')])).slice(0, 3);
    response.end(
      sseText([...events, { event: 'error', data: JSON.stringify(fault('overloaded_error', 'Overloaded')) }]),
    );
  };
  const error = await rejection(client.chat.completions.create({ model: sonnet, messages }));
  checkError(t, error, { type: InternalServerError, status: 503, code: 'overloaded', errorType: 'server_error' });
  t.match(await world.gateway.row((error as APIError).requestID), {
    status: 'upstream_error',
    prompt_tokens: 12,
    completion_tokens: 7,
    usage_source: 'estimated',
  });
});

t.test('c25 gives a status to an error that comes first', async (t) => {
  upstream.answer = (_request, response) => {
    openStream(response);
    response.end(
      `: hello\n\n${sseText([{ event: 'error', data: JSON.stringify(fault('overloaded_error', 'Overloaded')) }])}`,
    );
  };
  for (const params of [{ stream: true as const }, {}]) {
    const error = await rejection(client.chat.completions.create({ model: sonnet, messages, ...params }));
    checkError(t, error, { type: InternalServerError, status: 503, code: 'overloaded', errorType: 'server_error' });
  }
});

t.test('c27 never makes an end of a broken stream', async (t) => {
  upstream.answer = (_request, response) => {
    openStream(response);
    response.end(sseText(streamed(message([text('Hello')])).slice(0, 3)));
  };
  const stream = await client.chat.completions.create({ model: sonnet, messages, stream: true });
  t.match(await rejection(collect(stream)), { code: 'upstream_stream_truncated' });
  t.match(await rejection(client.chat.completions.create({ model: sonnet, messages })), {
    status: 502,
    code: 'upstream_stream_truncated',
  });
});

t.test('c35 tells the wait when Anthropic limits, after it has tried the next', async (t) => {
  const models: unknown[] = [];
  upstream.answer = (request, response) => {
    models.push(request.body['model']);
    sendJson(response, fault('rate_limit_error'), 429, { 'retry-after': '30', 'x-should-retry': 'true' });
  };
  const error = await rejection(client.chat.completions.create({ model: 'clever', messages }));
  checkError(t, error, { type: RateLimitError, status: 429, code: 'rate_limit_exceeded', errorType: 'requests' });
  t.same(models, ['claude-opus-4-8', 'claude-sonnet-4-5']);
  const { headers } = error as APIError;
  t.equal(headers?.get('retry-after'), '30');
  t.equal(headers?.get('x-should-retry'), null, "the provider's own advice is not handed on");
});

t.test('writes the request anew for the next model, by what that one can', async (t) => {
  const bodies: JsonObject[] = [];
  upstream.answer = (request, response) => {
    bodies.push(request.body as JsonObject);
    if (bodies.length === 1) sendJson(response, fault('overloaded_error'), 529);
    else sendJson(response, message([text('ok')]));
  };
  const call = client.chat.completions.create({ model: 'clever', messages, max_tokens, temperature: 0.5 });
  const { response } = await call.withResponse();
  t.match(bodies, [
    { model: 'claude-opus-4-8', temperature: undefined },
    { model: 'claude-sonnet-4-5', temperature: 0.5 },
  ]);
  t.equal(response.headers.get('x-tollgate-attempts'), '2');
  t.equal(response.headers.get('x-tollgate-dropped-params'), null);
});

t.test("keeps the operator's troubles from the caller", async (t) => {
  const cases = [
    {
      status: 401,
      body: fault('authentication_error', 'invalid x-api-key sk-ant-secret'),
      code: 'upstream_authentication',
    },
    { status: 400, body: fault('invalid_request_error', 'Your credit balance is too low'), code: 'upstream_billing' },
    { status: 402, body: fault('billing_error'), code: 'upstream_billing' },
  ];
  for (const { status, body, code } of cases) {
    upstream.answer = (_request, response) => sendJson(response, body, status);
    const error = await rejection(client.chat.completions.create({ model: sonnet, messages }));
    checkError(t, error, { type: InternalServerError, status: 502, code, errorType: 'server_error' });
    t.notMatch(String(error), /sk-ant|x-api-key|credit balance/);
  }
  upstream.answer = (_request, response) => sendJson(response, fault('overloaded_error'), 529, { 'retry-after': '7' });
  const busy = await rejection(client.chat.completions.create({ model: sonnet, messages }));
  t.match(busy, { status: 503, code: 'overloaded' });
  t.equal((busy as APIError).headers?.get('retry-after'), '7');
});

t.test('c85 keeps the waits that come with a good answer', async (t) => {
  upstream.answer = (_request, response) =>
    sendJson(response, message([text('x')]), 200, {
      'retry-after': '61',
      'anthropic-ratelimit-requests-limit': '5',
      'request-id': 'req_anthropic',
    });
  const call = client.chat.completions.create({ model: opus, messages, max_tokens });
  const { response } = await call.withResponse();
  t.equal(response.headers.get('retry-after'), null);
  t.equal(response.headers.get('anthropic-ratelimit-requests-limit'), null);
  t.equal(response.headers.get('x-tollgate-upstream-request-id'), 'req_upstream');
});

t.test('c116 refuses what the model cannot go on from before it is asked', async (t) => {
  const before = upstream.requests.length;
  const error = await rejection(
    client.chat.completions.create({ model: opus, messages: [...messages, { role: 'assistant', content: 'The' }] }),
  );
  t.match(error, { status: 400, param: 'messages' });
  t.equal(upstream.requests.length, before);
});
