/** The `openai` package through a listening gateway to a server that speaks Bedrock's Converse, and checks signatures. */
import type { ServerResponse } from 'node:http';
import OpenAI, { APIError, BadRequestError, InternalServerError, NotFoundError, RateLimitError } from 'openai';
import t from 'tap';
import type { JsonObject } from '../../src/contract/json.ts';
import { amazonEvent, amazonFrame } from '../support/amazon-frames.ts';
import { startGateway } from '../support/gateway.ts';
import { at, textAt } from '../support/json-at.ts';
import { checkSignature } from '../support/sigv4-check.ts';
import { sendJson } from '../support/upstream.ts';
import { checkError } from './sdk-errors.ts';
import { collect, messages, rejection, startSdkWorld } from './sdk-world.ts';

const secret = 'wJalr/secret+with+signs';
const world = await startSdkWorld(t, {
  provider: 'BEDROCK',
  environment: { BEDROCK_API_KEY: `AKIDEXAMPLE:${secret}:session-token`, BEDROCK_REGION: 'eu-west-1' },
});
const { client, upstream } = world;

const modelId = 'eu.anthropic.claude-sonnet-4-5-20250929-v1:0';
const model = `bedrock/${modelId}`;
const usage = { inputTokens: 12, outputTokens: 5, totalTokens: 17 };

const reply = (content: JsonObject[], stopReason = 'end_turn', more: JsonObject = {}): JsonObject => ({
  metrics: { latencyMs: 1 },
  output: { message: { role: 'assistant', content } },
  stopReason,
  usage,
  ...more,
});

type Frames = readonly [type: string, payload: JsonObject][];

const exception = (type: string, message: string): Buffer =>
  amazonFrame(
    { ':exception-type': type, ':content-type': 'application/json', ':message-type': 'exception' },
    JSON.stringify({ message }),
  );

function openFrames(response: ServerResponse): void {
  response.writeHead(200, {
    'content-type': 'application/vnd.amazon.eventstream',
    'x-amzn-requestid': '0f2c',
  });
}

/** In pieces that never end where a frame does. */
function sendFrames(response: ServerResponse, bytes: Buffer): void {
  for (let start = 0; start < bytes.length; start += 41) response.write(bytes.subarray(start, start + 41));
}

function stream(frames: Frames, last: Buffer = Buffer.alloc(0)): void {
  upstream.answer = (_request, response) => {
    openFrames(response);
    sendFrames(response, Buffer.concat([...frames.map(([type, payload]) => amazonEvent(type, payload)), last]));
    response.end();
  };
}

const delta = (contentBlockIndex: number, said: JsonObject): Frames[number] => [
  'contentBlockDelta',
  { contentBlockIndex, delta: said, p: 'abcdef' },
];
const close = (contentBlockIndex: number): Frames[number] => ['contentBlockStop', { contentBlockIndex, p: 'ab' }];
const open = (contentBlockIndex: number, toolUseId: string, name: string): Frames[number] => [
  'contentBlockStart',
  { contentBlockIndex, start: { toolUse: { toolUseId, name } }, p: 'a' },
];
const start: Frames[number] = ['messageStart', { role: 'assistant', p: 'abc' }];
const stop = (stopReason: string): Frames[number] => ['messageStop', { stopReason, p: 'a' }];
const metadata: Frames[number] = ['metadata', { usage, metrics: { latencyMs: 3 }, p: 'ab' }];

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

