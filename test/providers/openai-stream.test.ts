import t from 'tap';
import { createDeclaredProvider, registry } from '../../providers/index.ts';
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';
import type { ReplyContext, SseEvent, StreamTranslator } from '../../src/contract/provider.ts';
import { chunksOf, objects, streamFaults, sumChoices, type ChoiceSum } from '../support/chat-stream.ts';
import { at } from '../support/json-at.ts';
import { replyContext } from '../support/reply-context.ts';

const provider = createDeclaredProvider({ id: 'local', dialect: 'openai-compat', baseUrl: 'http://127.0.0.1/v1' });
const done: SseEvent = { event: '', data: '[DONE]' };

const event = (body: JsonValue, name = ''): SseEvent => ({ event: name, data: JSON.stringify(body) });

function chunk(delta: JsonObject, finish: string | null | undefined = null, more: JsonObject = {}): SseEvent {
  const choice: JsonObject = finish === undefined ? { index: 0, delta } : { index: 0, delta, finish_reason: finish };
  return event({ id: 'up-1', object: 'chat.completion.chunk', created: 9, model: 'up', choices: [choice], ...more });
}

const tool = (index: number | undefined, call: JsonObject): JsonObject => ({
  tool_calls: [index === undefined ? call : { index, ...call }],
});

function translator(context: Partial<ReplyContext> = {}): StreamTranslator {
  const made = provider.endpoints.chat?.stream?.(replyContext(context));
  if (made === undefined) throw new Error('a declared endpoint normalises');
  return made;
}

type Outcome = { events: SseEvent[]; chunks: JsonObject[]; first: ChoiceSum; made: StreamTranslator };

function run(events: readonly SseEvent[], context: Partial<ReplyContext> = {}): Outcome {
  const made = translator(context);
  const out = events.flatMap((each) => made.push(each));
  out.push(...made.end());
  const chunks = chunksOf(out);
  const first = sumChoices(chunks).get(0) ?? { text: '', reasoning: '', calls: [], finish: null };
  return { events: out, chunks, first, made };
}

const usage = { prompt_tokens: 7, completion_tokens: 2, total_tokens: 9 };

t.test('c5 keeps the figures to itself when usage was not asked for', (t) => {
  const events = [chunk({ content: 'a' }), chunk({}, 'stop'), event({ choices: [], usage }), done];
  const { events: out, made } = run(events);
  t.same(streamFaults(out, false), []);
  t.match(made.usage(), { promptTokens: 7, completionTokens: 2 });
  t.end();
});

t.test('c4 gives one usage chunk before the end marker when usage was asked for', (t) => {
  const { events, chunks } = run([chunk({ content: 'a' }, 'stop', { usage }), done], { includeUsage: true });
  t.same(streamFaults(events, true), []);
  t.match(chunks.at(-1), { choices: [], usage: { ...usage, prompt_tokens_details: { cached_tokens: 0 } } });
  t.end();
});

t.test('gives no usage chunk when the upstream gave no figures', (t) => {
  const { chunks } = run([chunk({ content: 'a' }, 'stop'), done], { includeUsage: true });
  t.ok(chunks.every((each) => each.usage === null));
  t.end();
});

t.test('says the role once when the upstream repeats it, leaves it out or makes it null', (t) => {
  for (const deltas of [
    [
      { role: 'assistant', content: 'a' },
      { role: 'assistant', content: 'b' },
    ],
    [{ content: 'a' }, { content: 'b' }],
    [
      { role: null, content: 'a' },
      { role: null, content: 'b' },
    ],
  ]) {
    const { events, first } = run([...deltas.map((delta) => chunk(delta)), chunk({}, 'stop'), done]);
    t.same(streamFaults(events, false), []);
    t.equal(first.text, 'ab');
  }
  t.end();
});

t.test('says the role before the finish when the answer is empty', (t) => {
  const { events, chunks } = run([chunk({}, 'stop'), done]);
  t.same(streamFaults(events, false), []);
  t.equal(chunks.length, 2);
  t.end();
});

t.test('c14 numbers parallel calls from 0 when the upstream counts otherwise', (t) => {
  const call = (id: string, name: string): JsonObject => ({
    id,
    type: 'function',
    function: { name, arguments: '{"a":1}' },
  });
  for (const deltas of [
    [tool(1, call('x', 'one')), tool(2, call('y', 'two'))],
    [tool(undefined, call('x', 'one')), tool(undefined, call('y', 'two'))],
    [tool(0, call('x', 'one')), tool(0, call('y', 'two'))],
    [tool(undefined, call('', 'one')), tool(undefined, call('', 'two'))],
    [{ tool_calls: [call('x', 'one'), call('y', 'two')] }],
  ]) {
    const { events, first } = run([...deltas.map((delta) => chunk(delta)), chunk({}, 'tool_calls'), done]);
    t.same(streamFaults(events, false), []);
    t.match(first.calls, [
      { name: 'one', arguments: '{"a":1}' },
      { name: 'two', arguments: '{"a":1}' },
    ]);
  }
  t.end();
});

