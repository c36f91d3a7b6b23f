/** Unary chat: what the `openai` package sends reaches the upstream, what the upstream says reaches its caller. */
import type OpenAI from 'openai';
import t from 'tap';
import { completion, sendJson } from '../support/upstream.ts';
import { messages, model, rejection, startSdkWorld } from './sdk-world.ts';

const world = await startSdkWorld(t);
const { client, upstream } = world;

type Params = OpenAI.Chat.ChatCompletionCreateParamsNonStreaming;

/** The bytes that must arrive: the package's own, with nothing but the name of the model changed. */
const forwarded = (params: object): string => JSON.stringify(params).replace('"openai/gpt-4o-mini"', '"gpt-4o-mini"');

function answer(reply: object): void {
  upstream.answer = (_request, response) => sendJson(response, reply);
}

t.test("c1 gives the upstream's object and our request id when a plain message is sent", async (t) => {
  const reply = completion('hello', {
    system_fingerprint: 'fp_1',
    service_tier: 'default',
    made_up: { deep: [1, null] },
  });
  answer(reply);
  const call = client.chat.completions.create({ model: 'openai/gpt-4o-mini', messages });
  const { _request_id: ownId, ...rest } = await call;
  const { data, response, request_id: requestId } = await call.withResponse();
  t.strictSame(rest, reply);
  t.match(ownId, /^req_[0-9a-f]{32}$/);
  t.equal(ownId, response.headers.get('x-request-id'));
  t.equal(requestId, ownId);
  t.equal(data.choices[0]?.message.content, 'hello');
  t.equal(response.headers.get('x-tollgate-upstream-request-id'), 'req_upstream');
  t.match(await world.gateway.row(ownId), { status: 'ok', prompt_tokens: 9, completion_tokens: 3, stream: false });
});

t.test("shows the upstream the operator's key and nothing of the caller's headers when called", async (t) => {
  answer(completion('hello'));
  const other = world.newClient({
    organization: 'org-of-the-caller',
    project: 'proj-of-the-caller',
    defaultHeaders: { 'x-canary': 'canary', cookie: 'canary=1', 'x-request-id': 'canary' },
  });
  const reply = await other.chat.completions.create({ model, messages });
  t.match(reply._request_id, /^req_[0-9a-f]{32}$/, "the caller's own id is not taken over");
  const { headers, path } = world.lastRequest();
  t.equal(path, '/v1/chat/completions');
  t.equal(headers.authorization, 'Bearer sk-upstream');
  const text = JSON.stringify(headers);
  for (const secret of [world.key.token, 'of-the-caller', 'canary', 'stainless', 'OpenAI/JS']) {
    t.notOk(text.includes(secret), `${secret.slice(0, 14)} stays here`);
  }
});

t.test("keeps the upstream's own headers to itself when it answers", async (t) => {
  upstream.answer = (_request, response) =>
    sendJson(response, completion('hello'), 200, {
      'openai-organization': 'org-of-the-operator',
      'openai-project': 'proj_operator',
      'x-ratelimit-limit-requests': '1',
      'x-ratelimit-remaining-requests': '0',
      'retry-after': '30',
      'set-cookie': 'a=b',
      'x-should-retry': 'true',
      server: 'cloudflare',
      'cf-ray': 'x',
      via: 'x',
      'alt-svc': 'h3',
    });
  const response = await client.chat.completions.create({ model, messages }).asResponse();
  for (const name of ['openai-organization', 'openai-project', 'retry-after', 'set-cookie', 'x-should-retry']) {
    t.equal(response.headers.get(name), null, name);
  }
  for (const name of ['server', 'cf-ray', 'via', 'alt-svc']) t.equal(response.headers.get(name), null, name);
  t.equal(response.headers.get('x-ratelimit-limit-requests'), '5000', 'the limits are those of our caller');
});

t.test('gives both choices when n is 2', async (t) => {
  const [choice] = completion('one')['choices'] as object[];
  answer(
    completion('one', { choices: [choice, { ...choice, index: 1, message: { role: 'assistant', content: 'two' } }] }),
  );
  const reply = await client.chat.completions.create({ model, messages, n: 2 });
  t.equal(world.lastRequest().body['n'], 2);
  t.same(
    reply.choices.map(({ index, message }) => [index, message.content]),
    [
      [0, 'one'],
      [1, 'two'],
    ],
  );
});