t.test("signs what it sends, with the operator's key and nothing of the caller's", async (t) => {
  upstream.answer = (_request, response) => {
    // Under no name but Amazon's own.
    response.writeHead(200, { 'content-type': 'application/json', 'x-amzn-requestid': '0f2c-77' });
    response.end(JSON.stringify(reply([{ text: 'hello' }])));
  };
  const call = client.chat.completions.create({
    model,
    messages: [{ role: 'user', content: 'Où ça? 東京 🙂' }],
    max_completion_tokens: 500,
    temperature: 1.5,
    user: 'someone',
    service_tier: 'priority',
  });
  const { data, response } = await call.withResponse();
  t.match(data, { object: 'chat.completion', model, id: /^chatcmpl-[A-Za-z0-9]{24}$/ });
  t.match(data.choices[0], { finish_reason: 'stop', message: { role: 'assistant', content: 'hello', refusal: null } });
  t.match(data.usage, { prompt_tokens: 12, completion_tokens: 5, total_tokens: 17 });
  t.equal(response.headers.get('x-tollgate-dropped-params'), 'user, temperature(1.5->1)');
  t.equal(response.headers.get('x-tollgate-model'), model);
  t.equal(response.headers.get('x-tollgate-upstream-request-id'), '0f2c-77');
  const request = world.lastRequest();
  t.equal(request.path, '/v1/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse');
  t.strictSame(request.body, {
    messages: [{ role: 'user', content: [{ text: 'Où ça? 東京 🙂' }] }],
    inferenceConfig: { maxTokens: 500, temperature: 1 },
    serviceTier: { type: 'priority' },
  });
  const check = checkSignature(request, secret);
  t.match(check, { isRight: true, keyId: 'AKIDEXAMPLE', scope: /^\d{8}\/eu-west-1\/bedrock\/aws4_request$/ });
  t.ok(['content-type', 'host', 'x-amz-date', 'x-amz-security-token'].every((name) => check.signed.includes(name)));
  t.match(request.headers, { 'content-type': 'application/json', 'x-amz-security-token': 'session-token' });
  t.notMatch(JSON.stringify([request.headers, request.body]), new RegExp(`${world.key.token}|wJalr`));
  t.equal(checkSignature({ ...request, rawBody: `${request.rawBody} ` }, secret).isRight, false, 'the check can fail');
});

t.test('a caller who leaves while the reply is gathered is charged for what was produced', async (t) => {
  const given = new AbortController();
  const delta = amazonEvent('contentBlockDelta', { contentBlockIndex: 0, delta: { text: 'x'.repeat(1024 * 1024) } });
  upstream.answer = (_request, response) => {
    openFrames(response);
    response.write(amazonEvent('messageStart', { role: 'assistant' }));
    // More than the sockets between hold, so that the gateway has read some of it when all of it has left.
    response.write(Buffer.concat(Array.from({ length: 24 }, () => delta)), () => given.abort());
  };
  const call = client.chat.completions.create({ model, messages, max_tokens: 30_000 }, { signal: given.signal });
  await rejection(call);
  await world.lastRequest().closedEarly;
  const rows = world.gateway.database.db.selectFrom('usage_events').selectAll().where('status', '=', 'client_abort');
  let row = await rows.executeTakeFirst();
  for (let tries = 0; row === undefined && tries < 500; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    row = await rows.executeTakeFirst();
  }
  t.match(row, { usage_source: 'estimated' });
  t.ok(Number(row?.completion_tokens) >= 100, `${row?.completion_tokens} tokens`);
});

t.test('reaches a profile by its ARN, with its slashes escaped and signed', async (t) => {
  upstream.answer = (_request, response) => sendJson(response, reply([{ text: 'hello' }]));
  const arn = `arn:aws:bedrock:eu-west-1:123456789012:inference-profile/${modelId}`;
  await client.chat.completions.create({ model: `bedrock/${arn}`, messages });
  const request = world.lastRequest();
  t.equal(request.path, `/v1/model/${encodeURIComponent(arn)}/converse`);
  t.ok(checkSignature(request, secret).isRight);
});

t.test('streams text out of binary frames, with its usage when it is asked for', async (t) => {
  stream([start, delta(0, { text: 'hel' }), delta(0, { text: 'lo 🙂' }), close(0), stop('max_tokens'), metadata]);
  const chunks = await collect(
    await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } }),
  );
  t.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join(''), 'hello 🙂');
  t.equal(chunks.find((chunk) => chunk.choices[0]?.finish_reason)?.choices[0]?.finish_reason, 'length');
  t.match(chunks.at(-1), { choices: [], usage: { prompt_tokens: 12, completion_tokens: 5, total_tokens: 17 } });
  const request = world.lastRequest();
  t.match(request.path, /\/converse-stream$/);
  t.ok(checkSignature(request, secret).isRight);
  const { response } = await client.chat.completions.create({ model, messages, stream: true }).withResponse();
  t.notMatch(await response.text(), /usage/, 'not asked for, not shown');
  t.match(await world.gateway.row(response.headers.get('x-request-id')), {
    status: 'ok',
    usage_source: 'provider',
    prompt_tokens: 12,
    completion_tokens: 5,
  });
});

