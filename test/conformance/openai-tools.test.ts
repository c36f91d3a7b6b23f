/** Tools through the `openai` package: whole, in pieces, in parallel, strict, and as a loop that the package runs itself. */
import type OpenAI from 'openai';
import t from 'tap';
import { chunk, completion, endMarker, openStream, sendJson, usageChunk } from '../support/upstream.ts';
import { collect, messages, model, startSdkWorld } from './sdk-world.ts';

const world = await startSdkWorld(t);
const { client, upstream } = world;

const weather: OpenAI.Chat.ChatCompletionFunctionTool = {
  type: 'function',
  function: {
    name: 'weather',
    description: 'the weather of a city',
    strict: true,
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
      additionalProperties: false,
    },
  },
};
const tools = [weather];

const call = (id: string, city: string): OpenAI.Chat.ChatCompletionMessageFunctionToolCall => ({
  id,
  type: 'function',
  function: { name: 'weather', arguments: JSON.stringify({ city }) },
});

function toolReply(calls: readonly object[]): Record<string, unknown> {
  const message = { role: 'assistant', content: null, refusal: null, tool_calls: calls, annotations: [] };
  return completion('', { choices: [{ index: 0, message, logprobs: null, finish_reason: 'tool_calls' }] });
}

const firstPiece = (index: number, id: string): string =>
  chunk({ tool_calls: [{ index, id, type: 'function', function: { name: 'weather', arguments: '' } }] });
const piece = (index: number, text: string): string =>
  chunk({ tool_calls: [{ index, function: { arguments: text } }] });

/** The first tool delta may ride in the chunk with the role. */
const parallelCalls =
  chunk({
    role: 'assistant',
    content: null,
    tool_calls: [{ index: 0, id: 'call_a', type: 'function', function: { name: 'weather', arguments: '' } }],
    refusal: null,
  }) +
  piece(0, '{"ci') +
  piece(0, 'ty":"Os') +
  piece(0, 'lo"}') +
  firstPiece(1, 'call_b') +
  piece(1, '{"city":') +
  piece(1, '"Łódź"}') +
  chunk({}, 'tool_calls') +
  usageChunk +
  endMarker;

function stream(text: string): void {
  upstream.answer = (_request, response) => {
    openStream(response);
    response.end(text);
  };
}

t.test('c11 gives the call, null content and its finish reason when a tool is called', async (t) => {
  upstream.answer = (_request, response) => sendJson(response, toolReply([call('call_1', 'Oslo')]));
  const reply = await client.chat.completions.create({ model, messages, tools, tool_choice: 'auto' });
  t.equal(reply.choices[0]?.finish_reason, 'tool_calls');
  t.equal(reply.choices[0]?.message.content, null);
  t.strictSame(reply.choices[0]?.message.tool_calls, [call('call_1', 'Oslo')]);
  t.strictSame(world.lastRequest().body['tools'], tools);
});

t.test('c12 gives the pieces as they were sent when a call is streamed', async (t) => {
  stream(parallelCalls);
  const chunks = await collect(await client.chat.completions.create({ model, messages, tools, stream: true }));
  const deltas = chunks.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? []);
  t.strictSame(deltas[0], { index: 0, id: 'call_a', type: 'function', function: { name: 'weather', arguments: '' } });
  t.equal(deltas.filter(({ id }) => id !== undefined).length, 2, 'each call is named once');
  const argumentsOf = (index: number): string =>
    deltas.map((delta) => (delta.index === index ? (delta.function?.arguments ?? '') : '')).join('');
  t.equal(argumentsOf(0), '{"city":"Oslo"}');
  t.equal(argumentsOf(1), '{"city":"Łódź"}');
  t.equal(chunks.at(-1)?.choices[0]?.finish_reason, 'tool_calls');
});

