/** The `openai` package through a listening gateway to a server that speaks Google's generateContent. */
import type OpenAI from 'openai';
import { APIError, RateLimitError } from 'openai';
import t from 'tap';
import type { JsonObject } from '../../src/contract/json.ts';
import { at, textAt } from '../support/json-at.ts';
import { openStream, sendJson, type RecordedRequest } from '../support/upstream.ts';
import { collect, messages, rejection, startSdkWorld } from './sdk-world.ts';

const world = await startSdkWorld(t, { provider: 'GOOGLE' });
const { client, upstream } = world;

const flash = 'google/gemini-3.6-flash';
const signature = 'c2lnbmVk';
const usage = { promptTokenCount: 12, candidatesTokenCount: 3, thoughtsTokenCount: 4, totalTokenCount: 19 };

const event = (parts: JsonObject[], finishReason?: string): JsonObject => ({
  candidates: [
    { index: 0, content: { role: 'model', parts }, ...(finishReason === undefined ? {} : { finishReason }) },
  ],
  usageMetadata: usage,
  modelVersion: 'gemini-3.6-flash-001',
  responseId: 'r1',
});

const frames = (events: readonly JsonObject[]): string =>
  events.map((body) => `data: ${JSON.stringify(body)}\r\n\r\n`).join('');

const isStream = ({ path }: RecordedRequest): boolean => path.includes(':streamGenerateContent?alt=sse');