t.test('c13 c121 puts calls together whose figures come before the end, one of them without arguments', async (t) => {
  stream([
    start,
    delta(0, { text: 'I look.' }),
    close(0),
    open(1, 'tooluse_1', 'weather'),
    delta(1, { toolUse: { input: '{"city":' } }),
    delta(1, { toolUse: { input: '"Oslo"}' } }),
    close(1),
    open(2, 'tooluse_2', 'clock'),
    delta(2, { toolUse: { input: '' } }),
    close(2),
    metadata,
    stop('tool_use'),
  ]);
  const clock: OpenAI.Chat.ChatCompletionFunctionTool = { type: 'function', function: { name: 'clock', strict: true } };
  const final = await client.chat.completions
    .stream({ model, messages, tools: [weather, clock], stream_options: { include_usage: true } })
    .finalChatCompletion();
  t.match(final.choices[0], { finish_reason: 'tool_calls', message: { content: 'I look.' } });
  const calls = (final.choices[0]?.message.tool_calls ?? []) as OpenAI.Chat.ChatCompletionMessageFunctionToolCall[];
  t.strictSame(
    calls.map(({ id, function: { name, arguments: json } }) => [id, name, json]),
    [
      ['tooluse_1', 'weather', '{"city":"Oslo"}'],
      ['tooluse_2', 'clock', '{}'],
    ],
  );
  t.match(final.usage, { prompt_tokens: 12, completion_tokens: 5 });
  t.match(at(world.lastRequest().body as JsonObject, 'toolConfig', 'tools', 0), {
    toolSpec: { name: 'weather', strict: true, inputSchema: { json: { required: ['city'] } } },
  });
});

t.test('c123 tells calls apart whose ids begin anew in every turn', async (t) => {
  upstream.answer = (_request, response) => sendJson(response, reply([{ text: 'done' }]));
  const turn = (name: string, result: string): OpenAI.Chat.ChatCompletionMessageParam[] => [
    { role: 'assistant', tool_calls: [{ id: 'call_0', type: 'function', function: { name, arguments: '{}' } }] },
    { role: 'tool', tool_call_id: 'call_0', content: result },
  ];
  await client.chat.completions.create({
    model,
    tools: [weather],
    messages: [{ role: 'user', content: 'hi' }, ...turn('weather', 'rain'), ...turn('weather', 'sun')],
  });
  const sent = world.lastRequest().body as JsonObject;
  t.strictSame(
    [1, 3].map((index) => textAt(sent, 'messages', index, 'content', 0, 'toolUse', 'toolUseId')),
    ['call_0', 'call_0_2'],
  );
  t.match(at(sent, 'messages', 2, 'content', 0), { toolResult: { toolUseId: 'call_0', content: [{ text: 'rain' }] } });
  t.match(at(sent, 'messages', 4, 'content', 0), { toolResult: { toolUseId: 'call_0_2', content: [{ text: 'sun' }] } });
});

