/** Streams of the Messages API, event by event, where the recordings are silent. Spec: fidelity 2.3 to 2.5, 4.6, 11. */
import t from 'tap';
import { anthropic } from '../../providers/anthropic.ts';
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';
import type { ChatEndpoint, ReplyContext, SseEvent, StreamTranslator } from '../../src/contract/provider.ts';
import { chunksOf, objects, streamFaults, sumChoices } from '../support/chat-stream.ts';
import { at, textAt } from '../support/json-at.ts';
import { replyContext } from '../support/reply-context.ts';

const chat = anthropic.endpoints.chat as ChatEndpoint & Required<Pick<ChatEndpoint, 'stream'>>;

const start = (more: JsonObject = {}): JsonObject => ({
  type: 'message_start',
  message: {
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    content: [],
    usage: { input_tokens: 25, output_tokens: 1 },
    ...more,
  },
});
const open = (index: number, block: JsonObject): JsonObject => ({
  type: 'content_block_start',
  index,
  content_block: block,
});
const add = (index: number, delta: JsonObject): JsonObject => ({ type: 'content_block_delta', index, delta });
const say = (index: number, text: string): JsonObject => add(index, { type: 'text_delta', text });
const json = (index: number, partial: string): JsonObject =>
  add(index, { type: 'input_json_delta', partial_json: partial });
const close = (index: number): JsonObject => ({ type: 'content_block_stop', index });
const stop = (reason: string, usage: JsonObject = { output_tokens: 9 }, more: JsonObject = {}): JsonObject => ({
  type: 'message_delta',
  delta: { stop_reason: reason, ...more },
  usage,
});
const end: JsonObject = { type: 'message_stop' };
const textBlock = { type: 'text', text: '' };
const tool = (id: string, input: JsonObject = {}): JsonObject => ({ type: 'tool_use', id, name: 'f', input });

const sse = (body: JsonObject): SseEvent => ({
  event: typeof body.type === 'string' ? body.type : '',
  data: JSON.stringify(body),
});

function run(
  events: readonly JsonObject[],
  context: Partial<ReplyContext> = {},
): { translator: StreamTranslator; out: SseEvent[] } {
  const translator = chat.stream(replyContext(context));
  const out = events.flatMap((event) => translator.push(sse(event)));
  out.push(...translator.end());
  return { translator, out };
}

function said(events: readonly JsonObject[]): { text: string; calls: object[]; finish: string | null } {
  const { out } = run(events);
  const faults = streamFaults(out, false);
  const { text, calls, finish } = sumChoices(chunksOf(out)).get(0) ?? { text: '', calls: [], finish: null };
  if (faults.length > 0) throw new Error(faults.join('; '));
  return { text, calls, finish };
}

t.test('c14 numbers parallel calls by the calls, not by the blocks', (t) => {
  const answer = said([
    start(),
    open(0, textBlock),
    say(0, 'Two.'),
    close(0),
    open(1, tool('a')),
    json(1, '{"x":'),
    open(2, tool('b')),
    json(2, '{"y":2}'),
    json(1, '1}'),
    close(2),
    close(1),
    stop('tool_use'),
    end,
  ]);
  t.same(answer.calls, [
    { id: 'a', name: 'f', arguments: '{"x":1}' },
    { id: 'b', name: 'f', arguments: '{"y":2}' },
  ]);
  t.equal(answer.finish, 'tool_calls');
  t.end();
});

t.test('c13 gives an empty object for a call without arguments, and the input that came at once', (t) => {
  const calls = (block: JsonObject, ...deltas: JsonObject[]): object[] =>
    said([start(), open(0, block), ...deltas, close(0), stop('tool_use'), end]).calls;
  t.match(calls(tool('a')), [{ arguments: '{}' }]);
  t.match(calls(tool('a'), json(0, '')), [{ arguments: '{}' }]);
  t.match(calls(tool('a', { x: 1 })), [{ arguments: '{"x":1}' }]);
  t.match(calls(tool('a', { x: 1 }), json(0, '{"x":2}')), [{ arguments: '{"x":2}' }], 'what is streamed counts');
  t.match(
    calls({ type: 'tool_use', name: 'f', input: {} }),
    [{ id: /^call_\d{24}$/ }],
    'an id of ours where there is none',
  );
  t.match(said([start(), open(0, tool('a')), stop('tool_use'), end]).calls, [{ arguments: '{}' }], 'never closed');
  t.end();
});

