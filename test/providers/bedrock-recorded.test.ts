/**
 * Every recorded answer of Bedrock's Converse, run through the adapter: streams as binary frames, whole, byte by byte and
 * cut at random. What must come out is derived here from the file itself, by a second and much simpler reading of it.
 */
import OpenAI from 'openai';
import t from 'tap';
import { bedrock } from '../../providers/bedrock.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/contract/json.ts';
import type { ChatEndpoint, SseEvent, StreamTranslator } from '../../src/contract/provider.ts';
import { AmazonEventStreamReader } from '../../src/upstream/amazon-event-stream.ts';
import { errors, others, replies, streams } from '../support/bedrock-recordings.ts';
import { feedings, seededRandom } from '../support/byte-feedings.ts';
import { chunksOf, objects, streamFaults, sumChoices } from '../support/chat-stream.ts';
import { at, parseObject, textAt } from '../support/json-at.ts';
import { hasRecordings } from '../support/recordings.ts';
import { replyContext } from '../support/reply-context.ts';
import { sseText } from '../support/sse-lines.ts';

const chat = bedrock.endpoints.chat as ChatEndpoint & Required<Pick<ChatEndpoint, 'stream'>>;
if (!hasRecordings()) t.comment('fixtures absent: the recorded answers are not beside this repository');

type Said = {
  text: string;
  reasoning: string;
  calls: { id: string; name: string; json: string }[];
  secrets: string[];
  finish: string | null;
  prompt: number | null;
  completion: number | null;
};

const finishWords: Record<string, string> = { max_tokens: 'length', tool_use: 'tool_calls' };

function figures(usage: JsonValue | undefined): Pick<Said, 'prompt' | 'completion'> {
  if (!isJsonObject(usage)) return { prompt: null, completion: null };
  const { totalTokens, outputTokens } = usage;
  return { prompt: Number(totalTokens) - Number(outputTokens), completion: Number(outputTokens) };
}

function saidInReply(body: JsonObject): Said {
  const blocks = objects(at(body, 'output', 'message', 'content'));
  const texts = (...path: string[]): string => blocks.map((block) => textAt(block, ...path)).join('');
  const called = blocks.filter(({ toolUse }) => isJsonObject(toolUse) && toolUse.type !== 'server_tool_use');
  return {
    text: texts('text'),
    reasoning: texts('reasoningContent', 'reasoningText', 'text'),
    calls: called.map((block) => ({
      id: textAt(block, 'toolUse', 'toolUseId'),
      name: textAt(block, 'toolUse', 'name'),
      json: JSON.stringify(at(block, 'toolUse', 'input')),
    })),
    secrets: blocks.map(secretOf).filter((secret) => secret !== ''),
    finish: finishWords[textAt(body, 'stopReason')] ?? 'stop',
    ...figures(body.usage),
  };
}

const secretOf = (block: JsonObject): string =>
  textAt(block, 'reasoningContent', 'reasoningText', 'signature') ||
  textAt(block, 'reasoningContent', 'redactedContent');

/** Payloads by a reading of frames that is not the product's: lengths, the type in its header, and JSON. */
function payloadsOf(bytes: Buffer): { type: string; body: JsonObject }[] {
  const found: { type: string; body: JsonObject }[] = [];
  for (let from = 0; from < bytes.length; from += bytes.readUInt32BE(from)) {
    const end = from + bytes.readUInt32BE(from);
    const payload = from + 12 + bytes.readUInt32BE(from + 4);
    const head = bytes.toString('latin1', from + 12, payload);
    // Behind the name: the mark of a string, and its length in two bytes.
    const start = head.indexOf(':event-type') + ':event-type'.length + 3;
    const type = head.slice(start, start + head.charCodeAt(start - 1));
    found.push({ type, body: parseObject(bytes.toString('utf8', payload, end - 4)) });
  }
  return found;
}

function saidInStream(bytes: Buffer): Said {
  const said: Said = { text: '', reasoning: '', calls: [], secrets: [], finish: null, prompt: null, completion: null };
  for (const { type, body } of payloadsOf(bytes)) {
    said.text += textAt(body, 'delta', 'text');
    said.reasoning += textAt(body, 'delta', 'reasoningContent', 'text');
    const secret =
      textAt(body, 'delta', 'reasoningContent', 'signature') ||
      textAt(body, 'delta', 'reasoningContent', 'redactedContent');
    if (secret !== '') said.secrets.push(secret);
    const id = textAt(body, 'start', 'toolUse', 'toolUseId');
    if (id !== '') said.calls.push({ id, name: textAt(body, 'start', 'toolUse', 'name'), json: '' });
    const last = said.calls.at(-1);
    if (last !== undefined) last.json += textAt(body, 'delta', 'toolUse', 'input');
    if (type === 'messageStop') said.finish = finishWords[textAt(body, 'stopReason')] ?? 'stop';
    if (type === 'metadata') Object.assign(said, figures(body.usage));
  }
  for (const call of said.calls) call.json = call.json === '' ? '{}' : call.json;
  return said;
}