t.test('c51 takes signed and encrypted reasoning back as the caller got it', async (t) => {
  stream([
    start,
    delta(0, { reasoningContent: { text: 'Ask ' } }),
    delta(0, { reasoningContent: { text: 'first.' } }),
    delta(0, { reasoningContent: { signature: 'c2lnbmVk' } }),
    close(0),
    delta(1, { reasoningContent: { redactedContent: 'aGlkZGVu' } }),
    close(1),
    open(2, 'tooluse_1', 'weather'),
    delta(2, { toolUse: { input: '{"city":"Oslo"}' } }),
    close(2),
    stop('tool_use'),
    metadata,
  ]);
  const ask = { model, tools: [weather], reasoning_effort: 'low' as const };
  const chunks = await collect(await client.chat.completions.create({ ...ask, messages, stream: true }));
  const deltas = chunks.map((chunk) => chunk.choices[0]?.delta as JsonObject | undefined);
  t.equal(deltas.map((said) => textAt(said, 'reasoning_content')).join(''), 'Ask first.');
  const blocks = deltas.flatMap((said) => (said?.thinking_blocks ?? []) as JsonObject[]);
  t.match(at(world.lastRequest().body as JsonObject, 'additionalModelRequestFields', 'thinking'), {
    type: 'enabled',
    budget_tokens: 6400,
  });

  upstream.answer = (_request, response) => sendJson(response, reply([{ text: 'Rain.' }]));
  const answered = {
    role: 'assistant',
    content: null,
    thinking_blocks: blocks,
    tool_calls: [{ id: 'tooluse_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Oslo"}' } }],
  } as OpenAI.Chat.ChatCompletionAssistantMessageParam;
  await client.chat.completions.create({
    ...ask,
    messages: [...messages, answered, { role: 'tool', tool_call_id: 'tooluse_1', content: 'rain' }],
    max_tokens: 500,
  });
  const sent = world.lastRequest().body as JsonObject;
  t.strictSame(at(sent, 'messages', 1, 'content'), [
    { reasoningContent: { reasoningText: { text: 'Ask first.', signature: 'c2lnbmVk' } } },
    { reasoningContent: { redactedContent: 'aGlkZGVu' } },
    { toolUse: { toolUseId: 'tooluse_1', name: 'weather', input: { city: 'Oslo' } } },
  ]);
  t.ok(at(sent, 'additionalModelRequestFields', 'thinking'), 'and it goes on thinking');
});

t.test('asks for a stream when the answer may be long, and gives it whole', async (t) => {
  stream([start, delta(0, { text: 'long' }), close(0), stop('end_turn'), metadata]);
  const whole = await client.chat.completions.create({ model, messages, max_tokens: 30_000 });
  t.match(world.lastRequest().path, /\/converse-stream$/);
  t.match(whole, { object: 'chat.completion', choices: [{ message: { content: 'long' }, finish_reason: 'stop' }] });
  t.match(whole.usage, { prompt_tokens: 12, completion_tokens: 5 });
});

const firstEvents = [
  ['throttlingException', RateLimitError, { status: 429, code: 'rate_limit_exceeded', errorType: 'requests' }],
  ['serviceUnavailableException', InternalServerError, { status: 503, code: 'overloaded', errorType: 'server_error' }],
  ['validationException', BadRequestError, { status: 400, code: null, errorType: 'invalid_request_error' }],
  ['modelTimeoutException', InternalServerError, { status: 504, code: 'timeout', errorType: 'server_error' }],
  [
    'modelStreamErrorException',
    InternalServerError,
    { status: 502, code: 'upstream_error', errorType: 'server_error' },
  ],
] as const;

t.test('c25 c105 gives a status to an exception that comes first', async (t) => {
  for (const [name, type, expected] of firstEvents) {
    stream([], exception(name, 'words of the provider'));
    checkError(t, await rejection(client.chat.completions.create({ model, messages, stream: true })), {
      type,
      ...expected,
    });
  }
});

t.test('c24 c105 tells an exception in the middle as an error frame, and nothing after it', async (t) => {
  stream([start, delta(0, { text: 'half' })], exception('throttlingException', 'slow down'));
  const call = await client.chat.completions.create({ model, messages, stream: true }).withResponse();
  const requestId = call.response.headers.get('x-request-id');
  const seen: string[] = [];
  const error = await rejection(
    (async () => {
      for await (const chunk of call.data) seen.push(chunk.choices[0]?.delta.content ?? '');
    })(),
  );
  t.equal(seen.join(''), 'half');
  t.type(error, APIError);
  t.match(error, { status: undefined, code: 'rate_limit_exceeded', type: 'requests' });
  const { response } = await client.chat.completions.create({ model, messages, stream: true }).withResponse();
  const text = await response.text();
  t.match(text, /data: \{"error":\{.*\}\}\n\n$/);
  t.notMatch(text, /\[DONE\]|finish_reason":"/);
  t.match(await world.gateway.row(requestId), { status: 'upstream_error', usage_source: 'estimated' });
});