t.test('c101 ignores the same start again, and breaks off at another answer', (t) => {
  const same = said([start(), open(0, textBlock), say(0, 'a'), start(), say(0, 'b'), close(0), stop('end_turn'), end]);
  t.same(same, { text: 'ab', calls: [], finish: 'stop' });
  const { translator, out } = run([
    start(),
    open(0, textBlock),
    say(0, 'a'),
    start({ id: 'msg_2' }),
    say(0, 'b'),
    stop('end_turn'),
    end,
  ]);
  t.match(translator.failure, { status: 502, code: 'upstream_error' });
  t.not(out.at(-1)?.data, '[DONE]');
  t.end();
});

t.test('takes what a start already holds', (t) => {
  const { out, translator } = run([
    start({ content: [{ type: 'text', text: 'So: ' }, tool('a', { x: 1 })], stop_reason: 'tool_use' }),
    open(0, tool('b')),
    close(0),
    end,
  ]);
  const sum = sumChoices(chunksOf(out)).get(0);
  t.match(sum, {
    text: 'So: ',
    finish: 'tool_calls',
    calls: [
      { id: 'a', arguments: '{"x":1}' },
      { id: 'b', arguments: '{}' },
    ],
  });
  t.equal(translator.usage()?.promptTokens, 25);
  t.end();
});

t.test('c102 never shows the tool of a server, and cites the pages it found', (t) => {
  const citation = {
    type: 'web_search_result_location',
    url: 'https://example.com',
    title: null,
    cited_text: 'x',
    encrypted_index: 'y',
  };
  const page = { type: 'page_location', document_index: 0, start_page_number: 1 };
  const { out } = run([
    start(),
    open(0, { type: 'server_tool_use', id: 's', name: 'web_search', input: {} }),
    json(0, '{"query":"x"}'),
    close(0),
    open(1, { type: 'web_search_tool_result', tool_use_id: 's', content: [] }),
    close(1),
    open(2, textBlock),
    say(2, 'Hei '),
    close(2),
    open(3, { ...textBlock, citations: [] }),
    add(3, { type: 'citations_delta', citation }),
    add(3, { type: 'citations_delta', citation: page }),
    say(3, 'verden'),
    close(3),
    stop('end_turn'),
    end,
  ]);
  t.same(streamFaults(out, false), []);
  const deltas = chunksOf(out).map((chunk) => at(chunk, 'choices', 0, 'delta'));
  t.notOk(deltas.some((delta) => at(delta, 'tool_calls') !== undefined));
  t.same(
    deltas.flatMap((delta) => objects(at(delta, 'annotations'))),
    [{ type: 'url_citation', url_citation: { url: 'https://example.com', title: '', start_index: 4, end_index: 10 } }],
  );
  t.same(
    deltas.flatMap((delta) => objects(at(delta, 'citations'))),
    [{ ...page, start_index: 4, end_index: 10 }],
  );
  t.end();
});

t.test('c103 ends a turn that the provider paused', (t) => {
  t.equal(said([start(), open(0, textBlock), say(0, 'a'), close(0), stop('pause_turn'), end]).finish, 'stop');
  t.end();
});

t.test('c104 passes over blocks and events that it does not know', (t) => {
  const answer = said([
    start(),
    open(0, { type: 'compaction', content: '' }),
    add(0, { type: 'compaction_delta', content: 'x' }),
    close(0),
    open(1, { type: 'fallback', from: {}, to: {} }),
    add(1, { type: 'text_delta', text: 'not text' }),
    close(1),
    open(2, { type: 'mcp_tool_use', id: 'm', name: 'f', input: {} }),
    json(2, '{"a":1}'),
    close(2),
    { type: 'message_news' },
    { type: 'ping' },
    open(3, textBlock),
    add(3, { type: 'sparkle_delta', text: 'x' }),
    say(3, 'ok'),
    close(3),
    stop('end_turn'),
    end,
  ]);
  t.same(answer, { text: 'ok', calls: [], finish: 'stop' });
  t.end();
});