t.test('c14 feeds the stream helper with strict parallel tools', async (t) => {
  stream(parallelCalls);
  const runner = client.chat.completions.stream({ model, messages, tools, parallel_tool_calls: true });
  const done: unknown[] = [];
  runner.on('tool_calls.function.arguments.done', ({ name, index, parsed_arguments: parsed }) =>
    done.push([name, index, parsed]),
  );
  const final = await runner.finalChatCompletion();
  t.match(final.choices[0]?.message.tool_calls, [
    { id: 'call_a', function: { name: 'weather', arguments: '{"city":"Oslo"}', parsed_arguments: { city: 'Oslo' } } },
    { id: 'call_b', function: { name: 'weather', arguments: '{"city":"Łódź"}', parsed_arguments: { city: 'Łódź' } } },
  ]);
  t.same(done, [
    ['weather', 0, { city: 'Oslo' }],
    ['weather', 1, { city: 'Łódź' }],
  ]);
});

t.test('c13 gives an empty object when a tool without arguments is streamed', async (t) => {
  stream(
    chunk({ role: 'assistant', content: null }) +
      firstPiece(0, 'call_a') +
      piece(0, '{}') +
      chunk({}, 'tool_calls') +
      endMarker,
  );
  const final = await client.chat.completions.stream({ model, messages, tools }).finalChatCompletion();
  t.match(final.choices[0]?.message.tool_calls, [{ function: { arguments: '{}', parsed_arguments: {} } }]);
});

t.test('gives words and a call when a model says something first', async (t) => {
  stream(
    chunk({ role: 'assistant', content: '' }) +
      chunk({ content: 'Let me look.' }) +
      firstPiece(0, 'call_a') +
      piece(0, '{"city":"Oslo"}') +
      chunk({}, 'tool_calls') +
      endMarker,
  );
  const final = await client.chat.completions.stream({ model, messages, tools }).finalChatCompletion();
  t.match(final.choices[0], { message: { content: 'Let me look.', tool_calls: [{ id: 'call_a' }] } });
});

t.test('gives a custom tool its free text', async (t) => {
  const custom = { id: 'call_c', type: 'custom', custom: { name: 'sql', input: 'select 1;\n' } };
  upstream.answer = (_request, response) => sendJson(response, toolReply([custom]));
  const grammar = { type: 'custom' as const, custom: { name: 'sql', format: { type: 'text' as const } } };
  const reply = await client.chat.completions.create({ model, messages, tools: [grammar] });
  t.strictSame(reply.choices[0]?.message.tool_calls, [custom]);
  t.strictSame(world.lastRequest().body['tools'], [grammar]);
});

t.test('c15 carries the loop that the package runs itself: call, result, answer', async (t) => {
  const asked: unknown[] = [];
  upstream.answer = (request, response) => {
    const said = request.body['messages'] as { role: string }[];
    const isAnswered = said.some(({ role }) => role === 'tool');
    sendJson(response, isAnswered ? completion('cold') : toolReply([call('call_1', 'Oslo'), call('call_2', 'Bergen')]));
  };
  const before = upstream.requests.length;
  const runner = client.chat.completions.runTools({
    model,
    messages,
    tools: [
      {
        type: 'function',
        function: {
          name: 'weather',
          description: 'the weather of a city',
          parameters: { type: 'object', properties: { city: { type: 'string' } } },
          parse: (text: string) => JSON.parse(text) as { city: string },
          function: ({ city }: { city: string }) => {
            asked.push(city);
            return `${city}: 3 °C`;
          },
        },
      },
    ],
  });
  t.equal(await runner.finalContent(), 'cold');
  t.same(asked, ['Oslo', 'Bergen']);
  t.equal(upstream.requests.length - before, 2);
  t.match(world.lastRequest().body['messages'], [
    { role: 'user', content: 'hi' },
    { role: 'assistant', tool_calls: [call('call_1', 'Oslo'), call('call_2', 'Bergen')] },
    { role: 'tool', tool_call_id: 'call_1', content: 'Oslo: 3 °C' },
    { role: 'tool', tool_call_id: 'call_2', content: 'Bergen: 3 °C' },
  ]);
});