t.test('keeps interleaved arguments apart', (t) => {
  const { first } = run([
    chunk(tool(0, { id: 'x', function: { name: 'one', arguments: '' } })),
    chunk(tool(1, { id: 'y', function: { name: 'two', arguments: '' } })),
    chunk(tool(0, { function: { arguments: '{"a":' } })),
    chunk(tool(1, { function: { arguments: '{"b":' } })),
    chunk(tool(0, { function: { arguments: '1}' } })),
    chunk(tool(1, { function: { arguments: '2}' } }), 'tool_calls'),
    done,
  ]);
  t.match(first.calls, [{ arguments: '{"a":1}' }, { arguments: '{"b":2}' }]);
  t.end();
});

t.test('c67 says id, type and name once when the upstream repeats them, empty or null', (t) => {
  const { events, first } = run([
    chunk(tool(0, { id: 'x', type: 'function', function: { name: 'one', arguments: '' } })),
    chunk(tool(0, { id: '', type: null, function: { name: '', arguments: '{"a"' } })),
    chunk(tool(0, { id: 'x', type: 'function', function: { name: 'one', arguments: ':1}' } })),
    chunk({}, 'tool_calls'),
    done,
  ]);
  t.same(streamFaults(events, false), []);
  t.same(first.calls, [{ id: 'x', name: 'one', arguments: '{"a":1}' }]);
  t.end();
});

t.test('c68 holds arguments until the name is known', (t) => {
  const made = translator();
  t.equal(chunksOf(made.push(chunk(tool(0, { id: 'x', function: { arguments: '{"a"' } })))).length, 1);
  const named = chunksOf(made.push(chunk(tool(0, { function: { name: 'one', arguments: ':1}' } }))));
  t.match(at(named[0], 'choices', 0, 'delta', 'tool_calls', 0), {
    id: 'x',
    function: { name: 'one', arguments: '{"a":1}' },
  });
  t.end();
});

t.test('gives an empty object for arguments that are missing, empty or null', (t) => {
  for (const parts of [[], [''], ['null'], ['nu', 'll'], [' ']]) {
    const deltas = parts.map((part) => chunk(tool(0, { function: { arguments: part } })));
    const { first } = run([
      chunk(tool(0, { id: 'x', function: { name: 'one' } })),
      ...deltas,
      chunk({}, 'tool_calls'),
      done,
    ]);
    t.equal(first.calls[0]?.arguments, '{}', JSON.stringify(parts));
  }
  const { first } = run([
    chunk(tool(0, { id: 'x', function: { name: 'one', arguments: { a: 1 } } }), 'tool_calls'),
    done,
  ]);
  t.equal(first.calls[0]?.arguments, '{"a":1}', 'parsed arguments are written out');
  t.end();
});

t.test('c123 gives ids of its own when the upstream gives none or counts anew in each turn', (t) => {
  for (const id of ['', 'call_0']) {
    const { first } = run([chunk(tool(0, { id, function: { name: 'one', arguments: '{}' } }), 'tool_calls'), done]);
    t.match(first.calls[0]?.id, /^call_\d{24}$/);
  }
  t.end();
});

t.test('c23 maps the words for the end', (t) => {
  const words: Record<string, string> = {
    eos: 'stop',
    COMPLETE: 'stop',
    something_new: 'stop',
    model_length: 'length',
    MAX_TOKENS: 'length',
    tool_use: 'tool_calls',
    SAFETY: 'content_filter',
    IMAGE_SAFETY: 'content_filter',
  };
  for (const [word, expected] of Object.entries(words)) {
    t.equal(run([chunk({ content: 'a' }, word), done]).first.finish, expected, word);
  }
  t.end();
});

t.test('c126 fills the finish when the stream ended properly without one', (t) => {
  t.equal(run([chunk({ content: 'a' }, undefined), done]).first.finish, 'stop');
  t.equal(run([chunk({ content: 'a' }, ''), done]).first.finish, 'stop');
  const called = chunk(tool(0, { id: 'x', function: { name: 'one', arguments: '' } }), '');
  const { first, events } = run([called, done]);
  t.equal(first.finish, 'tool_calls');
  t.same(streamFaults(events, false), []);
  t.end();
});

