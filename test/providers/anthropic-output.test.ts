/** Answers in a form that the caller gave: natively, by a tool that stands in for it, or in words. Spec: fidelity 4.1, 4.2. */
import { transformJSONSchema } from '@anthropic-ai/sdk/lib/transform-json-schema';
import t, { type Test } from 'tap';
import { sanitiseSchema } from '../../providers/anthropic-schema.ts';
import { anthropic } from '../../providers/anthropic.ts';
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';
import type { ChatEndpoint, ReplyContext, RequestRewrite } from '../../src/contract/provider.ts';
import { streamed } from '../support/anthropic-stream.ts';
import { chunksOf, sumChoices } from '../support/chat-stream.ts';
import { claude } from '../support/claude-models.ts';
import { at } from '../support/json-at.ts';
import { replyContext } from '../support/reply-context.ts';

const chat = anthropic.endpoints.chat as ChatEndpoint & Required<Pick<ChatEndpoint, 'stream'>>;
const schema: JsonObject = {
  type: 'object',
  properties: {
    city: { type: 'string', pattern: '^[A-Z]', description: 'where' },
    count: { type: 'integer', minimum: 1 },
  },
  required: ['city', 'count'],
};
const request: JsonObject = {
  model: 'm',
  messages: [{ role: 'user', content: 'hi' }],
  response_format: { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema } },
};
const weather: JsonObject = { type: 'function', function: { name: 'weather' } };

function write(body: JsonObject, model: string): RequestRewrite {
  const change = chat.request(body, claude(model));
  if (!('body' in change)) throw new Error('a Messages request is written anew');
  return change;
}

const contextOf = (body: JsonObject, model: string): ReplyContext =>
  replyContext({ request: body, sent: write(body, model).body, target: claude(model) });

t.test('c30 asks a model that knows schemas by one that it takes', (t) => {
  const { body, dropped } = write(request, 'claude-sonnet-4-5');
  t.same(body.output_config, {
    format: {
      type: 'json_schema',
      schema: {
        type: 'object',
        properties: {
          city: { type: 'string', description: 'where\n\n{pattern: "^[A-Z]"}' },
          count: { type: 'integer', description: '{minimum: 1}' },
        },
        required: ['city', 'count'],
        additionalProperties: false,
      },
    },
  });
  t.notOk('tools' in body);
  t.same(dropped, []);
  const both = write({ ...request, reasoning_effort: 'high' }, 'claude-opus-4-8').body.output_config;
  t.match(both, { effort: 'high', format: { type: 'json_schema' } });
  const own = write({ ...request, output_config: { effort: 'low', task_budget: 1 } }, 'claude-opus-4-8').body
    .output_config;
  t.match(own, { effort: 'low', task_budget: 1, format: { type: 'json_schema' } });
  t.end();
});

t.test('makes words of what a schema cannot enforce, and keeps the rest', (t) => {
  t.same(
    sanitiseSchema({
      type: 'object',
      $defs: { node: { type: ['object', 'null'], properties: { next: { $ref: '#/$defs/node' } } } },
      properties: {
        kind: { oneOf: [{ const: 'a' }, { type: 'array', items: { type: 'number', maximum: 9 }, maxItems: 3 }] },
        mixed: { anyOf: [{ type: 'string' }], oneOf: [{ type: 'null' }], allOf: [{}] },
        when: { type: 'string', format: 'date-time' },
        odd: { type: 'string', format: 'regex', enum: ['x'] },
        map: { type: 'object', additionalProperties: { type: 'string' } },
        bare: { properties: {} },
      },
    }),
    {
      type: 'object',
      $defs: {
        node: { type: ['object', 'null'], properties: { next: { $ref: '#/$defs/node' } }, additionalProperties: false },
      },
      properties: {
        kind: {
          anyOf: [
            { const: 'a' },
            { type: 'array', items: { type: 'number', description: '{maximum: 9}' }, description: '{maxItems: 3}' },
          ],
        },
        mixed: { anyOf: [{ type: 'string' }], allOf: [{}, { anyOf: [{ type: 'null' }] }] },
        when: { type: 'string', format: 'date-time' },
        odd: { type: 'string', enum: ['x'], description: '{format: "regex"}' },
        map: { type: 'object', additionalProperties: false, description: '{additionalProperties: {"type":"string"}}' },
        bare: { properties: {}, additionalProperties: false },
      },
      additionalProperties: false,
    },
  );
  t.end();
});

t.test("agrees with Anthropic's own client on what a schema may say", (t) => {
  const rich: JsonObject = {
    type: 'object',
    title: 'T',
    properties: {
      name: { type: 'string', minLength: 2, maxLength: 9, format: 'email' },
      tags: { type: 'array', items: { type: 'string', pattern: 'a' }, uniqueItems: true, minItems: 2 },
      size: { anyOf: [{ type: 'number', multipleOf: 2 }, { type: 'null' }] },
      inner: { type: 'object', properties: { a: { type: 'boolean' } }, required: ['a'], minProperties: 1 },
    },
    required: ['name'],
  };
  t.same(sanitiseSchema(rich), JSON.parse(JSON.stringify(transformJSONSchema(rich))));
  t.end();
});