const parsed = (calls: Said['calls']): object[] =>
  calls.map(({ json, ...call }) => ({ ...call, input: JSON.parse(json) as JsonValue }));

const readFrames = (chunks: readonly Buffer[]): SseEvent[] => {
  const reader = new AmazonEventStreamReader();
  return [...chunks.flatMap((chunk) => reader.push(chunk)), ...reader.end()];
};

function run(events: readonly SseEvent[], includeUsage = true): { translator: StreamTranslator; out: SseEvent[] } {
  const translator = chat.stream(replyContext({ includeUsage }));
  const out = events.flatMap((event) => translator.push(event));
  out.push(...translator.end());
  return { translator, out };
}

async function readBySdk(out: readonly SseEvent[], called: readonly string[]): Promise<JsonValue> {
  const fetch = (): Promise<Response> =>
    Promise.resolve(new Response(sseText(out), { headers: { 'content-type': 'text/event-stream' } }));
  const client = new OpenAI({ apiKey: 'none', baseURL: 'http://127.0.0.1/v1', fetch, maxRetries: 0 });
  const tools = [...new Set(called)].map((name) => ({
    type: 'function' as const,
    function: { name, strict: true, parameters: { type: 'object', properties: {} } },
  }));
  const stream = client.chat.completions.stream({ model: 'm', messages: [], ...(tools.length > 0 ? { tools } : {}) });
  return JSON.parse(JSON.stringify(await stream.finalChatCompletion())) as JsonValue;
}

for (const { name, bytes } of streams) {
  const events = readFrames([bytes]);

  t.test(`translates ${name}`, async (t) => {
    const said = saidInStream(bytes);
    t.not(said.finish, null, 'the second reading found the end');
    for (const includeUsage of [true, false]) {
      const { translator, out } = run(events, includeUsage);
      t.same(streamFaults(out, includeUsage), [], 'every rule holds');
      t.equal(translator.failure, null);
      t.equal(out.at(-1)?.data, '[DONE]');
      const sum = sumChoices(chunksOf(out)).get(0);
      t.match(sum, { text: said.text, reasoning: said.reasoning, finish: said.finish });
      t.same(parsed((sum?.calls ?? []).map(({ arguments: json, ...call }) => ({ ...call, json }))), parsed(said.calls));
      const blocks = chunksOf(out).flatMap((chunk) => objects(at(chunk, 'choices', 0, 'delta', 'thinking_blocks')));
      t.same(
        blocks.map((block) => textAt(block, 'signature') || textAt(block, 'data')),
        said.secrets,
      );
      t.equal(translator.usage()?.promptTokens ?? null, said.prompt);
      t.equal(translator.usage()?.completionTokens ?? null, said.completion);
    }
    if (said.finish === 'length') return;
    const called = said.calls.map((call) => call.name);
    const completion = await readBySdk(run(events).out, called);
    t.equal(textAt(completion, 'choices', 0, 'message', 'content'), said.text);
    t.equal(objects(at(completion, 'choices', 0, 'message', 'tool_calls')).length, called.length);
  });

  t.test(`c105 translates the same however the bytes come: ${name}`, (t) => {
    const whole = sseText(run(events).out);
    for (const { name: way, chunks } of feedings(bytes, 50)) t.ok(sseText(run(readFrames(chunks)).out) === whole, way);
    t.end();
  });

  t.test(`gives no end before its time: ${name}`, (t) => {
    const whole = sseText(run(events).out);
    let faults = 0;
    for (let cut = 0; cut < events.length; cut += 1) {
      const before = events.slice(0, cut);
      const { translator, out } = run(before);
      const isOver = before.some(({ event }) => event === 'messageStop');
      if (translator.isComplete !== isOver || (out.at(-1)?.data === '[DONE]') !== isOver) faults += 1;
      if (!isOver && !whole.startsWith(sseText(out))) faults += 1;
    }
    t.equal(faults, 0);
    t.end();
  });
}

for (const { name, bytes } of streams) {
  t.test(`c27 makes no end of a connection that broke off at any byte: ${name}`, (t) => {
    const random = seededRandom(bytes.length);
    let [faults, complete] = [0, 0];
    for (let count = 0; count < 200; count += 1) {
      const before = readFrames([bytes.subarray(0, Math.floor(random() * (bytes.length + 1)))]);
      const { translator, out } = run(before);
      const isOver = before.some(({ event }) => event === 'messageStop');
      if (isOver) complete += 1;
      if (translator.failure !== null || translator.isComplete !== isOver) faults += 1;
      if ((out.at(-1)?.data === '[DONE]') !== isOver) faults += 1;
      if (isOver && streamFaults(out, true).length > 0) faults += 1;
    }
    t.equal(faults, 0);
    t.ok(complete < 200);
    t.end();
  });
}