t.test('c27 gives no end when the stream stopped before its finish', (t) => {
  const { events, made } = run([chunk({ content: 'a' })]);
  t.equal(made.isComplete, false);
  t.equal(events.length, 1);
  t.end();
});

t.test('is complete after the finish of every choice, without the end marker', (t) => {
  const choices = (index: number, finish: string | null): SseEvent =>
    event({ id: 'u', choices: [{ index, delta: { content: 'a' }, finish_reason: finish }] });
  const made = translator();
  const out = [choices(0, null), choices(1, null), choices(0, 'stop')].flatMap((each) => made.push(each));
  t.equal(made.isComplete, false, 'the second choice is open');
  out.push(...made.push(choices(1, 'length')), ...made.end());
  t.equal(made.isComplete, true);
  t.equal(made.isEnded, false);
  t.same(streamFaults(out, false), []);
  t.equal(out.at(-1)?.data, '[DONE]');
  t.same(made.end(), [], 'the tail is given once');
  t.end();
});

t.test('fails when the end marker is all that came', (t) => {
  const { events, made } = run([done]);
  t.same(events, []);
  t.match(made.failure, { status: 502, code: 'upstream_error' });
  t.end();
});

t.test('ignores what follows the end marker, but for its figures', (t) => {
  const made = translator();
  made.push(chunk({ content: 'a' }, 'stop'));
  made.push(done);
  t.equal(made.isEnded, true);
  t.same(made.push(chunk({ content: 'b' }, 'stop', { usage })), []);
  t.match(made.usage(), { promptTokens: 7 });
  t.end();
});

t.test('c63 gives one finish when a second one comes with the figures', (t) => {
  const tail = chunk({ role: 'assistant', content: '' }, 'stop', { usage });
  const { events, first } = run([chunk({ content: 'a' }), chunk({}, 'stop'), tail, done], { includeUsage: true });
  t.same(streamFaults(events, true), []);
  t.equal(first.text, 'a');
  t.end();
});

t.test('gives content that rides on the finish chunk before the finish', (t) => {
  const { events, first } = run([chunk({ content: 'all' }, 'stop'), done]);
  t.same(streamFaults(events, false), []);
  t.equal(first.text, 'all');
  t.end();
});

t.test('c41 c42 gives reasoning one name and never mixes it into the content', (t) => {
  for (const name of ['reasoning', 'reasoning_content']) {
    const { first, chunks } = run([
      chunk({ [name]: 'think', content: null }),
      chunk({ [name]: null, content: 'say' }, 'stop'),
      done,
    ]);
    t.equal(first.reasoning, 'think');
    t.equal(first.text, 'say');
    t.notOk(JSON.stringify(chunks).includes('"reasoning":'));
  }
  t.end();
});

t.test('c43 leaves inline thinking in the content', (t) => {
  t.equal(run([chunk({ content: '<think>x</think>y' }, 'stop'), done]).first.text, '<think>x</think>y');
  t.end();
});

t.test('c44 splits content that comes as an array of blocks', (t) => {
  const thinking = { type: 'thinking', thinking: [{ type: 'text', text: 'hm' }] };
  const { first } = run([
    chunk({ content: [thinking] }),
    chunk({ content: [{ type: 'text', text: 'so' }] }, 'stop'),
    done,
  ]);
  t.equal(first.reasoning, 'hm');
  t.equal(first.text, 'so');
  t.end();
});

t.test('drops invented empties and noise, keeps what it does not know', (t) => {
  const delta = {
    content: 'a',
    refusal: '',
    function_call: { name: '', arguments: '' },
    audio: { id: '', data: '' },
    tool_calls: null,
    token_id: 5,
  };
  const { chunks } = run([
    chunk(delta, null, { sla_metrics: {}, obfuscation: 'x', weather: 'fine' }),
    chunk({ mood: 'good' }, 'stop'),
    done,
  ]);
  t.same(at(chunks[0], 'choices', 0, 'delta'), { role: 'assistant', content: 'a' });
  t.match(chunks[0], { weather: 'fine', obfuscation: undefined, sla_metrics: undefined });
  t.equal(at(chunks[1], 'choices', 0, 'delta', 'mood'), 'good');
  t.end();
});