const jsonReply = (...blocks: JsonObject[]): JsonObject => ({
  type: 'message',
  content: blocks,
  stop_reason: 'tool_use',
  usage: { input_tokens: 1, output_tokens: 1 },
});
const use = (name: string, input: JsonObject): JsonObject => ({ type: 'tool_use', id: 'toolu_1', name, input });

/** Content, finish reason and names of calls, unary; a stream must say the same. */
function answer(
  t: Test,
  body: JsonObject,
  context: ReplyContext,
): [JsonValue | undefined, JsonValue | undefined, JsonValue[]] {
  const choice = at(chat.response(body, context).body, 'choices', 0);
  const calls = (at(choice, 'message', 'tool_calls') ?? []) as JsonObject[];
  const names = calls.map((call) => at(call, 'function', 'name') ?? null);
  const translator = chat.stream(context);
  const out = [...streamed(body).flatMap((event) => translator.push(event)), ...translator.end()];
  const sum = sumChoices(chunksOf(out)).get(0);
  t.equal(sum?.text, at(choice, 'message', 'content') ?? '');
  t.equal(sum?.finish, at(choice, 'finish_reason'));
  t.same(
    sum?.calls.map(({ name }) => name),
    names,
  );
  return [at(choice, 'message', 'content'), at(choice, 'finish_reason'), names];
}

t.test('c31 lets a tool stand in for the schema of an older model', (t) => {
  const { body, dropped } = write(request, 'claude-3-haiku');
  t.same(body.tools, [{ name: 'json', description: 'Give the answer in this form.', input_schema: schema }]);
  t.same(body.tool_choice, { type: 'tool', name: 'json', disable_parallel_tool_use: true });
  t.same(dropped, []);
  const context = contextOf(request, 'claude-3-haiku');
  const input = { city: 'Oslo', count: 1 };
  t.same(answer(t, jsonReply(use('json', input)), context), [JSON.stringify(input), 'stop', []]);
  t.same(answer(t, jsonReply({ type: 'text', text: 'Here:' }, use('json', input)), context), [
    JSON.stringify(input),
    'stop',
    [],
  ]);
  t.same(answer(t, { ...jsonReply({ type: 'text', text: 'No.' }), stop_reason: 'end_turn' }, context), [
    'No.',
    'stop',
    [],
  ]);
  t.end();
});

t.test('lets the model choose between that tool and the tools of the caller', (t) => {
  const body = { ...request, tools: [weather, { type: 'function', function: { name: 'json' } }] };
  const written = write(body, 'claude-3-haiku').body;
  t.same(
    (written.tools as JsonObject[]).map(({ name }) => name),
    ['weather', 'json', 'json_'],
  );
  t.same(written.tool_choice, { type: 'any', disable_parallel_tool_use: true });
  const context = contextOf(body, 'claude-3-haiku');
  t.same(answer(t, jsonReply(use('weather', {})), context), [null, 'tool_calls', ['weather']]);
  t.same(answer(t, jsonReply(use('json', {})), context), [null, 'tool_calls', ['json']]);
  t.same(answer(t, jsonReply(use('json_', { a: 1 })), context), ['{"a":1}', 'stop', []]);
  const named = write(
    { ...body, tool_choice: { type: 'function', function: { name: 'weather' } } },
    'claude-3-haiku',
  ).body;
  t.match(named.tool_choice, { type: 'tool', name: 'weather' });
  t.match(write({ ...body, tool_choice: 'none' }, 'claude-3-haiku').body.tool_choice, { type: 'tool', name: 'json_' });
  t.end();
});

t.test('has one tool of a name, whatever the history calls', (t) => {
  const call = { id: 'a', type: 'function', function: { name: 'json', arguments: '{}' } };
  const history = [
    { role: 'user', content: 'hi' },
    { role: 'assistant', tool_calls: [call] },
    { role: 'tool', tool_call_id: 'a', content: 'x' },
  ];
  const { tools } = write({ ...request, messages: history }, 'claude-3-haiku').body;
  t.same(
    (tools as JsonObject[]).map(({ name }) => name),
    ['json'],
  );
  t.end();
});

t.test('does without thinking where the tool must be forced', (t) => {
  const { body, dropped } = write({ ...request, reasoning_effort: 'high' }, 'claude-3-7-sonnet');
  t.match(body.tool_choice, { type: 'tool', name: 'json' });
  t.notOk('thinking' in body);
  t.same(dropped, ['reasoning_effort']);
  t.end();
});

t.test("keeps a call of the caller's own `json` tool where no tool stands in", (t) => {
  const body = { ...request, tools: [{ type: 'function', function: { name: 'json' } }] };
  t.same(answer(t, jsonReply(use('json', {})), contextOf(body, 'claude-sonnet-4-5')), [null, 'tool_calls', ['json']]);
  t.end();
});

t.test('c32 asks for any JSON object in words', (t) => {
  const body = {
    ...request,
    response_format: { type: 'json_object' },
    messages: [
      { role: 'system', content: 'S.' },
      { role: 'user', content: 'hi' },
    ],
  };
  const written = write(body, 'claude-opus-4-8').body;
  t.equal((written.system as JsonValue[]).length, 2);
  t.match(at(written.system, 1, 'text'), /JSON object/);
  t.notOk('output_config' in written);
  t.same(write({ ...request, response_format: { type: 'text' } }, 'claude-opus-4-8').dropped, []);
  t.end();
});