/** As the path asked: whole, or a part per event and the finish in the last. */
function answer(parts: JsonObject[]): void {
  upstream.answer = (request, response) => {
    if (!isStream(request)) {
      sendJson(response, event(parts, 'STOP'));
      return;
    }
    openStream(response);
    response.end(frames([...parts.map((part) => event([part])), event([{ text: '' }], 'STOP')]));
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

const thought = { text: 'Greet.', thought: true };

t.test("sends Google its own request, with the operator's key and nothing of the caller's", async (t) => {
  answer([thought, { text: 'hello' }]);
  const other = world.newClient({ defaultHeaders: { 'x-goog-api-key': 'mine' } });
  const call = other.chat.completions.create({ model: flash, messages, max_tokens: 50, verbosity: 'low', n: 1 });
  const { data, response } = await call.withResponse();
  t.match(data, { object: 'chat.completion', model: flash, id: /^chatcmpl-[A-Za-z0-9]{24}$/ });
  t.match(data.choices[0], {
    finish_reason: 'stop',
    message: { role: 'assistant', content: 'hello', reasoning_content: 'Greet.' },
  });
  t.match(data.usage, {
    prompt_tokens: 12,
    completion_tokens: 7,
    total_tokens: 19,
    completion_tokens_details: { reasoning_tokens: 4 },
  });
  t.equal(response.headers.get('x-tollgate-dropped-params'), 'verbosity');
  t.equal(response.headers.get('x-tollgate-model'), flash);
  const { path, headers, body } = world.lastRequest();
  t.equal(path, '/v1/models/gemini-3.6-flash:generateContent');
  t.equal(headers['x-goog-api-key'], 'sk-upstream');
  t.equal(headers.authorization, undefined);
  t.strictSame(body, {
    contents: [{ role: 'user', parts: [{ text: 'hi' }] }],
    generationConfig: { maxOutputTokens: 50, thinkingConfig: { includeThoughts: true } },
  });
});

t.test('streams by the other path, with usage once and an end marker that Google does not send', async (t) => {
  answer([thought, { text: 'hel' }, { text: 'lo' }]);
  const stream = await client.chat.completions.create({
    model: flash,
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await collect(stream);
  t.ok(isStream(world.lastRequest()));
  t.equal(world.lastRequest().body['stream'], undefined);
  t.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join(''), 'hello');
  t.equal(chunks.at(-2)?.choices[0]?.finish_reason, 'stop');
  t.match(chunks.at(-1), { choices: [], usage: { prompt_tokens: 12, completion_tokens: 7 } });
  const raw = await fetch(`${world.gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${world.key.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: flash, messages, stream: true }),
  });
  const text = await raw.text();
  t.ok(text.endsWith('data: [DONE]\n\n'));
  t.notMatch(text, /"usage"|\r/);
  t.match(await world.gateway.row(raw.headers.get('x-request-id')), {
    status: 'ok',
    prompt_tokens: 12,
    completion_tokens: 7,
    usage_source: 'provider',
  });
});

t.test('c57 c58 takes tools there and back, streamed and whole, with signatures or without', async (t) => {
  const calls = [
    { functionCall: { name: 'weather', args: { city: 'Oslo' }, id: 'zi06h2mp' }, thoughtSignature: signature },
    { functionCall: { name: 'weather', args: { city: 'Łódź' } } },
  ];
  for (const isStreamed of [true, false]) {
    const params = { model: flash, messages, tools: [weather] };
    answer([thought, ...calls]);
    const reply = isStreamed
      ? await client.chat.completions.stream(params).finalChatCompletion()
      : await client.chat.completions.create(params);
    const message = reply.choices[0]?.message;
    if (message === undefined) throw new Error('no message');
    t.equal(reply.choices[0]?.finish_reason, 'tool_calls');
    const ids = (message.tool_calls ?? []).map(({ id }) => id);
    t.equal(ids[0], 'zi06h2mp');
    t.match(ids[1], /^call_[A-Za-z0-9]{24}$/);
    const results = ids.map((id, index) => ({ role: 'tool' as const, tool_call_id: id, content: `${index} degrees` }));
    answer([{ text: 'Cold.' }]);
    const next = async (kept: OpenAI.Chat.ChatCompletionMessageParam): Promise<JsonObject> => {
      await client.chat.completions.create({ ...params, messages: [...messages, kept, ...results.toReversed()] });
      return world.lastRequest().body as JsonObject;
    };
    const whole = await next(message);
    const parts = at(whole, 'contents', 1, 'parts');
    t.same(parts, [
      { text: 'Greet.', thought: true },
      ...calls.map((part, index) => (index === 0 ? part : { functionCall: part.functionCall })),
    ]);
    t.same(at(whole, 'contents', 2, 'parts'), [
      { functionResponse: { name: 'weather', response: { result: '0 degrees' }, id: 'zi06h2mp' } },
      { functionResponse: { name: 'weather', response: { result: '1 degrees' } } },
    ]);
    t.same(at(whole, 'toolConfig', 'functionCallingConfig'), { mode: 'VALIDATED' });
    const plainCalls = (message.tool_calls ?? []).flatMap((call) =>
      call.type === 'function' ? [{ id: call.id, type: call.type, function: call.function }] : [],
    );
    const bare = await next({ role: 'assistant', content: null, tool_calls: plainCalls });
    t.equal(textAt(bare, 'contents', 1, 'parts', 0, 'thoughtSignature'), 'skip_thought_signature_validator');
    t.equal(at(bare, 'contents', 1, 'parts', 1, 'thoughtSignature'), undefined);
  }
});

t.test('goes from Claude to Gemini and back without the signatures of the other', async (t) => {
  answer([{ text: 'yes', thoughtSignature: signature }]);
  const foreign = { type: 'thinking', thinking: 'Ah.', signature: 'Y2xhdWRl' };
  const turn = { role: 'assistant' as const, content: 'ok', thinking_blocks: [foreign] };
  const call = client.chat.completions.create({ model: flash, messages: [...messages, turn, ...messages] });
  const { data, response } = await call.withResponse();
  t.notMatch(world.lastRequest().rawBody, /Y2xhdWRl/);
  t.equal(response.headers.get('x-tollgate-dropped-params'), 'messages.1.thinking_blocks');
  t.match(data.choices[0]?.message, {
    thinking_blocks: [{ signature, format: 'google-gemini-v1', content_offset: 3 }],
  });
});

t.test('answers by a schema that the package reads', async (t) => {
  answer([{ text: '{"city":"Oslo"}' }]);
  const schema = weather.function.parameters ?? {};
  const reply = await client.chat.completions.parse({
    model: flash,
    messages,
    response_format: { type: 'json_schema', json_schema: { name: 'place', strict: true, schema } },
  });
  t.same(JSON.parse(reply.choices[0]?.message.content ?? ''), { city: 'Oslo' });
  t.match(world.lastRequest().body, {
    generationConfig: { responseMimeType: 'application/json', responseJsonSchema: schema },
  });
});

t.test('c56 shows a blocked prompt as an answer that was filtered', async (t) => {
  const blocked = {
    promptFeedback: { blockReason: 'PROHIBITED_CONTENT' },
    usageMetadata: { promptTokenCount: 9, totalTokenCount: 9 },
  };
  upstream.answer = (request, response) => {
    if (!isStream(request)) return sendJson(response, blocked);
    openStream(response);
    response.end(frames([blocked]));
  };
  const whole = await client.chat.completions.create({ model: flash, messages });
  t.match(whole.choices, [{ index: 0, finish_reason: 'content_filter', message: { content: null } }]);
  t.match(whole.usage, { prompt_tokens: 9, completion_tokens: 0 });
  const chunks = await collect(await client.chat.completions.create({ model: flash, messages, stream: true }));
  t.equal(chunks.at(-1)?.choices[0]?.finish_reason, 'content_filter');
});

const throttle = {
  error: {
    code: 429,
    message: 'You exceeded your current quota, please check your plan and billing details.',
    status: 'RESOURCE_EXHAUSTED',
    details: [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '34.4s' }],
  },
};

t.test('hands on the wait that a throttle names in its body', async (t) => {
  upstream.answer = (_request, response) => sendJson(response, throttle, 429);
  for (const stream of [false, true]) {
    const error = await rejection(client.chat.completions.create({ model: flash, messages, stream }));
    t.ok(error instanceof RateLimitError);
    if (!(error instanceof RateLimitError)) return;
    t.match(error, { status: 429, type: 'requests', code: 'rate_limit_exceeded' });
    t.equal(error.headers.get('retry-after'), '35');
    t.equal(error.headers.get('retry-after-ms'), '34400');
    t.equal(error.headers.get('x-should-retry'), null);
  }
});

t.test('an invalid key of the operator is no fault of the caller', async (t) => {
  const body = {
    error: {
      code: 400,
      message: 'API key not valid. Please pass a valid API key.',
      status: 'INVALID_ARGUMENT',
      details: [{ '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'API_KEY_INVALID' }],
    },
  };
  upstream.answer = (_request, response) => sendJson(response, body, 400);
  const error = await rejection(client.chat.completions.create({ model: flash, messages }));
  t.match(error, { status: 502, code: 'upstream_authentication' });
  t.ok(error instanceof APIError && error.headers?.get('x-should-retry') === 'false');
});

t.test('c24 c27 a stream that fails or is cut ends in an error, never in a finish', async (t) => {
  const endings: [string, string][] = [
    [
      frames([event([{ text: 'So ' }]), { error: { code: 503, message: 'overloaded', status: 'UNAVAILABLE' } }]),
      'overloaded',
    ],
    [frames([event([{ text: 'So ' }])]), 'upstream_stream_truncated'],
  ];
  for (const [text, code] of endings) {
    upstream.answer = (_request, response) => {
      openStream(response);
      response.end(text);
    };
    const seen: string[] = [];
    const stream = await client.chat.completions.create({ model: flash, messages, stream: true });
    const error = await rejection(
      (async () => {
        for await (const { choices } of stream) {
          seen.push(choices[0]?.delta.content ?? '');
          t.equal(choices[0]?.finish_reason, null);
        }
      })(),
    );
    t.equal(seen.join(''), 'So ');
    t.match(error, { code });
  }
});
