/** Replies and streams of generateContent, rule by rule. Spec: fidelity 5.2, 11, 4.7. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { google } from '../../providers/google.ts';
import type { Usage } from '../../src/contract/flow.ts';
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';
import type { ReplyContext, SseEvent, StreamTranslator } from '../../src/contract/provider.ts';
import { SseReader } from '../../src/upstream/sse.ts';
import { seededRandom } from '../support/byte-feedings.ts';
import { chunksOf, objects, streamFaults, sumChoices } from '../support/chat-stream.ts';
import { at, textAt } from '../support/json-at.ts';
import { spoil } from '../support/odd-json.ts';
import { replyContext } from '../support/reply-context.ts';
import { readBySdk } from '../support/sdk-referee.ts';

const candidate = (parts: JsonObject[], more: JsonObject = {}): JsonObject => ({
  content: { role: 'model', parts },
  finishReason: 'STOP',
  index: 0,
  ...more,
});
const reply = (parts: JsonObject[], more: JsonObject = {}): JsonObject => ({ candidates: [candidate(parts, more)] });
const going = (parts: JsonObject[]): JsonObject => ({ candidates: [{ content: { role: 'model', parts } }] });

function adapted(body: JsonObject, context: Partial<ReplyContext> = {}): JsonObject {
  const out = google.endpoints.chat?.response(body, replyContext(context)).body;
  if (out === undefined || out === null) throw new Error('a reply of this dialect is always written anew');
  return out;
}
const choiceOf = (body: JsonObject, context: Partial<ReplyContext> = {}): JsonValue | undefined =>
  at(adapted(body, context), 'choices', 0);
const messageOf = (body: JsonObject): JsonValue | undefined => at(choiceOf(body), 'message');

function translator(context: Partial<ReplyContext> = {}): StreamTranslator {
  const fresh = google.endpoints.chat?.stream?.(replyContext(context));
  if (fresh === undefined) throw new Error('this dialect is translated');
  return fresh;
}
const event = (body: JsonObject): SseEvent => ({ event: '', data: JSON.stringify(body) });
function streamed(bodies: JsonObject[], context: Partial<ReplyContext> = {}): SseEvent[] {
  const fresh = translator(context);
  const out = bodies.flatMap((body) => fresh.push(event(body)));
  return [...out, ...fresh.end()];
}
const callPart = (name: string, args: JsonObject, more: JsonObject = {}): JsonObject => ({
  functionCall: { name, args, ...more },
});

t.test('c14 gives parallel calls the numbers 0 and 1, which the SDK puts together', async (t) => {
  const out = streamed([
    going([{ ...callPart('weather', { city: 'Oslo' }), thoughtSignature: 'c2ln' }]),
    reply([callPart('weather', { city: 'Rome' })]),
  ]);
  t.same(streamFaults(out, false), []);
  const completion = await readBySdk(out);
  const calls = objects(at(completion, 'choices', 0, 'message', 'tool_calls'));
  t.same(
    calls.map((call) => textAt(call, 'function', 'arguments')),
    ['{"city":"Oslo"}', '{"city":"Rome"}'],
  );
  t.equal(textAt(calls[0], 'extra_content', 'google', 'thought_signature'), 'c2ln');
  t.equal(at(completion, 'choices', 0, 'finish_reason'), 'tool_calls');
});

t.test('c57 gives calls ids that are theirs alone', (t) => {
  const parts = [callPart('a', {}), callPart('a', {}, { id: 'zi06h2mp' }), callPart('b', {}, { id: 'zi06h2mp' })];
  const ids = objects(at(messageOf(reply(parts)), 'tool_calls')).map(({ id }) => id);
  t.equal(ids[1], 'zi06h2mp');
  t.equal(new Set(ids).size, 3);
  t.ok(ids.every((id) => typeof id === 'string' && id !== ''));
  t.end();
});

t.test('c13 gives a call without arguments an empty object', (t) => {
  t.equal(textAt(messageOf(reply([{ functionCall: { name: 'f' } }])), 'tool_calls', 0, 'function', 'arguments'), '{}');
  const sum = sumChoices(chunksOf(streamed([reply([{ functionCall: { name: 'f' } }])]))).get(0);
  t.equal(sum?.calls[0]?.arguments, '{}');
  t.end();
});

t.test('c124 builds arguments by their paths, two calls apart', (t) => {
  const pieces = (...partialArgs: JsonObject[]): JsonObject =>
    going([{ functionCall: { partialArgs, willContinue: true } }]);
  const open = (name: string): JsonObject => going([{ functionCall: { name, willContinue: true } }]);
  const out = streamed([
    open('cook'),
    pieces({ jsonPath: '$.recipe.steps[0].text', stringValue: 'Boil', willContinue: true }),
    pieces({ jsonPath: '$.recipe.steps[0].text', stringValue: ' water' }),
    going([{ functionCall: { willContinue: true } }]),
    pieces({ jsonPath: '$.recipe.steps[1].text', stringValue: 'Wait' }, { jsonPath: '$.hot', boolValue: true }),
    pieces({ jsonPath: "$['odd.name']", numberValue: 0 }, { jsonPath: '$.none', nullValue: 'NULL_VALUE' }),
    pieces({ jsonPath: '$.__proto__.x', stringValue: 'p' }, { jsonPath: '$.far[99999999]', stringValue: 'no' }),
    going([{ functionCall: {} }]),
    open('clock'),
    pieces({ jsonPath: '$.hot', stringValue: 'other' }),
    reply([{ functionCall: {} }]),
  ]);
  t.same(streamFaults(out, false), []);
  const calls = sumChoices(chunksOf(out)).get(0)?.calls ?? [];
  const recipe = { steps: [{ text: 'Boil water' }, { text: 'Wait' }] };
  t.equal(
    calls[0]?.arguments,
    JSON.stringify({ recipe, hot: true, 'odd.name': 0, none: null, ['__proto__']: { x: 'p' } }),
  );
  t.equal(calls[1]?.arguments, '{"hot":"other"}');
  t.end();
});

t.test('closes a call that the end, or the next call, cuts short', (t) => {
  const out = streamed([
    going([{ functionCall: { name: 'a', willContinue: true } }]),
    going([{ functionCall: { partialArgs: [{ jsonPath: '$.x', stringValue: 'y' }], willContinue: true } }]),
    going([{ functionCall: { name: 'b', willContinue: true } }]),
    { candidates: [{ finishReason: 'MAX_TOKENS' }] },
  ]);
  const sum = sumChoices(chunksOf(out)).get(0);
  t.same(
    sum?.calls.map((call) => call.arguments),
    ['{"x":"y"}', '{}'],
  );
  t.equal(sum?.finish, 'length');
  t.end();
});

t.test('never takes a part of the servers own tools for a call of the client', (t) => {
  const parts = [
    { executableCode: { code: 'x', id: 'a' }, thoughtSignature: 'eA==' },
    { codeExecutionResult: { outcome: 'OUTCOME_OK', output: '1' } },
    { toolCall: { toolType: 'GOOGLE_SEARCH_WEB', id: 'b' }, thoughtSignature: 'eQ==' },
    { toolResponse: { id: 'b', response: {} } },
    { text: 'one' },
  ];
  t.same(choiceOf(reply(parts)), {
    index: 0,
    message: { role: 'assistant', content: 'one', refusal: null },
    logprobs: null,
    finish_reason: 'stop',
  });
  t.end();
});

t.test('c56 answers a blocked prompt with one choice that was filtered', async (t) => {
  const blocked = {
    promptFeedback: { blockReason: 'MODEL_ARMOR', blockReasonMessage: 'Injection.' },
    usageMetadata: { trafficType: 'ON_DEMAND' },
  };
  t.equal(google.findError(blocked, ''), null);
  const body = adapted(blocked);
  t.match(body['choices'], [
    { index: 0, message: { role: 'assistant', content: null, refusal: 'Injection.' }, finish_reason: 'content_filter' },
  ]);
  t.equal(body['usage'], undefined);
  const out = streamed([blocked], { includeUsage: true });
  t.same(streamFaults(out, true), []);
  t.equal(out.at(-1)?.data, '[DONE]');
  const completion = await readBySdk(out);
  t.match(completion, { choices: [{ finish_reason: 'content_filter', message: { refusal: 'Injection.' } }] });
  const silent = { candidates: [{ content: {}, finishReason: 'SAFETY' }] };
  t.match(choiceOf(silent), { message: { content: null, refusal: null }, finish_reason: 'content_filter' });
  const late = streamed([going([{ text: 'So ' }]), blocked]);
  t.match(sumChoices(chunksOf(late)).get(0), { text: 'So ', finish: 'content_filter' }, 'in the middle as well');
  t.end();
});

t.test('c23 finishes in the words of OpenAI', (t) => {
  const words: Record<string, string> = {
    STOP: 'stop',
    MAX_TOKENS: 'length',
    SAFETY: 'content_filter',
    RECITATION: 'content_filter',
    PROHIBITED_CONTENT: 'content_filter',
    IMAGE_SAFETY: 'content_filter',
    MODEL_ARMOR: 'content_filter',
    MALFORMED_FUNCTION_CALL: 'stop',
    OTHER: 'stop',
    SOMETHING_NEW: 'stop',
  };
  for (const [finishReason, ours] of Object.entries(words)) {
    t.equal(at(choiceOf(reply([{ text: 'x' }], { finishReason })), 'finish_reason'), ours, finishReason);
  }
  t.end();
});

t.test('takes an answer that failed before it said anything for an error', (t) => {
  for (const finishReason of ['MALFORMED_FUNCTION_CALL', 'UNEXPECTED_TOOL_CALL', 'OTHER']) {
    const failed = reply([{ text: 'hm', thought: true }], { finishReason });
    t.match(google.findError(failed, ''), { status: 502 }, finishReason);
    const stream = translator();
    stream.push(event(failed));
    t.match(stream.failure, { status: 502 });
    t.equal(stream.isComplete, false);
    t.same(stream.end(), []);
  }
  t.match(google.findError({ usageMetadata: {} }, ''), { status: 502 }, 'no answer at all');
  const said = streamed([going([{ text: 'x' }]), { candidates: [{ finishReason: 'OTHER' }] }]);
  t.equal(sumChoices(chunksOf(said)).get(0)?.finish, 'stop');
  t.end();
});

t.test('keeps several candidates apart', async (t) => {
  const two = { candidates: [candidate([{ text: 'a' }]), candidate([{ text: 'b' }], { index: 1 })] };
  t.match(adapted(two)['choices'], [
    { index: 0, message: { content: 'a' } },
    { index: 1, message: { content: 'b' } },
  ]);
  const stream = translator();
  stream.push(event({ candidates: [candidate([{ text: 'a' }])] }));
  stream.push(event({ candidates: [{ content: { parts: [{ text: 'b' }] }, index: 1 }] }));
  t.equal(stream.isComplete, false, 'the second still speaks');
  const out = streamed([two, { candidates: [{ index: 1, content: { parts: [{ text: 'c' }] } }] }]);
  t.same(streamFaults(out, false), []);
  t.equal(sumChoices(chunksOf(out)).get(1)?.text, 'bc', 'words behind the finish are not lost');
  t.end();
});

t.test('tells thoughts apart from the answer, with the signature of text as a block', (t) => {
  const parts = [
    { text: 'Hm. ', thought: true },
    { text: 'Well.', thought: true },
    { text: 'One' },
    { text: ' two', thoughtSignature: 'dGV4dA==' },
  ];
  const block = {
    type: 'thinking',
    thinking: 'Hm. Well.',
    signature: 'dGV4dA==',
    format: 'google-gemini-v1',
    content_offset: 7,
  };
  t.match(messageOf(reply(parts)), { content: 'One two', reasoning_content: 'Hm. Well.', thinking_blocks: [block] });
  const out = streamed([...parts.map((part) => going([part])), reply([{ text: '' }])]);
  const deltas = chunksOf(out).flatMap((chunk) => objects(chunk['choices']).map(({ delta }) => delta));
  t.same(
    deltas.flatMap((delta) => objects(at(delta, 'thinking_blocks'))),
    [block],
  );
  t.end();
});

t.test('gives log probabilities in their form', (t) => {
  const logprobsResult = {
    chosenCandidates: [{ token: 'é', tokenId: 1, logProbability: -0.5 }],
    topCandidates: [
      {
        candidates: [
          { token: 'é', logProbability: -0.5 },
          { token: 'e', logProbability: -2 },
        ],
      },
    ],
  };
  const expected = {
    content: [
      {
        token: 'é',
        logprob: -0.5,
        bytes: [195, 169],
        top_logprobs: [
          { token: 'é', logprob: -0.5, bytes: [195, 169] },
          { token: 'e', logprob: -2, bytes: [101] },
        ],
      },
    ],
    refusal: null,
  };
  const body = reply([{ text: 'é' }], { logprobsResult });
  t.same(at(choiceOf(body), 'logprobs'), expected);
  for (const parts of [[{ text: 'é' }], []]) {
    const chunks = chunksOf(streamed([reply(parts, { logprobsResult })]));
    const told = chunks.flatMap((chunk) => objects(chunk['choices'])).filter(({ logprobs }) => logprobs !== null);
    t.same(
      told.map(({ logprobs }) => logprobs),
      [expected],
    );
  }
  t.end();
});

t.test('says where facts are from, in units of the content', (t) => {
  const groundingMetadata = {
    groundingChunks: [
      { web: { uri: 'https://a.org', title: 'a' } },
      { retrievedContext: { uri: 'gs://b', title: 'b' } },
      { web: { title: 'no address' } },
    ],
    groundingSupports: [
      { segment: { startIndex: 0, endIndex: 5, text: '🌧°' }, groundingChunkIndices: [0, 1, 2, 9] },
      { segment: { partIndex: 1, endIndex: 4, text: 'rain' }, groundingChunkIndices: [1] },
    ],
  };
  const cited = (url: string, title: string, start: number, end: number): JsonObject => ({
    type: 'url_citation',
    url_citation: { url, title, start_index: start, end_index: end },
  });
  const expected = [cited('https://a.org', 'a', 0, 3), cited('gs://b', 'b', 0, 3), cited('gs://b', 'b', 4, 8)];
  const body = reply([{ text: '🌧° ' }, { text: 'rain' }], { groundingMetadata });
  t.same(at(messageOf(body), 'annotations'), expected);
  const out = streamed([
    { candidates: [{ content: { parts: [{ text: '🌧° ' }] }, groundingMetadata: {} }] },
    reply([{ text: 'rain' }], { groundingMetadata }),
  ]);
  const deltas = chunksOf(out).flatMap((chunk) => objects(chunk['choices']).map(({ delta }) => delta));
  t.same(
    deltas.flatMap((delta) => objects(at(delta, 'annotations'))),
    expected,
  );
  const whole = reply([{ text: 'rain' }], { groundingMetadata: { groundingChunks: [{ maps: { uri: 'https://m' } }] } });
  t.same(at(messageOf(whole), 'annotations'), [cited('https://m', '', 0, 4)]);
  const quoted = { citationMetadata: { citations: [{ startIndex: 0, endIndex: 2, uri: 'https://q' }] } };
  t.same(at(messageOf(reply([{ text: 'rain' }], quoted)), 'annotations'), [cited('https://q', '', 0, 2)]);
  t.end();
});

t.test('shows pictures beside the text', (t) => {
  const body = reply([{ text: 'Here.' }, { inlineData: { mimeType: 'image/png', data: 'AA==' } }]);
  t.match(messageOf(body), {
    content: 'Here.',
    images: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }],
  });
  t.end();
});

t.test('c108 answers with a function call when the caller asked in the old form', (t) => {
  const request = { functions: [{ name: 'f' }] };
  const body = reply([callPart('f', { a: 1 }), callPart('f', { a: 2 })]);
  t.match(choiceOf(body, { request }), {
    message: { content: null, function_call: { name: 'f', arguments: '{"a":1}' }, tool_calls: undefined },
    finish_reason: 'function_call',
  });
  const chunks = chunksOf(streamed([body], { request }));
  t.notMatch(JSON.stringify(chunks), /tool_calls/);
  t.end();
});

const usageOf = (usageMetadata: JsonObject): Usage | null | undefined =>
  google.endpoints.chat?.usage({ usageMetadata });

t.test('c59 counts thoughts and what tools read, so that the total is the sum', (t) => {
  const figures = {
    promptTokenCount: 147,
    toolUsePromptTokenCount: 360,
    cachedContentTokenCount: 20,
    candidatesTokenCount: 108,
    thoughtsTokenCount: 168,
    totalTokenCount: 783,
    promptTokensDetails: [
      { modality: 'TEXT', tokenCount: 100 },
      { modality: 'AUDIO', tokenCount: 47 },
    ],
    candidatesTokensDetails: [{ modality: 'AUDIO', tokenCount: 8 }],
  };
  t.same(usageOf(figures), {
    promptTokens: 507,
    cachedTokens: 20,
    cacheWriteTokens: 0,
    completionTokens: 276,
    reasoningTokens: 168,
    audioPromptTokens: 47,
    audioCompletionTokens: 8,
  });
  t.match(usageOf({ promptTokenCount: 417, thoughtsTokenCount: 71, totalTokenCount: 488 }), { completionTokens: 71 });
  t.match(usageOf({ promptTokenCount: 5, totalTokenCount: 12 }), { completionTokens: 7, reasoningTokens: 0 });
  t.equal(usageOf({ trafficType: 'ON_DEMAND' }), null);
  t.equal(usageOf({ promptTokenCount: -1 }), null);
  t.end();
});

t.test('lets the last figures stand, and the tier that served', (t) => {
  const told = (usageMetadata: JsonObject, parts: JsonObject[] = [{ text: 'x' }]): JsonObject => ({
    ...going(parts),
    usageMetadata,
  });
  const stream = translator({ includeUsage: true });
  stream.push(event(told({ promptTokenCount: 59, totalTokenCount: 59 })));
  stream.push(event(told({ promptTokenCount: 128, candidatesTokenCount: 2, totalTokenCount: 130 })));
  stream.push(event({ ...reply([]), usageMetadata: { trafficType: 'ON_DEMAND_FLEX' } }));
  t.match(stream.usage(), { promptTokens: 128, completionTokens: 2 });
  const out = chunksOf(stream.end());
  t.match(out.at(-1), { choices: [], service_tier: 'flex', usage: { prompt_tokens: 128, total_tokens: 130 } });
  t.equal(stream.outputCharacters, 2);
  t.equal(adapted({ ...reply([]), usageMetadata: { serviceTier: 'standard' } })['service_tier'], 'default');
  t.end();
});

t.test('c27 gives no end that the stream did not have', (t) => {
  const stream = translator();
  stream.push(event(going([{ text: 'So' }])));
  t.equal(stream.isComplete, false);
  t.same(stream.end(), []);
  stream.push(event({ candidates: [{ finishReason: 'STOP' }] }));
  t.equal(stream.isComplete, true);
  t.equal(stream.end().at(-1)?.data, '[DONE]');
  t.same(stream.end(), [], 'only one');
  t.end();
});

t.test('c24 stops at an error in the middle, and at what is no JSON', (t) => {
  const stream = translator();
  stream.push(event(going([{ text: 'So' }])));
  stream.push(event({ error: { code: 503, message: 'The model is overloaded.', status: 'UNAVAILABLE' } }));
  t.match(stream.failure, { status: 503, code: 'overloaded' });
  t.same(stream.push(event(reply([{ text: 'x' }]))), []);
  t.same(stream.end(), []);
  const broken = translator();
  broken.push({ event: '', data: '<html>' });
  t.match(broken.failure, { status: 502 });
  t.end();
});

t.test('c112 reads events that end with CRLF', (t) => {
  const bodies = [going([{ text: 'é' }]), reply([{ text: '!' }])];
  const bytes = Buffer.from(
    bodies.map((body) => `data: ${JSON.stringify(body, null, 1).replaceAll('\n', '')}\r\n\r\n`).join(''),
  );
  const reader = new SseReader();
  const events = [...bytes].flatMap((byte) => reader.push(Buffer.from([byte])));
  const stream = translator();
  const out = [...events, ...reader.end()].flatMap((one) => stream.push(one));
  t.equal(sumChoices(chunksOf([...out, ...stream.end()])).get(0)?.text, 'é!');
  t.end();
});

const fault = (code: number, message: string, more: JsonObject = {}): JsonObject => ({
  error: { code, message, ...more },
});

t.test('tells the wait of a throttle, and takes its talk of quota for what it is', (t) => {
  const details = [{ '@type': 'QuotaFailure' }, { '@type': 'RetryInfo', retryDelay: '34.4s' }];
  const body = fault(429, 'You exceeded your current quota, please check your plan and billing details.', { details });
  const error = google.mapError(429, body);
  t.match(error, { status: 429, type: 'requests', code: 'rate_limit_exceeded' });
  t.same(error.headers, { 'retry-after': '35', 'retry-after-ms': '34400' });
  t.notMatch(error.message, /quota|billing/);
  t.same(google.mapError(429, fault(429, 'x')).headers, {});
  const long = [{ retryDelay: '3600s' }];
  t.match(google.mapError(503, fault(503, 'x', { details: long })).headers, { 'x-should-retry': 'false' });
  t.end();
});

t.test('hides the project and the right that the gateway lacks', (t) => {
  const denied = "Permission 'x' denied on resource '//aiplatform.googleapis.com/projects/secret-1/models/m'.";
  t.match(google.mapError(403, fault(403, denied)), { status: 502, code: 'upstream_authentication' });
  const disabled = 'Generative Language API has not been used in project 123456789012 before.';
  t.match(google.mapError(403, fault(403, disabled)), { status: 502 });
  const shown = google.mapError(400, fault(400, 'Bad field in projects/secret-1/x of project 123456789012.'));
  t.equal(shown.message, 'Bad field in projects/[redacted]/x of project [redacted].');
  t.match(google.mapError(500, undefined), { status: 502 }, 'a 500 of theirs is none of ours');
  t.match(google.findError({ error: { status: 'UNAVAILABLE', message: 'x' } }, ''), { status: 503 });
  t.match(google.mapError(404, [fault(404, 'models/x is not found')]), { status: 404, code: 'model_not_found' });
  t.end();
});

t.test('makes an answer or an error of any odd reply, whole or streamed', (t) => {
  const fixture = (name: string): string =>
    readFileSync(join(import.meta.dirname, '../fixtures/providers/google', name), 'utf8');
  const whole = fixture('reply.json');
  const events = fixture('stream.in')
    .split('\r\n\r\n')
    .filter((frame) => frame !== '');
  const random = seededRandom(9);
  for (let round = 0; round < 1000; round += 1) {
    const body = JSON.parse(whole) as JsonObject;
    spoil(body, random);
    if (google.findError(body, '') === null) t.equal(adapted(body)['object'], 'chat.completion');
    const stream = translator({ includeUsage: true });
    const out: SseEvent[] = [];
    for (const frame of events) {
      const next = JSON.parse(frame.slice('data: '.length)) as JsonObject;
      if (random() < 0.3) spoil(next, random, 1);
      if (stream.failure === null) out.push(...stream.push(event(next)));
    }
    const [isComplete, tail] = [stream.isComplete, stream.end()];
    const faults = isComplete ? streamFaults([...out, ...tail], true) : [];
    t.same(faults, []);
    t.equal(tail.length > 0, isComplete, 'an end only for what is complete');
  }
  t.end();
});

t.test('gives each signed text its own thoughts', (t) => {
  const sign = { thoughtSignature: 'eA==' };
  const parts = [
    { text: 'A.', thought: true },
    { text: 'a', ...sign },
    { text: 'B.', thought: true },
    { text: 'b', ...sign },
  ];
  const blocks = objects(at(messageOf(reply(parts)), 'thinking_blocks'));
  t.same(
    blocks.map((block) => [block['thinking'], block['content_offset']]),
    [
      ['A.', 1],
      ['B.', 2],
    ],
  );
  t.end();
});

t.test('takes a picture for an answer, and bytes of another kind for none', (t) => {
  const bytes = (mimeType: string): JsonObject => ({ inlineData: { mimeType, data: 'AA==' } });
  const painted = reply([bytes('image/png')], { finishReason: 'OTHER' });
  t.equal(google.findError(painted, ''), null);
  t.equal(sumChoices(chunksOf(streamed([painted]))).get(0)?.finish, 'stop');
  t.equal(at(messageOf(reply([bytes('audio/wav')])), 'images'), undefined);
  t.end();
});

t.test('replaces a value that does not go on', (t) => {
  const piece = (stringValue: string): JsonObject =>
    going([{ functionCall: { partialArgs: [{ jsonPath: '$.x', stringValue }], willContinue: true } }]);
  const open = going([{ functionCall: { name: 'f', willContinue: true } }]);
  const out = streamed([open, piece('a'), piece('b'), reply([{ functionCall: {} }])]);
  t.equal(sumChoices(chunksOf(out)).get(0)?.calls[0]?.arguments, '{"x":"b"}');
  t.end();
});

t.test('holds back only the candidates that still speak', (t) => {
  const two = { candidates: [candidate([{ text: 'a' }]), { index: 1, content: { parts: [{ text: 'b' }] } }] };
  const sums = sumChoices(chunksOf(streamed([two, { promptFeedback: { blockReason: 'SAFETY' } }])));
  t.same([sums.get(0)?.finish, sums.get(1)?.finish], ['stop', 'content_filter']);
  t.end();
});

t.test('remembers the tier that an earlier event told', (t) => {
  const first = { ...going([{ text: 'a' }]), usageMetadata: { serviceTier: 'priority' } };
  const chunks = chunksOf(streamed([first, { ...reply([]), usageMetadata: { promptTokenCount: 1 } }]));
  t.ok(chunks.every((chunk) => chunk['service_tier'] === 'priority'));
  t.end();
});
