/** The model list, and the provider that needs no key, through the `openai` package. */
import { NotFoundError, PermissionDeniedError, APIError } from 'openai';
import t from 'tap';
import { checkError } from './sdk-errors.ts';
import { collect, rejection, startSdkWorld } from './sdk-world.ts';

const world = await startSdkWorld(t, { yaml: 'models:\n  small: [openai/gpt-4o-mini, demo/echo]\n' });
const { client } = world;
const quick = { demo: { delay_ms: 0 } };
const failing = { demo: { error_rate: 1, error_status: 503 } };
const breaking = { demo: { delay_ms: 0, fail_after: 3 } };
const messages = [{ role: 'user' as const, content: 'Grüße an 😀 alle!' }];

t.test('c34 lists models with what OpenAI says of each and more', async (t) => {
  const models = await collect(client.models.list());
  const ids = models.map(({ id }) => id);
  for (const id of ['small', 'openai/gpt-4o-mini', 'demo/echo', 'demo/lorem']) t.ok(ids.includes(id), id);
  t.equal(new Set(ids).size, ids.length);
  for (const { object, created, owned_by: owner } of models) {
    t.equal(object, 'model');
    t.ok(Number.isInteger(created));
    t.type(owner, 'string');
  }
});

t.test('retrieves a model whose id holds a slash, which the package encodes', async (t) => {
  const model = await client.models.retrieve('openai/gpt-4o-mini');
  t.match(model, {
    id: 'openai/gpt-4o-mini',
    object: 'model',
    created: 1721260800,
    owned_by: 'openai',
    context_length: 128_000,
    pricing: { prompt: '0.00000015', completion: '0.0000006' },
  });
  t.match(await client.models.retrieve('small'), { id: 'small', owned_by: 'openai' });
});

t.test('NotFoundError with the nearest names when a model is unknown', async (t) => {
  const error = await rejection(client.models.retrieve('ecko'));
  checkError(t, error, {
    type: NotFoundError,
    status: 404,
    code: 'model_not_found',
    errorType: 'invalid_request_error',
  });
  t.match(error, { message: /Did you mean demo\/echo/ });
});

t.test('demo/echo repeats the last message', async (t) => {
  const reply = await client.chat.completions.create({ model: 'demo/echo', messages, ...quick });
  t.equal(reply.choices[0]?.message.content, 'Grüße an 😀 alle!');
  t.equal(reply.model, 'demo/echo');
  t.equal(reply.usage?.total_tokens, (reply.usage?.prompt_tokens ?? 0) + (reply.usage?.completion_tokens ?? 0));
  t.match(await world.gateway.row(reply._request_id), {
    status: 'ok',
    provider: 'demo',
    completion_tokens: reply.usage?.completion_tokens,
  });
});

t.test('demo/lorem streams through the helper of the package, with usage', async (t) => {
  const options = {
    model: 'demo/lorem',
    messages,
    stream_options: { include_usage: true },
    demo: { delay_ms: 0, tokens: 12 },
  };
  const runner = client.chat.completions.stream(options);
  const final = await runner.finalChatCompletion();
  t.ok((final.choices[0]?.message.content ?? '').length > 20);
  t.equal(final.choices[0]?.finish_reason, 'stop');
  t.equal(final.usage?.completion_tokens, 12);
});

t.test('the demo calls a tool, keeps to a schema, to n, to stop and to a limit', async (t) => {
  const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
  const tool = { type: 'function' as const, function: { name: 'weather', parameters, strict: true } };
  const called = await client.chat.completions
    .stream({ model: 'demo/echo', messages, tools: [tool], tool_choice: 'required', ...quick })
    .finalChatCompletion();
  t.match(called.choices[0], {
    finish_reason: 'tool_calls',
    message: { tool_calls: [{ function: { name: 'weather', parsed_arguments: { city: String } } }] },
  });
  const format = { type: 'json_schema' as const, json_schema: { name: 'a', strict: true, schema: parameters } };
  const parsed = await client.chat.completions.parse({
    model: 'demo/echo',
    messages,
    response_format: format,
    ...quick,
  });
  t.match(parsed.choices[0]?.message.parsed, { city: String });
  const bounded = await client.chat.completions.create({
    model: 'demo/lorem',
    messages,
    n: 2,
    max_tokens: 3,
    ...quick,
  });
  t.same(
    bounded.choices.map(({ index, finish_reason: finish }) => [index, finish]),
    [
      [0, 'length'],
      [1, 'length'],
    ],
  );
  const stopped = await client.chat.completions.create({ model: 'demo/echo', messages, stop: [' alle'], ...quick });
  t.equal(stopped.choices[0]?.message.content, 'Grüße an 😀');
});

t.test('the demo fails as it was asked to: before the answer, and in the middle of it', async (t) => {
  const before = await rejection(client.chat.completions.create({ model: 'demo/echo', messages, ...failing }));
  t.match(before, { status: 503, code: 'overloaded' });
  const after = await rejection(client.chat.completions.stream({ model: 'demo/lorem', messages, ...breaking }).done());
  t.match(after, { cause: undefined, status: undefined, code: 'upstream_stream_truncated' });
  t.type(after, APIError);
});

t.test('lists and answers only what a key may use', async (t) => {
  const { token } = await world.gateway.createKey('plus', { models: ['demo/*'] });
  const narrow = world.newClient({ apiKey: token });
  const ids = (await collect(narrow.models.list())).map(({ id }) => id);
  t.same(ids, ['demo/echo', 'demo/lorem']);
  const error = await rejection(narrow.chat.completions.create({ model: 'openai/gpt-4o-mini', messages }));
  t.type(error, NotFoundError);
  t.notOk(error instanceof PermissionDeniedError);
  t.notMatch(error, { message: /Did you mean.*openai/ });
});
