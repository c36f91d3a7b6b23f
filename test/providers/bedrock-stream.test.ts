/** What becomes of Converse's answers, whole and streamed, and of its failures. Spec: fidelity 2.3 to 2.5, 4.7, 5.4, 11. */
import t from 'tap';
import { bedrock } from '../../providers/bedrock.ts';
import type { JsonObject } from '../../src/contract/json.ts';
import type { ChatEndpoint, ReplyContext, SseEvent, StreamTranslator } from '../../src/contract/provider.ts';
import { chunksOf, objects, streamFaults, sumChoices } from '../support/chat-stream.ts';
import { at } from '../support/json-at.ts';
import { replyContext } from '../support/reply-context.ts';

const chat = bedrock.endpoints.chat as ChatEndpoint & Required<Pick<ChatEndpoint, 'stream'>>;

type Event = readonly [name: string, body: JsonObject];
const delta = (contentBlockIndex: number, said: JsonObject): Event => [
  'contentBlockDelta',
  { contentBlockIndex, delta: said },
];
const open = (contentBlockIndex: number, start: JsonObject): Event => [
  'contentBlockStart',
  { contentBlockIndex, start },
];
const close = (contentBlockIndex: number): Event => ['contentBlockStop', { contentBlockIndex }];
const stop = (stopReason: string, more: JsonObject = {}): Event => ['messageStop', { stopReason, ...more }];
const start: Event = ['messageStart', { role: 'assistant' }];
const usage = { inputTokens: 7, outputTokens: 3, totalTokens: 10 };

type Run = { translator: StreamTranslator; out: SseEvent[]; deltas: JsonObject[] };

function run(events: readonly Event[], context: Partial<ReplyContext> = {}): Run {
  const translator = chat.stream(replyContext({ includeUsage: true, ...context }));
  const out = events.flatMap(([event, body]) => translator.push({ event, data: JSON.stringify(body) }));
  out.push(...translator.end());
  const deltas = chunksOf(out).flatMap((chunk) => objects(chunk.choices).map((choice) => choice.delta as JsonObject));
  return { translator, out, deltas };
}

const replyOf = (content: JsonObject[], more: JsonObject = {}): JsonObject => ({
  output: { message: { role: 'assistant', content } },
  stopReason: 'end_turn',
  usage,
  ...more,
});
const messageOf = (content: JsonObject[], context: Partial<ReplyContext> = {}): unknown =>
  at(chat.response(replyOf(content, { stopReason: 'tool_use' }), replyContext(context)).body, 'choices', 0);

t.test('c121 ends once both the reason and the figures are there, in whichever order', (t) => {
  const metadata: Event = ['metadata', { usage }];
  for (const [first, second] of [
    [metadata, stop('end_turn')],
    [stop('end_turn'), metadata],
  ] as const) {
    const { translator, out } = run([start, delta(0, { text: 'x' }), close(0), first]);
    t.equal(translator.isEnded, false);
    t.equal(translator.isComplete, first !== metadata, 'figures alone are no end');
    t.equal(out.at(-1)?.data === '[DONE]', first !== metadata);
    const whole = run([start, delta(0, { text: 'x' }), close(0), first, second]);
    t.same(streamFaults(whole.out, true), []);
    t.equal(whole.translator.isEnded, true);
    t.match(whole.translator.usage(), { promptTokens: 7, completionTokens: 3 });
  }
  const { translator, out } = run([start, delta(0, { text: 'x' }), stop('end_turn')]);
  t.equal(translator.usage(), null, 'figures that never came are not made up');
  t.equal(translator.outputCharacters, 1);
  t.same(streamFaults(out, true), []);
  t.same(translator.end(), [], 'the tail comes once');
  const late = run([
    start,
    delta(0, { text: 'x' }),
    stop('end_turn'),
    metadata,
    delta(1, { text: 'y' }),
    ['metadata', {}],
  ]);
  t.equal(sumChoices(chunksOf(late.out)).get(0)?.text, 'x', 'what comes after the end is not heard');
  const twice = run([start, metadata, ['metadata', { metrics: {} }], stop('')]);
  t.match(twice.translator.usage(), { promptTokens: 7 }, 'figures stand until there are others');
  t.equal(sumChoices(chunksOf(twice.out)).get(0)?.finish, 'stop', 'an end without a reason is one');
  t.end();
});

t.test('maps the reason of the end', (t) => {
  for (const [reason, finish] of [
    ['end_turn', 'stop'],
    ['stop_sequence', 'stop'],
    ['max_tokens', 'length'],
    ['model_context_window_exceeded', 'length'],
    ['content_filtered', 'content_filter'],
    ['guardrail_intervened', 'content_filter'],
    ['something_new', 'stop'],
    ['tool_use', 'stop'],
  ] as const) {
    const { out } = run([start, delta(0, { text: 'x' }), close(0), stop(reason)]);
    t.equal(sumChoices(chunksOf(out)).get(0)?.finish, finish, reason);
    const body = replyOf([{ text: 'x' }], { stopReason: reason });
    t.equal(at(chat.response(body, replyContext()).body, 'choices', 0, 'finish_reason'), finish, reason);
  }
  t.end();
});