t.test('c27 never makes an end of a stream that broke off, and refuses a damaged frame', async (t) => {
  const end = amazonEvent('messageStop', { stopReason: 'end_turn' });
  for (const tail of [Buffer.alloc(0), end.subarray(0, -3)]) {
    stream([start, delta(0, { text: 'half' })], tail);
    const { response } = await client.chat.completions.create({ model, messages, stream: true }).withResponse();
    const text = await response.text();
    t.match(text, /"code":"upstream_stream_truncated"\}\}\n\n$/);
    t.notMatch(text, /\[DONE\]/);
  }
  const damaged = Buffer.from(end);
  damaged.writeUInt8(damaged.readUInt8(damaged.length - 6) ^ 1, damaged.length - 6);
  stream([], damaged);
  const error = await rejection(client.chat.completions.create({ model, messages, stream: true }));
  t.match(error, { status: 502, code: 'upstream_error' });
});

t.test('c36 maps failures by the type in their header, and tells nothing of the operator', async (t) => {
  const arn = 'arn:aws:iam::123456789012:user/gateway';
  const fail = async (status: number, type: string, message: string): Promise<unknown> => {
    upstream.answer = (_request, response) =>
      sendJson(response, { message }, status, { 'x-amzn-errortype': `${type}:http://internal.amazon.com/coral/` });
    return rejection(client.chat.completions.create({ model, messages }));
  };
  const credentials = { status: 502, code: 'upstream_authentication', errorType: 'server_error' };
  const denied = await fail(403, 'AccessDeniedException', `User: ${arn} is not authorized: bedrock:InvokeModel`);
  checkError(t, denied, { type: InternalServerError, ...credentials });
  t.notMatch(String(denied), /arn:|123456789012/);
  checkError(t, await fail(403, 'InvalidSignatureException', 'The request signature does not match.'), {
    type: InternalServerError,
    ...credentials,
  });
  checkError(t, await fail(400, 'ValidationException', 'The provided model identifier is invalid.'), {
    type: NotFoundError,
    status: 404,
    code: 'model_not_found',
    errorType: 'invalid_request_error',
  });
  checkError(t, await fail(400, 'ServiceQuotaExceededException', `Quota of 123456789012`), {
    type: RateLimitError,
    status: 429,
    code: 'rate_limit_exceeded',
    errorType: 'requests',
  });
  checkError(t, await fail(429, 'ModelNotReadyException', 'Wait.'), {
    type: InternalServerError,
    status: 503,
    code: 'overloaded',
    errorType: 'server_error',
  });
  const rejected = await fail(400, 'ValidationException', `Bad field. See arn:aws:bedrock:eu-west-1:123456789012:x/y`);
  t.match(rejected, { status: 400, error: { message: 'Bad field. See [redacted]' } });
});

t.test('says how to send an image that it may not fetch, before anybody is asked', async (t) => {
  const before = upstream.requests.length;
  const image: OpenAI.Chat.ChatCompletionContentPart = {
    type: 'image_url',
    image_url: { url: 'https://images.example/a.png' },
  };
  const error = await rejection(
    client.chat.completions.create({ model, messages: [{ role: 'user', content: [image] }] }),
  );
  t.match(error, { status: 400, param: 'messages[0].content[0]', error: { message: /data URL/ } });
  t.equal(upstream.requests.length, before);
});

t.test('sends a Bedrock API key as a token, and signs nothing', async (t) => {
  upstream.answer = (_request, response) => sendJson(response, reply([{ text: 'hello' }]));
  const gateway = await startGateway(t, {
    environment: {
      BEDROCK_API_KEY: 'bedrock-api-key-YmFzZTY0',
      BEDROCK_REGION: 'eu-west-1',
      BEDROCK_BASE_URL: upstream.url,
    },
  });
  const { token } = await gateway.createKey();
  const other = new OpenAI({ apiKey: token, baseURL: `${gateway.url}/v1`, maxRetries: 0 });
  const answered = await other.chat.completions.create({ model, messages });
  t.equal(answered.choices[0]?.message.content, 'hello');
  const { headers } = world.lastRequest();
  t.equal(headers.authorization, 'Bearer bedrock-api-key-YmFzZTY0');
  t.equal(headers['x-amz-date'], undefined);
});

t.test('does not start without a region', async (t) => {
  await t.rejects(startGateway(t, { environment: { BEDROCK_API_KEY: 'a:b' } }), /BEDROCK_REGION/);
});