const passed: Record<string, Partial<Params>> = {
  'hands on stop as a string': { stop: 'END' },
  'hands on stop as an array': { stop: ['END', '\n\n'] },
  'hands on sampling and limits': {
    temperature: 0.7,
    top_p: 0.1,
    max_tokens: 7,
    seed: 3,
    presence_penalty: -1,
    logit_bias: { '5': -100 },
  },
  'hands on log probabilities': { logprobs: true, top_logprobs: 5 },
  'c29 hands on an image by address': {
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'what is it?' },
          { type: 'image_url', image_url: { url: 'https://example.com/cat.png', detail: 'low' } },
        ],
      },
    ],
  },
  'c28 hands on an image as a data address': {
    messages: [
      {
        role: 'user',
        content: [{ type: 'image_url', image_url: { url: `data:image/png;base64,${'iVBORw0KGgo+/'.repeat(5000)}=` } }],
      },
    ],
  },
  'hands on an audio part': {
    messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: { data: 'UklGRg==', format: 'wav' } }] }],
    modalities: ['text', 'audio'],
    audio: { voice: 'alloy', format: 'wav' },
  },
  'hands on a file part': {
    messages: [
      {
        role: 'user',
        content: [
          { type: 'file', file: { filename: 'a.pdf', file_data: 'data:application/pdf;base64,JVBERi0=' } },
          { type: 'file', file: { file_id: 'file-123' } },
        ],
      },
    ],
  },
  'hands on a structured output': {
    response_format: {
      type: 'json_schema',
      json_schema: { name: 'a', strict: true, schema: { type: 'object', properties: {}, additionalProperties: false } },
    },
  },
  'c15 hands on a round trip of tools': {
    messages: [
      { role: 'system', content: 'be brief' },
      { role: 'developer', content: 'be briefer' },
      { role: 'user', content: 'weather?', name: 'ann' },
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Oslo"}' } }],
      },
      { role: 'tool', tool_call_id: 'call_1', content: '3 °C' },
    ],
    tools: [{ type: 'function', function: { name: 'weather', parameters: { type: 'object' }, strict: true } }],
    tool_choice: { type: 'function', function: { name: 'weather' } },
    parallel_tool_calls: false,
  },
  'c38 hands on nulls': { temperature: null, stop: null, top_p: null, max_tokens: null, n: null },
  'c39 hands on an empty list of tools': { tools: [] },
  'hands on text beyond ASCII': { messages: [{ role: 'user', content: 'Grüße \u0000 \u2028 😀 "quoted" \\ 語' }] },
};

for (const [name, params] of Object.entries(passed)) {
  t.test(`${name}, byte for byte`, async (t) => {
    answer(completion('hello'));
    const sent = { model: 'openai/gpt-4o-mini', messages, ...params };
    const reply = await client.chat.completions.create(sent);
    t.equal(world.lastRequest().rawBody, forwarded(sent));
    t.equal(reply.choices[0]?.message.content, 'hello');
  });
}

t.test('c37 hands on what nobody has heard of when it is sent', async (t) => {
  answer(completion('hello'));
  const unheard: object = {
    verbosity: 'low',
    foo: 1,
    brand_new: { constructor: { a: [] }, big: 12345678901234567000 },
  };
  const sent = { model: 'openai/gpt-4o-mini', messages, ...unheard };
  const response = await client.chat.completions.create(sent).asResponse();
  t.equal(world.lastRequest().rawBody, forwarded(sent));
  t.equal(response.headers.get('x-tollgate-dropped-params'), null);
});

t.test('c19 renames the token limit when a reasoning model is asked', async (t) => {
  answer(completion('hello'));
  await client.chat.completions.create({ model: 'openai/gpt-5', messages, max_tokens: 50 });
  t.strictSame(world.lastRequest().body, { model: 'gpt-5', messages, max_completion_tokens: 50 });
});

t.test('c23 gives the finish reason length when the upstream stopped there', async (t) => {
  const [choice] = completion('on and')['choices'] as object[];
  answer(completion('', { choices: [{ ...choice, finish_reason: 'length' }] }));
  const reply = await client.chat.completions.create({ model, messages, max_tokens: 2 });
  t.equal(reply.choices[0]?.finish_reason, 'length');
});

t.test('parses a structured output when the helper of the package asks for it', async (t) => {
  answer(completion('{"steps":["a","b"],"answer":4}'));
  const schema = {
    type: 'object',
    properties: { steps: { type: 'array', items: { type: 'string' } }, answer: { type: 'number' } },
    required: ['steps', 'answer'],
    additionalProperties: false,
  };
  const reply = await client.chat.completions.parse({
    model,
    messages,
    response_format: { type: 'json_schema', json_schema: { name: 'math', strict: true, schema } },
  });
  t.strictSame(reply.choices[0]?.message.parsed, { steps: ['a', 'b'], answer: 4 });
});

t.test('raises the error of the package when a structured output was cut', async (t) => {
  const [choice] = completion('{"steps":[')['choices'] as object[];
  answer(completion('', { choices: [{ ...choice, finish_reason: 'length' }] }));
  const error = await rejection(
    client.chat.completions.parse({
      model,
      messages,
      response_format: { type: 'json_schema', json_schema: { name: 'math', strict: true, schema: { type: 'object' } } },
    }),
  );
  t.match(error, { message: /length limit was reached/ });
});

t.test('gives a refusal as the upstream said it when a model refuses', async (t) => {
  const [choice] = completion('')['choices'] as object[];
  const message = { role: 'assistant', content: null, refusal: 'I cannot.', annotations: [] };
  answer(completion('', { choices: [{ ...choice, message }] }));
  const reply = await client.chat.completions.create({ model, messages });
  t.strictSame(reply.choices[0]?.message, message);
});

t.test('reads a reply that is pretty-printed, large, and sent in pieces', async (t) => {
  const content = '😀é'.repeat(200_000);
  upstream.answer = (_request, response) => {
    const bytes = Buffer.from(JSON.stringify(completion(content), null, 2));
    response.writeHead(200, { 'content-type': 'application/json' });
    for (let at = 0; at < bytes.length; at += 65_537) response.write(bytes.subarray(at, at + 65_537));
    response.end();
  };
  const reply = await client.chat.completions.create({ model, messages });
  t.ok(reply.choices[0]?.message.content === content);
});