t.test('c65 drops a first chunk without choices and takes its members along', (t) => {
  const opening = event({ id: '', object: '', created: 0, model: '', choices: [], prompt_filter_results: [1] });
  const { events, chunks } = run([opening, chunk({ content: 'a' }, 'stop'), done]);
  t.same(streamFaults(events, false), []);
  t.match(chunks[0], { id: 'up-1', created: 1_750_000_000, model: 'public-model', prompt_filter_results: [1] });
  t.end();
});

t.test('c100 keeps the figures when another chunk without choices follows them', (t) => {
  const moderation = event({ choices: [], moderation: { flagged: false }, usage: null });
  const { made, events } = run([chunk({ content: 'a' }, 'stop'), event({ choices: [], usage }), moderation, done], {
    includeUsage: true,
  });
  t.match(made.usage(), { promptTokens: 7 });
  t.same(streamFaults(events, true), []);
  t.end();
});

t.test('c120 c122 takes the last figures, wherever they stand', (t) => {
  const hidden = run([chunk({ content: 'a' }), chunk({}, 'stop', { x_groq: { id: 'r', usage } }), done], {
    includeUsage: true,
  });
  t.match(hidden.made.usage(), { promptTokens: 7, completionTokens: 2 });
  t.match(hidden.chunks.at(-2), { x_groq: { id: 'r', usage: undefined } });
  const growing = [1, 2, 3].map((completion) =>
    chunk({ content: 'a' }, null, {
      usage: { ...usage, completion_tokens: completion, total_tokens: 7 + completion },
      object: 'chat.completion.done',
    }),
  );
  const each = run([...growing, chunk({}, 'stop'), done], { includeUsage: true });
  t.match(each.made.usage(), { completionTokens: 3 });
  t.same(streamFaults(each.events, true), []);
  t.end();
});

t.test('keeps its id when the upstream has none or changes it', (t) => {
  const rotating = ['a', 'b'].map((id) => event({ id, choices: [{ index: 0, delta: { content: id } }] }));
  t.same(new Set(run([...rotating, done]).chunks.map((each) => each.id)), new Set(['a']));
  const nameless = event({ id: '', choices: [{ index: 0, delta: { content: 'a' } }] });
  t.match(run([nameless, done]).chunks[0]?.id, /^chatcmpl-\d{24}$/);
  t.end();
});

t.test('c24 stops at an error in the middle of a stream', (t) => {
  const { events, made } = run([
    chunk({ content: 'Hel' }),
    event({ error: { message: 'Overloaded', type: 'overloaded_error' } }),
    chunk({ content: 'lo' }, 'stop'),
    done,
  ]);
  t.match(made.failure, { status: 503, code: 'overloaded' });
  t.equal(events.length, 1);
  t.equal(made.isComplete, false);
  t.equal(made.outputCharacters, 3);
  t.end();
});

t.test('c64 sees an error on a chunk with choices after a finish', (t) => {
  const { events, made } = run([
    chunk({ content: 'a' }, 'length'),
    chunk({ content: '' }, null, { error: { code: 502, message: 'x' }, usage }),
    done,
  ]);
  t.match(made.failure, { status: 502 });
  t.not(events.at(-1)?.data, '[DONE]');
  t.match(made.usage(), { promptTokens: 7 });
  t.end();
});

t.test('c70 sees an error that is an event of its own', (t) => {
  const error = {
    message: 'bad call',
    type: 'invalid_request_error',
    code: 'tool_use_failed',
    failed_generation: '{',
    status_code: 400,
  };
  const { made } = run([chunk({ content: '' }), event({ error }, 'error')]);
  t.match(made.failure, { status: 400, code: 'tool_use_failed', extra: { failed_generation: '{' } });
  t.match(run([event({ message: 'gone' }, 'error')]).made.failure, { status: 502 });
  t.end();
});

t.test('fails when the finish says that the answer broke off', (t) => {
  for (const word of ['error', 'insufficient_system_resource']) {
    t.match(run([chunk({ content: 'a' }), chunk({}, word), done]).made.failure, { status: 502 }, word);
  }
  t.not(run([chunk({}, 'MALFORMED_FUNCTION_CALL'), done]).made.failure, null);
  t.equal(run([chunk({ content: 'a' }), chunk({}, 'MALFORMED_FUNCTION_CALL'), done]).first.finish, 'stop');
  t.end();
});

t.test('fails on what is not JSON, without repeating it', (t) => {
  for (const data of ['<html>internal.example</html>', '{"choices":[{"del']) {
    const { made } = run([{ event: '', data }]);
    t.match(made.failure, { status: 502 });
    t.notMatch(made.failure?.message, /internal|choices/);
  }
  t.match(run([event([{ error: { code: 429, message: 'slow' } }])]).made.failure, { status: 429 });
  t.equal(
    run([{ event: '', data: 'ping' }, chunk({ content: 'a' }, 'stop'), done]).made.failure,
    null,
    'a bare word is a ping',
  );
  t.end();
});