t.test('c55 tells a refusal, with a reason where there is one', (t) => {
  const refused = (more: JsonObject, ...before: JsonObject[]): JsonValue[] => {
    const { out } = run([start(), ...before, stop('refusal', {}, more), end]);
    const deltas = chunksOf(out).map((chunk) => at(chunk, 'choices', 0, 'delta'));
    return [
      deltas.map((delta) => textAt(delta, 'content')).join(''),
      deltas.map((delta) => textAt(delta, 'refusal')).join(''),
      sumChoices(chunksOf(out)).get(0)?.finish ?? null,
    ];
  };
  t.same(refused({ stop_details: { type: 'refusal', explanation: 'Blocked.' } }), ['', 'Blocked.', 'content_filter']);
  t.same(
    refused({ stop_details: { type: 'refusal', explanation: null } }, open(0, textBlock), say(0, 'Hi'), close(0)),
    ['Hi', 'The model declined to answer this request.', 'content_filter'],
  );
  const body = {
    content: [],
    stop_reason: 'refusal',
    stop_details: null,
    usage: { input_tokens: 1, output_tokens: 1 },
  };
  t.match(at(chat.response(body, replyContext()).body, 'choices', 0), {
    message: { content: null, refusal: /declined/ },
    finish_reason: 'content_filter',
  });
  t.end();
});

t.test('c23 says that the answer was cut', (t) => {
  t.equal(said([start(), open(0, textBlock), say(0, 'a'), stop('max_tokens'), end]).finish, 'length');
  t.equal(said([start(), stop('model_context_window_exceeded'), end]).finish, 'length');
  t.end();
});

t.test('c24 stops at an error in the middle, without an end', (t) => {
  const error = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
  const { out, translator } = run([start(), open(0, textBlock), say(0, 'Hello'), error, stop('end_turn'), end]);
  t.match(translator.failure, { status: 503, code: 'overloaded' });
  t.equal(translator.isComplete, false);
  t.equal(sumChoices(chunksOf(out)).get(0)?.finish, null);
  t.not(out.at(-1)?.data, '[DONE]');
  const words = {
    rate_limit_error: 429,
    api_error: 502,
    authentication_error: 502,
    invalid_request_error: 400,
    timeout_error: 504,
  };
  for (const [type, status] of Object.entries(words)) {
    t.equal(run([{ type: 'error', error: { type, message: 'x' } }]).translator.failure?.status, status, type);
  }
  for (const data of ['<html>', '{"type":"mess', '[]']) {
    const other = chat.stream(replyContext());
    t.same(other.push({ event: '', data }), []);
    t.equal(other.failure?.status, 502, data);
    t.notMatch(other.failure?.message, /html|mess/);
  }
  t.end();
});

t.test('c27 gives no end that did not come, and one that did even without its marker', (t) => {
  t.equal(run([start(), open(0, textBlock), say(0, 'a')]).translator.isComplete, false);
  const unmarked = run([start(), open(0, textBlock), say(0, 'a'), stop('end_turn')]);
  t.equal(unmarked.out.at(-1)?.data, '[DONE]');
  t.equal(unmarked.translator.isEnded, false);
  const silent = run([start(), open(0, textBlock), say(0, 'a'), close(0), end]);
  t.equal(sumChoices(chunksOf(silent.out)).get(0)?.finish, 'stop', 'a marker without a reason is an end');
  t.equal(run([end]).translator.failure?.status, 502, 'an end before any beginning is none');
  t.same(run([]).out, []);
  t.same(run([stop('end_turn')]).out, [], 'nor is a reason to stop before any beginning');
  t.same(unmarked.translator.end(), [], 'the tail is given once');
  t.end();
});

t.test('begins with the role even where the start is missing', (t) => {
  t.same(said([say(0, 'a'), stop('end_turn'), end]), { text: 'a', calls: [], finish: 'stop' });
  t.end();
});

t.test('answers legacy functions in their own form', (t) => {
  const request = { model: 'm', messages: [], functions: [{ name: 'f' }] };
  const events = [start(), open(0, tool('a')), json(0, '{"x":1}'), close(0), stop('tool_use'), end];
  const deltas = chunksOf(run(events, { request }).out).map((chunk) => at(chunk, 'choices', 0));
  t.same(
    deltas.map((choice) => at(choice, 'delta', 'function_call')).filter((call) => call !== undefined),
    [{ name: 'f', arguments: '' }, { arguments: '{"x":1}' }],
  );
  t.equal(at(deltas.at(-1), 'finish_reason'), 'function_call');
  const body = { content: [tool('a', { x: 1 })], stop_reason: 'tool_use', usage: {} };
  t.match(at(chat.response(body, replyContext({ request })).body, 'choices', 0), {
    message: { content: null, function_call: { name: 'f', arguments: '{"x":1}' }, tool_calls: undefined },
    finish_reason: 'function_call',
  });
  t.end();
});