t.test('tells an answer that the model could not form as a failure, if nothing of it is there', (t) => {
  for (const reason of ['malformed_tool_use', 'malformed_model_output']) {
    t.match(run([start, stop(reason)]).translator.failure, { kind: 'upstreamBadReply' });
    t.match(bedrock.findError(replyOf([], { stopReason: reason }), ''), { kind: 'upstreamBadReply' });
    const { translator, out } = run([start, delta(0, { text: 'x' }), stop(reason)]);
    t.equal(translator.failure, null);
    t.equal(sumChoices(chunksOf(out)).get(0)?.finish, 'stop');
    t.equal(bedrock.findError(replyOf([{ text: 'x' }], { stopReason: reason }), ''), null);
  }
  t.end();
});

t.test('gives the role once, whether or not the stream says that it begins', (t) => {
  for (const events of [[start], [], [open(0, {})]]) {
    const { out } = run([...events, delta(0, { text: 'x' }), close(0), stop('end_turn')]);
    t.same(streamFaults(out, true), []);
    t.equal(sumChoices(chunksOf(out)).get(0)?.text, 'x');
  }
  t.same(streamFaults(run([stop('end_turn')]).out, true), [], 'even when nothing was said');
  t.end();
});

t.test('keeps the pieces of each block together by their index', (t) => {
  const { out } = run([
    start,
    open(0, { toolUse: { toolUseId: 'a', name: 'f' } }),
    open(1, { toolUse: { toolUseId: 'b', name: 'g' } }),
    delta(1, { toolUse: { input: '{"x":' } }),
    delta(0, { toolUse: { input: '{"y":2}' } }),
    delta(1, { toolUse: { input: '1}' } }),
    close(0),
    stop('tool_use'),
  ]);
  t.same(streamFaults(out, true), []);
  t.same(sumChoices(chunksOf(out)).get(0)?.calls, [
    { id: 'a', name: 'f', arguments: '{"y":2}' },
    { id: 'b', name: 'g', arguments: '{"x":1}' },
  ]);
  t.end();
});

t.test('c51 gives encrypted reasoning as one block, whatever pieces it came in', (t) => {
  const piece = (text: string): JsonObject => ({
    reasoningContent: { redactedContent: Buffer.from(text).toString('base64') },
  });
  const block = { type: 'redacted_thinking', data: Buffer.from('hidden').toString('base64') };
  const blocks = ({ deltas }: Run): unknown[] => deltas.flatMap((said) => objects(said.thinking_blocks));
  t.same(blocks(run([start, delta(0, piece('h')), delta(0, piece('idden')), close(0), stop('end_turn')])), [block]);
  t.same(blocks(run([start, delta(0, piece('hidden')), stop('end_turn')])), [block], 'without an end of the block');
  const opaque = { reasoningContent: { redactedContent: 'not.base64' } };
  t.match(blocks(run([start, delta(0, opaque), close(0), stop('end_turn')])), [{ data: 'not.base64' }], 'as it came');
  const shown = at(messageOf([{ reasoningContent: { redactedContent: block.data } }]) as JsonObject, 'message');
  t.same(at(shown, 'thinking_blocks'), [block]);
  t.equal(at(shown, 'reasoning_content'), undefined);
  t.end();
});

t.test('opens a block anew whose number comes again', (t) => {
  const thought = (text: string): Event[] => [delta(0, { reasoningContent: { text } }), close(0)];
  const { deltas } = run([start, ...thought('a'), ...thought('b'), stop('end_turn')]);
  t.same(deltas.slice(1, 3), [{ reasoning_content: 'a' }, { reasoning_content: 'b' }]);
  t.end();
});

t.test('shows reasoning that nobody signed, and gives nothing of it to send back', (t) => {
  const { deltas } = run([
    start,
    delta(0, { reasoningContent: { text: 'hm' } }),
    close(0),
    delta(1, { text: 'x' }),
    stop('end_turn'),
  ]);
  t.same(deltas.slice(1, 3), [{ reasoning_content: 'hm' }, { content: 'x' }]);
  t.match(messageOf([{ reasoningContent: { reasoningText: { text: 'hm' } } }]), {
    message: { reasoning_content: 'hm', thinking_blocks: undefined },
  });
  t.end();
});

