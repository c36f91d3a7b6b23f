/**
 * Every recorded answer of generateContent, of Gemini and of Vertex AI, run through its adapter: whole, byte by byte and cut
 * at random, in the frames that Google gives them. What must come out is derived here from the file itself, by a second and
 * much simpler reading of it.
 */
import t from 'tap';
import { google } from '../../providers/google.ts';
import { vertex } from '../../providers/vertex.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/contract/json.ts';
import type { ProviderAdapter, ReplyContext, SseEvent, StreamTranslator } from '../../src/contract/provider.ts';
import { SseReader } from '../../src/upstream/sse.ts';
import { feedings, seededRandom } from '../support/byte-feedings.ts';
import { chunksOf, objects, streamFaults, sumChoices } from '../support/chat-stream.ts';
import { at, parseObject, textAt } from '../support/json-at.ts';
import { hasRecordings, recordings, type Recording } from '../support/recordings.ts';
import { replyContext } from '../support/reply-context.ts';
import { readBySdk } from '../support/sdk-referee.ts';

type Stream = Extract<Recording, { kind: 'stream' }>;
type Reply = Extract<Recording, { kind: 'reply' }>;

const all = hasRecordings() ? recordings().filter(({ name }) => /^google(?:-vertex)?\//.test(name)) : [];
if (all.length === 0) t.comment('fixtures absent: the recorded answers are not beside this repository');

/** Other methods of the service, and the endpoint in OpenAI's own form. */
const otherDialects = [
  'google/dev/TestGoogle.test_instrumentation.0.json',
  'google/dev/compatible_api_with_tool_calls_without_id.0.json',
  'google/dev/google_model_usage_limit_not_exceeded.0.json',
  'google-vertex/dev/google_task_prefix_vertex.0.json',
  'google-vertex/dev/google_vertexai_count_tokens_forwards_native_tools.0.json',
];

const isError = (recording: Recording): recording is Reply =>
  recording.kind === 'reply' && (recording.status >= 400 || at(recording.body, 'error') !== undefined);
const isReply = (recording: Recording): recording is Reply =>
  recording.kind === 'reply' &&
  (Array.isArray(at(recording.body, 'candidates')) || at(recording.body, 'promptFeedback') !== undefined);
const isStream = (recording: Recording): recording is Stream =>
  recording.kind === 'stream' && recording.events.some(({ data }) => data.includes('"candidates"'));

const adapterOf = ({ name }: Recording): ProviderAdapter => (name.includes('vertex') ? vertex : google);

function translatorOf(recording: Recording, context: ReplyContext): StreamTranslator {
  const translator = adapterOf(recording).endpoints.chat?.stream?.(context);
  if (translator === undefined) throw new Error('this dialect is translated');
  return translator;
}

/** Members of a call by their paths: `$.a[0].b` gives the value. */
type Members = Record<string, JsonValue>;
type Called = { name: string; members: Members; signature: string };
type Said = { text: string; reasoning: string; calls: Called[]; finish: string; prompt: number | null; total: number };

function flat(value: JsonValue | undefined, path = '$'): Members {
  if (Array.isArray(value)) return Object.assign({}, ...value.map((item, index) => flat(item, `${path}[${index}]`)));
  if (!isJsonObject(value)) return { [path]: value ?? null };
  return Object.assign({}, ...Object.entries(value).map(([name, item]) => flat(item, `${path}.${name}`)));
}

const finishWords: Record<string, string> = { STOP: 'stop', MAX_TOKENS: 'length', SAFETY: 'content_filter' };

function callsIn(parts: readonly JsonObject[]): Called[] {
  const calls: Called[] = [];
  for (const part of parts.filter(({ functionCall }) => isJsonObject(functionCall))) {
    const name = textAt(part, 'functionCall', 'name');
    if (name !== '') calls.push({ name, members: {}, signature: textAt(part, 'thoughtSignature') });
    const members = calls.at(-1)?.members ?? {};
    const args = at(part, 'functionCall', 'args');
    if (isJsonObject(args) && Object.keys(args).length > 0) Object.assign(members, flat(args));
    for (const partial of objects(at(part, 'functionCall', 'partialArgs'))) {
      const path = textAt(partial, 'jsonPath');
      const before = members[path] ?? '';
      members[path] = `${typeof before === 'string' ? before : ''}${textAt(partial, 'stringValue')}`;
    }
  }
  return calls;
}

function read(bodies: readonly JsonObject[]): Said {
  const candidates = bodies.flatMap((body) => objects(body.candidates));
  const parts = candidates.flatMap((candidate) => objects(at(candidate, 'content', 'parts')));
  const joined = (isThought: boolean): string =>
    parts
      .filter(({ thought }) => (thought === true) === isThought)
      .map((part) => textAt(part, 'text'))
      .join('');
  const calls = callsIn(parts);
  const reason = candidates.map((candidate) => textAt(candidate, 'finishReason')).findLast((word) => word !== '');
  const finish = reason === undefined ? 'content_filter' : (finishWords[reason] ?? reason);
  const usage = bodies.map((body) => body.usageMetadata).findLast((one) => at(one, 'promptTokenCount') !== undefined);
  const prompt = Number(at(usage, 'promptTokenCount')) + Number(at(usage, 'toolUsePromptTokenCount') ?? 0);
  return {
    text: joined(false),
    reasoning: joined(true),
    calls,
    finish: finish === 'stop' && calls.length > 0 ? 'tool_calls' : finish,
    prompt: usage === undefined ? null : prompt,
    total: Number(at(usage, 'totalTokenCount') ?? 0),
  };
}

const shownCall = (call: JsonObject): Called => {
  const args = JSON.parse(textAt(call, 'function', 'arguments')) as JsonValue;
  return {
    name: textAt(call, 'function', 'name'),
    members: isJsonObject(args) && Object.keys(args).length > 0 ? flat(args) : {},
    signature: textAt(call, 'extra_content', 'google', 'thought_signature'),
  };
};

/** Both are in the order of the answer. */
const textSignatures = (bodies: readonly JsonObject[]): string[] =>
  bodies
    .flatMap((body) => objects(body.candidates))
    .flatMap((candidate) => objects(at(candidate, 'content', 'parts')))
    .filter((part) => typeof part.text === 'string' && textAt(part, 'thoughtSignature') !== '')
    .map((part) => textAt(part, 'thoughtSignature'));

/** The words that the annotations of an answer point at. */
const citedWords = (annotations: JsonValue | undefined, content: string): string[] =>
  objects(annotations).map((annotation) =>
    content.slice(
      Number(at(annotation, 'url_citation', 'start_index')),
      Number(at(annotation, 'url_citation', 'end_index')),
    ),
  );

/** The words that have sources, once for each source. */
const supportedWords = (bodies: readonly (JsonValue | undefined)[]): string[] =>
  bodies
    .flatMap((body) => objects(at(body, 'candidates', 0, 'groundingMetadata', 'groundingSupports')))
    .flatMap((support) =>
      (at(support, 'groundingChunkIndices') as number[]).map(() => textAt(support, 'segment', 'text')),
    );

const asText = (events: readonly SseEvent[]): string => JSON.stringify(events);

function run(recording: Recording, events: readonly SseEvent[], includeUsage: boolean): SseEvent[] {
  const translator = translatorOf(recording, replyContext({ includeUsage }));
  return [...events.flatMap((event) => translator.push(event)), ...translator.end()];
}

function fed(recording: Recording, chunks: readonly Buffer[]): SseEvent[] {
  const reader = new SseReader();
  const events = [...chunks.flatMap((chunk) => reader.push(chunk)), ...reader.end()];
  return run(recording, events, true);
}

for (const stream of all.filter(isStream)) {
  const events = stream.events.filter(({ data }) => data !== '[DONE]');
  const bodies = events.map(({ data }) => parseObject(data));
  t.test(`translates ${stream.name}`, async (t) => {
    const said = read(bodies);
    for (const includeUsage of [true, false]) {
      const out = run(stream, events, includeUsage);
      t.same(streamFaults(out, includeUsage), [], 'every rule holds');
      t.equal(out.at(-1)?.data, '[DONE]');
      const sum = sumChoices(chunksOf(out)).get(0);
      t.match(sum, { text: said.text, reasoning: said.reasoning, finish: said.finish });
    }
    const translator = translatorOf(stream, replyContext());
    for (const event of events) translator.push(event);
    const usage = translator.usage();
    t.equal(usage?.promptTokens ?? null, said.prompt);
    if (usage !== null) t.equal(usage.promptTokens + usage.completionTokens, said.total, 'the total is the sum');
    const completion = await readBySdk(run(stream, events, true));
    const message = at(completion, 'choices', 0, 'message');
    t.equal(textAt(message, 'content'), said.text);
    const calls = objects(at(message, 'tool_calls'));
    t.same(calls.map(shownCall), said.calls, 'calls, their arguments and their signatures');
    const choices = chunksOf(run(stream, events, true)).flatMap((chunk) => objects(chunk.choices));
    const deltas = (member: string): JsonObject[] => choices.flatMap(({ delta }) => objects(at(delta, member)));
    t.same(
      deltas('thinking_blocks').map((block) => block.signature),
      textSignatures(bodies),
    );
    t.same(citedWords(deltas('annotations'), said.text), supportedWords(bodies));
  });

  t.test(`c112 reads ${stream.name} in frames with CRLF, however its bytes come`, (t) => {
    const bytes = Buffer.from(events.map(({ data }) => `data: ${data}\r\n\r\n`).join(''));
    const expected = asText(run(stream, events, true));
    for (const { name, chunks } of feedings(bytes, 50)) t.ok(asText(fed(stream, chunks)) === expected, name);
    t.end();
  });

  t.test(`c27 is whole or known to be cut, wherever the bytes of ${stream.name} end`, (t) => {
    const bytes = Buffer.from(events.map(({ data }) => `data: ${data}\r\n\r\n`).join(''));
    const whole = run(stream, events, true).map(({ data }) => data);
    const random = seededRandom(bytes.length);
    let faults = 0;
    for (let cut = 0; cut < 200; cut += 1) {
      const out = fed(stream, [bytes.subarray(0, Math.floor(random() * bytes.length))]).map(({ data }) => data);
      const isWhole = out.at(-1) === '[DONE]';
      const expected = isWhole ? whole : whole.slice(0, out.length);
      if (JSON.stringify(out) !== JSON.stringify(expected)) faults += 1;
    }
    t.equal(faults, 0);
    t.end();
  });

  t.test(`gives no end before its time: ${stream.name}`, (t) => {
    for (let cut = 0; cut < events.length; cut += 1) {
      const translator = translatorOf(stream, replyContext());
      for (const event of events.slice(0, cut)) translator.push(event);
      const isOver = bodies.slice(0, cut).some((body) => textAt(body, 'candidates', 0, 'finishReason') !== '');
      t.equal(translator.isComplete, isOver);
      t.equal(translator.end().length > 0, isOver);
    }
    t.end();
  });
}

for (const reply of all.filter(isReply)) {
  t.test(`adapts ${reply.name}`, (t) => {
    const body = isJsonObject(reply.body) ? reply.body : {};
    const said = read([body]);
    t.equal(adapterOf(reply).findError(body, ''), null, 'a good reply holds no error');
    const adapted = adapterOf(reply).endpoints.chat?.response(body, replyContext());
    const message = at(adapted?.body ?? {}, 'choices', 0, 'message');
    const isSilent = said.calls.length > 0 || said.finish === 'content_filter';
    t.equal(at(message, 'content'), said.text === '' && isSilent ? null : said.text);
    t.equal(textAt(message, 'reasoning_content'), said.reasoning);
    t.equal(at(adapted?.body ?? {}, 'choices', 0, 'finish_reason'), said.finish);
    const calls = objects(at(message, 'tool_calls'));
    t.same(calls.map(shownCall), said.calls);
    t.ok(calls.every((call) => call.type === 'function' && textAt(call, 'id') !== ''));
    t.same(
      objects(at(message, 'thinking_blocks')).map((block) => block.signature),
      textSignatures([body]),
    );
    const usage = adapted?.usage ?? null;
    t.equal(usage?.promptTokens ?? null, said.prompt);
    if (usage !== null) t.equal(usage.promptTokens + usage.completionTokens, said.total);
    t.end();
  });

  t.test(`says where the facts of ${reply.name} stand`, (t) => {
    const body = isJsonObject(reply.body) ? reply.body : {};
    const adapted = adapterOf(reply).endpoints.chat?.response(body, replyContext()).body ?? {};
    const message = at(adapted, 'choices', 0, 'message');
    t.same(citedWords(at(message, 'annotations'), textAt(message, 'content')), supportedWords([body]));
    t.end();
  });
}

for (const reply of all.filter(isError)) {
  t.test(`maps the error of ${reply.name}`, (t) => {
    const status = Number(at(reply.body, 'error', 'code'));
    const error = adapterOf(reply).mapError(status, reply.body);
    t.equal(error.status, status);
    t.equal(error.code, status === 429 ? 'rate_limit_exceeded' : 'model_not_found');
    t.equal(error.headers['retry-after-ms'], status === 429 ? '34400' : undefined);
    t.end();
  });
}

t.test('leaves out only what is in another dialect', (t) => {
  const read = all.filter((one) => isStream(one) || isReply(one) || isError(one));
  const apart = all.filter((one) => !read.includes(one)).map(({ name }) => name);
  t.same(apart.sort(), all.length === 0 ? [] : otherDialects.toSorted());
  t.end();
});