t.test('c54 counts up, and keeps what a later event leaves out', (t) => {
  const usage = {
    input_tokens: 408,
    cache_read_input_tokens: 3,
    cache_creation_input_tokens: 2,
    cache_creation: { ephemeral_1h_input_tokens: 2 },
    output_tokens: 1,
    service_tier: 'priority',
  };
  const { translator, out } = run(
    [
      start({ usage }),
      stop('end_turn', { input_tokens: 412, cache_read_input_tokens: null, output_tokens: 5 }),
      stop('end_turn', { output_tokens: 7 }),
      end,
    ],
    { includeUsage: true },
  );
  t.same(translator.usage(), {
    promptTokens: 417,
    cachedTokens: 3,
    cacheWriteTokens: 2,
    longCacheWriteTokens: 2,
    completionTokens: 7,
    reasoningTokens: 0,
  });
  t.equal(at(chunksOf(out)[0], 'service_tier'), 'priority');
  t.match(at(chunksOf(out).at(-1), 'usage'), { prompt_tokens: 417, completion_tokens: 7, total_tokens: 424 });
  t.end();
});

t.test('believes the figure of the end, however much was said', (t) => {
  const events = [
    start(),
    open(0, textBlock),
    say(0, 'x'.repeat(400)),
    close(0),
    stop('end_turn', { output_tokens: 3 }),
    end,
  ];
  t.equal(run(events).translator.usage()?.completionTokens, 3);
  t.end();
});

t.test('keeps the reason to stop when a later event has none', (t) => {
  const later = { type: 'message_delta', delta: { stop_reason: null }, usage: { output_tokens: 9 } };
  t.equal(said([start(), open(0, textBlock), say(0, 'a'), stop('max_tokens'), later, end]).finish, 'length');
  t.end();
});

t.test('takes a member `error` that is null for none', (t) => {
  t.equal(said([{ ...start(), error: null }, open(0, textBlock), say(0, 'a'), stop('end_turn'), end]).text, 'a');
  t.end();
});

t.test('shows thoughts without a signature as text alone', (t) => {
  const thinking = (signature: JsonObject): JsonObject => ({ type: 'thinking', thinking: 'hm', ...signature });
  const { out } = run([start(), open(0, thinking({ signature: '' })), close(0), stop('end_turn'), end]);
  const deltas = chunksOf(out).map((chunk) => at(chunk, 'choices', 0, 'delta'));
  t.ok(deltas.some((delta) => at(delta, 'reasoning_content') === 'hm'));
  t.notOk(deltas.some((delta) => at(delta, 'thinking_blocks') !== undefined));
  const body = { content: [thinking({})], stop_reason: 'end_turn', usage: {} };
  t.same(at(chat.response(body, replyContext()).body, 'choices', 0, 'message'), {
    role: 'assistant',
    content: '',
    refusal: null,
    reasoning_content: 'hm',
  });
  t.end();
});

t.test('counts what was produced while the figures of the end are missing', (t) => {
  const { translator } = run([start(), open(0, textBlock), say(0, 'x'.repeat(41))]);
  t.match(translator.usage(), { promptTokens: 25, completionTokens: 11 });
  t.equal(translator.outputCharacters, 41);
  t.end();
});

t.test('sums the rounds of its own model, not those of an advisor', (t) => {
  const round = (type: string, input: number, output: number): JsonObject => ({
    type,
    input_tokens: input,
    output_tokens: output,
    cache_read_input_tokens: 1,
    cache_creation_input_tokens: 0,
  });
  const usage = (...iterations: JsonObject[]): JsonObject => ({
    input_tokens: 5,
    output_tokens: 6,
    cache_read_input_tokens: 0,
    iterations,
  });
  const of = (figures: JsonObject): object | null => chat.usage({ usage: figures });
  t.match(of(usage(round('message', 10, 20), round('advisor_message', 99, 99), round('compaction', 3, 4))), {
    promptTokens: 15,
    cachedTokens: 2,
    completionTokens: 24,
  });
  t.match(of(usage(round('message', 10, 20), round('fallback_message', 12, 22))), {
    promptTokens: 5,
    completionTokens: 6,
  });
  const loud = {
    input_tokens: 1,
    output_tokens: 2,
    output_tokens_details: { thinking_tokens: 9 },
    cache_creation: { ephemeral_1h_input_tokens: 9 },
    cache_creation_input_tokens: 3,
  };
  t.match(of(loud), { reasoningTokens: 2, longCacheWriteTokens: 3 }, 'a part is never more than the whole');
  t.equal(of({ input_tokens: 1e12, output_tokens: 1 }), null, 'absurd figures are none');
  t.equal(of({ input_tokens: 1 }), null);
  t.equal(chat.usage({}), null);
  t.end();
});