t.test("leaves Nova's <thinking> in the text, and calls that the provider answers itself out of it", (t) => {
  const server = { toolUseId: 's', name: 'nova_code_interpreter', type: 'server_tool_use' };
  const { out, deltas } = run([
    start,
    delta(0, { text: '<thinking>a</thinking>' }),
    close(0),
    open(1, { toolUse: server }),
    delta(1, { toolUse: { input: '{"snippet":"1"}' } }),
    close(1),
    open(2, { toolResult: { toolUseId: 's', status: 'success' } }),
    delta(2, { toolResult: [{ json: { stdOut: '1' } }] }),
    close(2),
    stop('end_turn'),
  ]);
  t.same(streamFaults(out, true), []);
  t.match(sumChoices(chunksOf(out)).get(0), { text: '<thinking>a</thinking>', calls: [], finish: 'stop' });
  t.notMatch(JSON.stringify(deltas), /snippet|stdOut/);
  t.end();
});

t.test('gives citations of the web as annotations, in place', (t) => {
  const cited = { title: 'A', source: 'x', location: { web: { url: 'https://a.example', domain: 'a.example' } } };
  const other = { title: 'B', location: { documentPage: { documentIndex: 0, start: 1, end: 2 } } };
  const annotation = {
    type: 'url_citation',
    url_citation: { url: 'https://a.example', title: 'A', start_index: 3, end_index: 6 },
  };
  const message = at(
    messageOf([
      { text: 'so ' },
      { citationsContent: { content: [{ text: 'far' }], citations: [cited, other] } },
    ]) as JsonObject,
    'message',
  );
  const shown = { annotations: [annotation], citations: [{ ...other, start_index: 3, end_index: 6 }] };
  t.match(message, { content: 'so far', ...shown });
  const { deltas } = run([
    start,
    delta(0, { text: 'so ' }),
    close(0),
    delta(1, { text: 'far' }),
    delta(1, { citation: cited }),
    delta(1, { citation: other }),
    close(1),
    stop('end_turn'),
  ]);
  t.match(Object.assign({}, ...deltas), shown);
  t.end();
});

t.test('c31 gives the input of the tool that stands in for a schema as the answer itself', (t) => {
  const request: JsonObject = {
    messages: [{ role: 'user', content: 'x' }],
    response_format: { type: 'json_schema', json_schema: { name: 's', schema: { type: 'object' } } },
  };
  const change = chat.request(request, { upstreamModel: 'us.amazon.nova-lite-v1:0', model: null });
  const context = { request, sent: 'body' in change ? change.body : {} };
  const call = { toolUse: { toolUseId: 'a', name: 'json', input: { a: 1 } } };
  t.match(messageOf([{ text: 'Here it is.' }, call], context), {
    finish_reason: 'stop',
    message: { content: '{"a":1}', tool_calls: undefined },
  });
  t.match(messageOf([{ text: 'I cannot.' }], context), { finish_reason: 'stop', message: { content: 'I cannot.' } });
  const { out } = run(
    [
      start,
      delta(0, { text: 'Here it is.' }),
      close(0),
      open(1, { toolUse: { toolUseId: 'a', name: 'json' } }),
      delta(1, { toolUse: { input: '{"a"' } }),
      delta(1, { toolUse: { input: ':1}' } }),
      close(1),
      stop('tool_use'),
    ],
    context,
  );
  t.match(sumChoices(chunksOf(out)).get(0), { text: '{"a":1}', calls: [], finish: 'stop' });
  t.match(messageOf([call]), { finish_reason: 'tool_calls' }, 'without a schema it is a tool like any other');
  t.end();
});

t.test('c108 answers the legacy function fields in their own form', (t) => {
  const context = { request: { functions: [{ name: 'f' }] } };
  const call = { toolUse: { toolUseId: 'a', name: 'f', input: {} } };
  t.match(messageOf([call], context), {
    finish_reason: 'function_call',
    message: { content: null, function_call: { name: 'f', arguments: '{}' }, tool_calls: undefined },
  });
  t.end();
});

t.test("shows the tier that served, and what was asked for in Converse's own words", (t) => {
  const trace = { guardrail: { actionReason: 'none' } };
  const fields = { stop_sequence: 'END' };
  const body = replyOf([{ text: 'x' }], {
    serviceTier: { type: 'reserved' },
    performanceConfig: { latency: 'optimized' },
    additionalModelResponseFields: fields,
    trace,
  });
  const shown = { service_tier: 'scale', performanceConfig: { latency: 'optimized' }, trace };
  t.match(chat.response(body, replyContext()).body, { ...shown, additionalModelResponseFields: fields });
  const { out } = run([
    start,
    delta(0, { text: 'x' }),
    stop('end_turn', { additionalModelResponseFields: fields }),
    ['metadata', { usage, trace, serviceTier: { type: 'reserved' }, performanceConfig: { latency: 'optimized' } }],
  ]);
  t.match(chunksOf(out).at(-1), { choices: [], ...shown, additionalModelResponseFields: fields });
  t.equal(chunksOf(out)[0]?.service_tier, undefined);
  t.end();
});

