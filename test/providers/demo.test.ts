import t from 'tap';
import { demo } from '../../providers/demo.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/contract/json.ts';
import type { ReplyContext, ScriptedReply } from '../../src/contract/provider.ts';
import { at, parseObject, textAt, thrownBy } from '../support/json-at.ts';
import { replyContext } from '../support/reply-context.ts';
import { sseEvents } from '../support/sse-lines.ts';

const question = [{ role: 'user', content: 'Say this, please: one two three' }];
const lorem = { model: 'lorem', messages: question };
const echo = { model: 'demo/echo', messages: question };

function answer(body: JsonObject, context: ReplyContext = replyContext()): ScriptedReply {
  if (demo.answer === undefined) throw new Error('the demo does not answer');
  return demo.answer({ path: '/chat/completions', body, context });
}

const textOf = (reply: ScriptedReply): string => [...reply.chunks].map((chunk) => chunk.data).join('');
function streamed(body: JsonObject): { chunks: JsonObject[]; content: string; last: string | undefined } {
  const events = sseEvents(textOf(answer({ ...body, stream: true })));
  const chunks = events.slice(0, -1).map((event) => parseObject(event.data));
  const content = chunks.map((chunk) => textAt(chunk, 'choices', 0, 'delta', 'content')).join('');
  return { chunks, content, last: events.at(-1)?.data };
}

t.test('repeats the last user message when the model is echo', (t) => {
  const messages = [
    ...question,
    { role: 'assistant', content: 'x' },
    { role: 'user', content: [{ type: 'text', text: 'more' }] },
  ];
  t.equal(at(parseObject(textOf(answer(echo))), 'choices', 0, 'message', 'content'), question[0]?.content);
  t.equal(at(parseObject(textOf(answer({ ...echo, messages }))), 'choices', 0, 'message', 'content'), 'more');
  t.end();
});

t.test('gives the same text and usage when streamed as when not', (t) => {
  for (const body of [echo, lorem, { ...lorem, max_tokens: 7 }]) {
    const unary = parseObject(textOf(answer(body)));
    const { chunks, content, last } = streamed({ ...body, stream_options: { include_usage: true } });
    t.equal(content, at(unary, 'choices', 0, 'message', 'content'));
    t.same(at(chunks.at(-1), 'usage'), unary.usage);
    t.same(at(chunks.at(-1), 'choices'), []);
    t.equal(last, '[DONE]');
  }
  t.end();
});

t.test('c2 gives role, content, finish and end marker without a usage member when streamed plainly', (t) => {
  const { chunks, last } = streamed(lorem);
  t.equal(at(chunks[0], 'choices', 0, 'delta', 'role'), 'assistant');
  t.equal(at(chunks.at(-1), 'choices', 0, 'finish_reason'), 'stop');
  t.same(at(chunks.at(-1), 'choices', 0, 'delta'), {});
  t.ok(chunks.every((chunk) => !Object.hasOwn(chunk, 'usage')));
  t.equal(chunks.length, 62);
  t.equal(last, '[DONE]');
  t.end();
});

t.test('c4 gives usage once and null elsewhere when usage is asked for', (t) => {
  const { chunks } = streamed({ ...lorem, stream_options: { include_usage: true } });
  t.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
  t.equal(at(chunks.at(-1), 'usage', 'completion_tokens'), 60);
  t.end();
});

t.test('c23 finishes with length when the limit cuts the text', (t) => {
  const reply = parseObject(textOf(answer({ ...lorem, max_completion_tokens: 2 })));
  t.equal(at(reply, 'choices', 0, 'finish_reason'), 'length');
  t.equal(at(reply, 'usage', 'completion_tokens'), 2);
  t.end();
});

t.test('ends before a stop sequence', (t) => {
  const reply = parseObject(textOf(answer({ ...echo, stop: ['two', 'three'] })));
  t.equal(at(reply, 'choices', 0, 'message', 'content'), 'Say this, please: one ');
  t.equal(at(reply, 'choices', 0, 'finish_reason'), 'stop');
  t.end();
});

t.test('gives as many choices as asked for', (t) => {
  const reply = parseObject(textOf(answer({ ...lorem, n: 3 })));
  t.same(Array.isArray(reply.choices) && reply.choices.map((choice) => at(choice, 'index')), [0, 1, 2]);
  const { chunks } = streamed({ ...lorem, n: 2 });
  t.equal(chunks.filter((chunk) => at(chunk, 'choices', 0, 'finish_reason') === 'stop').length, 2);
  t.match(
    thrownBy(() => answer({ ...lorem, n: 0 })),
    { status: 400, param: 'n' },
  );
  t.end();
});

const weather = {
  type: 'function',
  function: {
    name: 'weather',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' }, days: { type: 'integer', minimum: 3 }, unit: { enum: ['C', 'F'] } },
      required: ['city'],
    },
  },
};