/** The same answer as the API would stream it. */
function streamed(body: JsonObject): SseEvent[] {
  const blocks = objects(at(body, 'output', 'message', 'content')).flatMap((block, contentBlockIndex) => [
    ...pieces(block).map(([event, said]): [string, JsonObject] => [event, { contentBlockIndex, ...said }]),
    ['contentBlockStop', { contentBlockIndex }] as [string, JsonObject],
  ]);
  const { stopReason, output: _output, ...rest } = body;
  const events: [string, JsonObject][] = [
    ['messageStart', { role: 'assistant' }],
    ...blocks,
    ['metadata', rest],
    ['messageStop', { stopReason }],
  ];
  return events.map(([event, data]) => ({ event, data: JSON.stringify(data) }));
}

function pieces({ text, toolUse, toolResult, reasoningContent }: JsonObject): [string, JsonObject][] {
  if (isJsonObject(toolUse)) {
    const { input, ...start } = toolUse;
    return [
      ['contentBlockStart', { start: { toolUse: start } }],
      ['contentBlockDelta', { delta: { toolUse: { input: JSON.stringify(input) } } }],
    ];
  }
  if (isJsonObject(toolResult)) return [['contentBlockStart', { start: { toolResult } }]];
  const reasoned = at(reasoningContent, 'reasoningText');
  const deltas = isJsonObject(reasoned)
    ? Object.entries(reasoned).map(([key, value]) => ({ reasoningContent: { [key]: value } }))
    : [reasoningContent === undefined ? { text } : { reasoningContent }];
  return deltas.toSorted(textFirst).map((delta) => ['contentBlockDelta', { delta }]);
}

const textFirst = (one: JsonObject): number => (at(one, 'reasoningContent', 'text') === undefined ? 1 : -1);

for (const { name, body } of replies) {
  t.test(`adapts ${name}`, (t) => {
    t.equal(bedrock.findError(body, ''), null, 'a good reply holds no error');
    const said = saidInReply(body);
    const adapted = chat.response(body, replyContext());
    const message = at(adapted.body, 'choices', 0, 'message');
    t.equal(at(message, 'content'), said.text === '' && said.calls.length > 0 ? null : said.text);
    t.equal(textAt(message, 'reasoning_content'), said.reasoning);
    t.equal(at(adapted.body, 'choices', 0, 'finish_reason'), said.finish);
    const shown = objects(at(message, 'tool_calls')).map((call) => ({
      id: textAt(call, 'id'),
      name: textAt(call, 'function', 'name'),
      json: textAt(call, 'function', 'arguments'),
    }));
    t.same(parsed(shown), parsed(said.calls));
    t.same(
      objects(at(message, 'thinking_blocks')).map((block) => textAt(block, 'signature') || textAt(block, 'data')),
      said.secrets,
    );
    t.match(adapted.usage, { promptTokens: said.prompt, completionTokens: said.completion });
    t.equal(at(adapted.body, 'usage', 'total_tokens'), at(body, 'usage', 'totalTokens'));
    t.end();
  });

  t.test(`says the same in a stream: ${name}`, (t) => {
    const adapted = chat.response(body, replyContext());
    const message = at(adapted.body, 'choices', 0, 'message');
    const { out, translator } = run(streamed(body));
    const deltas = chunksOf(out).map((chunk) => at(chunk, 'choices', 0, 'delta'));
    for (const member of ['content', 'reasoning_content']) {
      t.equal(deltas.map((delta) => textAt(delta, member)).join(''), textAt(message, member), member);
    }
    t.same(
      deltas.flatMap((delta) => objects(at(delta, 'thinking_blocks'))),
      objects(at(message, 'thinking_blocks')),
    );
    t.same(
      sumChoices(chunksOf(out)).get(0)?.calls,
      objects(at(message, 'tool_calls')).map((call) => ({
        id: call.id,
        name: at(call, 'function', 'name'),
        arguments: at(call, 'function', 'arguments'),
      })),
    );
    t.same(translator.usage(), adapted.usage);
    t.equal(chunksOf(out).at(-1)?.service_tier, adapted.body?.service_tier);
    t.end();
  });
}

for (const { name, body, exchange } of errors) {
  t.test(`maps the error of ${name}`, (t) => {
    t.match(bedrock.mapError(exchange?.status ?? 0, body), { status: 404, code: 'model_not_found' });
    t.not(bedrock.findError(body, ''), null);
    t.end();
  });
}

if (hasRecordings()) {
  t.test('has read the recordings, and passed over only those of other dialects', (t) => {
    t.equal(streams.length, 12, 'streams');
    t.equal(replies.length, 28, 'replies');
    t.equal(errors.length, 2, 'errors');
    t.same(
      others.filter(
        (name) =>
          !/^(?:reused_tool|gpt_oss|safeguard|bedrock_count|bedrock_model_usage|anthropic_cache|TestBedrock)/.test(
            name,
          ),
      ),
      [],
    );
    t.end();
  });
}