t.test('c78 keeps two choices apart', (t) => {
  const both = (a: string, b: string, finish: string | null): SseEvent =>
    event({ id: 'u', choices: [a, b].map((content, index) => ({ index, delta: { content }, finish_reason: finish })) });
  const { events, chunks } = run([both('a', 'b', null), both('c', 'd', 'stop'), done]);
  t.same(streamFaults(events, false), []);
  t.same(
    [...sumChoices(chunks).values()].map((sum) => sum.text),
    ['ac', 'bd'],
  );
  t.end();
});

t.test('c108 answers with a function call when the caller asked in the old form', (t) => {
  const request = { functions: [{ name: 'one' }] };
  const events = [
    chunk(tool(0, { id: 'x', function: { name: 'one', arguments: '' } })),
    chunk(tool(0, { function: { arguments: '{}' } })),
    chunk({}, 'tool_calls'),
    done,
  ];
  const { chunks } = run(events, { request });
  const calls = chunks.map((each) => at(each, 'choices', 0, 'delta', 'function_call'));
  t.same(calls.slice(0, 2), [{ name: 'one', arguments: '' }, { arguments: '{}' }]);
  t.equal(at(chunks.at(-1), 'choices', 0, 'finish_reason'), 'function_call');
  t.notOk(chunks.some((each) => objects(at(each, 'choices', 0, 'delta', 'tool_calls')).length > 0));
  t.end();
});

t.test('counts the characters that went out', (t) => {
  const { made } = run([
    chunk({ reasoning: 'abc' }),
    chunk({ content: 'de' }),
    chunk(tool(0, { id: 'x', function: { name: 'f', arguments: '{"a":1}' } }), 'tool_calls'),
    done,
  ]);
  t.equal(made.outputCharacters, 3 + 2 + 1 + 7);
  t.end();
});

t.test('c113 passes an event of a megabyte', (t) => {
  const content = 'x'.repeat(1_000_000);
  t.equal(run([chunk({ content }, 'stop'), done]).first.text, content);
  t.end();
});

t.test('c1 c2 passes OpenAI itself through', (t) => {
  const { chat } = registry.openai.endpoints;
  t.notOk(chat !== undefined && 'stream' in chat);
  t.same(chat?.response({ choices: [], usage }, replyContext()).body, null);
  t.end();
});

t.test('c62 swallows blank events and chunks that say nothing', (t) => {
  const made = translator();
  t.same(made.push({ event: '', data: '' }), []);
  t.same(made.push(event({ type: 'ping' })), []);
  t.equal(made.isComplete, false, 'nothing has come yet');
  made.push(chunk({ content: 'a' }));
  t.same(made.push(chunk({ role: 'assistant', content: '', reasoning: null, tool_calls: [] })), []);
  t.same(made.push(chunk({ content: '' }, null, { logprobs: null })), []);
  t.equal(made.failure, null);
  t.end();
});

t.test('takes carried members along once', (t) => {
  const { chunks } = run([
    event({ choices: [], note: 1 }),
    chunk({ content: 'a' }),
    chunk({ content: 'b' }, 'stop'),
    done,
  ]);
  t.same(
    chunks.map((each) => each.note),
    [1, undefined, undefined],
  );
  t.end();
});

t.test('takes the id that comes before the name', (t) => {
  const { first } = run([
    chunk(tool(0, { function: { arguments: '{}' } })),
    chunk(tool(0, { id: 'x', function: { arguments: '' } })),
    chunk(tool(0, { function: { name: 'one' } }), 'tool_calls'),
    done,
  ]);
  t.same(first.calls, [{ id: 'x', name: 'one', arguments: '{}' }]);
  t.end();
});

t.test('shows only the first of parallel calls in the old form', (t) => {
  const both = {
    tool_calls: ['one', 'two'].map((name, index) => ({ index, id: name, function: { name, arguments: '{}' } })),
  };
  const later = chunk(tool(1, { function: { arguments: ' ' } }));
  const { chunks } = run([chunk(both), later, chunk({}, 'tool_calls'), done], {
    request: { functions: [{ name: 'one' }] },
  });
  const calls = chunks.map((each) => at(each, 'choices', 0, 'delta', 'function_call')).filter(Boolean);
  t.same(calls, [{ name: 'one', arguments: '{}' }]);
  t.end();
});