t.test('adds up what came from the cache and went into it', (t) => {
  const read = (figures: JsonObject): unknown => chat.usage({ usage: figures });
  t.same(read({ inputTokens: 3, outputTokens: 121, cacheReadInputTokens: 1712, cacheWriteInputTokens: 236 }), {
    promptTokens: 1951,
    cachedTokens: 1712,
    cacheWriteTokens: 236,
    completionTokens: 121,
    reasoningTokens: 0,
  });
  const cacheDetails = [
    { inputTokens: 30, ttl: '1h' },
    { inputTokens: 6, ttl: '5m' },
  ];
  t.match(read({ inputTokens: 3, outputTokens: 1, cacheWriteInputTokens: 36, cacheDetails }), {
    cacheWriteTokens: 36,
    longCacheWriteTokens: 30,
  });
  t.match(read({ inputTokens: 3, outputTokens: 1, cacheWriteInputTokens: 20, cacheDetails }), {
    longCacheWriteTokens: 20,
  });
  t.equal(read({ inputTokens: -1, outputTokens: 1 }), null);
  t.equal(read({ inputTokens: 1 }), null);
  t.equal(chat.usage({}), null);
  t.end();
});

t.test('reads exceptions inside the stream by their names', (t) => {
  for (const [name, kind, status] of [
    ['throttlingException', 'upstreamRateLimited', 429],
    ['serviceUnavailableException', 'upstreamOverloaded', 503],
    ['internalServerException', 'upstreamBadReply', 502],
    ['modelStreamErrorException', 'upstreamBadReply', 502],
    ['modelTimeoutException', 'upstreamTimeout', 504],
    ['validationException', 'upstreamRejected', 400],
    ['somethingNewException', 'upstreamBadReply', 502],
  ] as const) {
    const { translator, out } = run([
      start,
      delta(0, { text: 'x' }),
      [`exception:${name}`, { message: 'words' }],
      stop('end_turn'),
    ]);
    t.match(translator.failure, { kind, status }, name);
    t.notMatch(JSON.stringify(out), /DONE|words/);
    t.equal(translator.isComplete, false);
    t.match(bedrock.findError({ message: 'words' }, `exception:${name}`), { kind });
  }
  const translator = chat.stream(replyContext());
  translator.push({ event: 'contentBlockDelta', data: '<html>' });
  t.match(translator.failure, { kind: 'upstreamBadReply' });
  t.same(run([['somethingNew', {}], start, stop('end_turn')]).translator.failure, null, 'what is new is passed over');
  t.end();
});

t.test('takes the type of a failure from its header, from its body, or from its status', (t) => {
  const kind = (status: number, body: JsonObject, type?: string): string =>
    bedrock.mapError(status, body, type === undefined ? {} : { 'x-amzn-errortype': type }).kind;
  t.equal(kind(400, { message: 'x' }, 'ThrottlingException'), 'upstreamRateLimited');
  t.equal(
    kind(400, { message: 'x' }, 'ServiceQuotaExceededException:http://internal.amazon.com/'),
    'upstreamRateLimited',
  );
  t.equal(
    kind(400, { __type: 'com.amazon.coral.service#ExpiredTokenException', message: 'x' }),
    'upstreamAuthentication',
  );
  t.equal(kind(429, { message: 'x' }, 'ModelNotReadyException'), 'upstreamOverloaded');
  t.equal(kind(424, { message: 'x' }, 'ModelErrorException'), 'upstreamBadReply');
  t.equal(kind(404, { message: 'x' }, 'UnknownOperationException'), 'upstreamBadReply');
  t.equal(kind(503, { message: 'x' }, 'SomethingNewException'), 'upstreamOverloaded');
  t.equal(bedrock.mapError(403, undefined).kind, 'upstreamAuthentication');
  t.equal(bedrock.mapError(400, { Message: 'Bad field.' }).message, 'Bad field.');
  const quota = bedrock.mapError(400, { message: 'Account 123456789012 of arn:aws:iam::123456789012:role/x is odd.' });
  t.equal(quota.message, 'Account [redacted] of [redacted] is odd.');
  t.end();
});

t.test('takes whatever is not an answer for a failure', (t) => {
  for (const body of [{}, { message: 'x' }, { Message: 'x' }, { output: {} }, { Output: { __type: 'x' } }]) {
    t.match(bedrock.findError(body, ''), { status: 502 });
  }
  t.equal(bedrock.findError(replyOf([]), ''), null, 'silence is an answer');
  t.match(chat.response(replyOf([]), replyContext()).body, {
    choices: [{ message: { content: '' }, finish_reason: 'stop' }],
  });
  t.end();
});