t.test('calls a tool with arguments from its schema when a call is required or named', (t) => {
  const other = { type: 'function', function: { name: 'other' } };
  const expected = { city: 'demo', days: 3, unit: 'C' };
  for (const [tools, choice] of [
    [[weather, other], 'required'],
    [[other, weather], { type: 'function', function: { name: 'weather' } }],
    [[other, weather], { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: [weather] } }],
  ] as const) {
    const body: JsonObject = { ...lorem, tools: [...tools], tool_choice: choice as unknown as JsonValue };
    const unary = at(parseObject(textOf(answer(body))), 'choices', 0);
    t.equal(at(unary, 'finish_reason'), 'tool_calls');
    t.equal(at(unary, 'message', 'content'), null);
    t.same(JSON.parse(textAt(unary, 'message', 'tool_calls', 0, 'function', 'arguments')), expected);
    const { chunks } = streamed(body);
    const calls = chunks.map((chunk) => at(chunk, 'choices', 0, 'delta', 'tool_calls', 0)).filter(isJsonObject);
    t.match(calls[0], { index: 0, id: /^call_/, type: 'function', function: { name: 'weather', arguments: '' } });
    t.same(JSON.parse(calls.map((call) => textAt(call, 'function', 'arguments')).join('')), expected);
  }
  const auto = parseObject(textOf(answer({ ...lorem, tools: [weather], tool_choice: 'auto' })));
  t.equal(at(auto, 'choices', 0, 'finish_reason'), 'stop');
  t.end();
});

t.test('answers with an instance of the schema when a format is asked for', (t) => {
  const schema = {
    type: 'object',
    $defs: { node: { type: 'object', properties: { next: { $ref: '#/$defs/node' } } } },
    properties: {
      when: { type: 'string', format: 'date' },
      list: { type: 'array', items: { type: 'number', exclusiveMinimum: 2 }, minItems: 2 },
      maybe: { anyOf: [{ type: 'null' }, { type: 'boolean' }] },
      both: { allOf: [{ properties: { a: { const: 1 } } }, { properties: { b: { type: ['null', 'string'] } } }] },
      node: { $ref: '#/$defs/node' },
      short: { type: 'string', maxLength: 2 },
    },
  };
  const format = { type: 'json_schema', json_schema: { name: 'x', schema } };
  const content = textAt(
    parseObject(textOf(answer({ ...lorem, response_format: format }))),
    'choices',
    0,
    'message',
    'content',
  );
  t.match(JSON.parse(content), {
    when: '2025-01-01',
    list: [2.5, 2.5],
    maybe: true,
    both: { a: 1, b: 'demo' },
    node: { next: {} },
    short: 'de',
  });
  const loose = parseObject(textOf(answer({ ...echo, response_format: { type: 'json_object' } })));
  t.same(JSON.parse(textAt(loose, 'choices', 0, 'message', 'content')), { text: question[0]?.content });
  t.end();
});

t.test('waits as it was told', (t) => {
  const delays = [...answer({ ...lorem, stream: true, demo: { tokens: 2, delay_ms: 5 } }).chunks].map((c) => c.afterMs);
  t.same(delays, [0, 5, 5, 0, 0]);
  t.same(
    [...answer(lorem).chunks].map((chunk) => chunk.afterMs),
    [20],
  );
  t.end();
});

t.test('plays the same script when its chunks are read twice', (t) => {
  const reply = answer({ ...lorem, stream: true });
  t.equal(textOf(reply), textOf(reply));
  t.end();
});

t.test('breaks off when it was told to', (t) => {
  const stream = answer({ ...lorem, stream: true, demo: { fail_after: 3 } });
  t.equal(stream.breaks, true);
  t.equal(sseEvents(textOf(stream)).length, 4);
  const unary = answer({ ...lorem, demo: { fail_after: 3 } });
  t.equal(unary.breaks, true);
  t.throws(() => parseObject(textOf(unary)));
  t.end();
});

t.test('fails at the rate and with the status that were asked for', (t) => {
  const statuses = (rate: number): number[] => {
    const context = replyContext();
    return Array.from(
      { length: 400 },
      () => answer({ ...lorem, demo: { error_rate: rate, error_status: 529 } }, context).status,
    );
  };
  t.ok(statuses(0).every((status) => status === 200));
  t.ok(statuses(1).every((status) => status === 529));
  const failed = statuses(0.25).filter((status) => status === 529).length;
  t.ok(failed > 60 && failed < 140, `${failed} of 400 failed`);
  t.end();
});

t.test('refuses settings that are out of bounds or unknown', (t) => {
  const target = { upstreamModel: 'lorem', model: null };
  for (const [settings, param] of [
    [{ delay_ms: -1 }, 'demo.delay_ms'],
    [{ tokens: 20_001 }, 'demo.tokens'],
    [{ error_rate: '1' }, 'demo.error_rate'],
    [{ error_status: 200 }, 'demo.error_status'],
    [{ fail_after: 1.5 }, 'demo.fail_after'],
    [{ speed: 1 }, 'demo.speed'],
    ['fast', 'demo'],
  ] as const) {
    t.match(
      thrownBy(() => demo.endpoints.chat?.request({ ...lorem, demo: settings }, target)),
      { status: 400, param },
    );
  }
  t.end();
});

t.test('answers 404 for a model or a path that it does not have', (t) => {
  t.match(answer({ ...lorem, model: 'demo/opus' }), { status: 404 });
  t.match(demo.answer?.({ path: '/embeddings', body: lorem, context: replyContext() }), { status: 404 });
  t.end();
});
