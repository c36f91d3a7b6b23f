/**
 * Every recorded answer of Anthropic's, run through the adapter: whole, byte by byte and cut at random. What must come out
 * is derived here from the file itself, by a second and much simpler reading of it; and where the file has the request as
 * well, the same conversation in OpenAI's form must become that request again.
 */
import t from 'tap';
import { anthropic } from '../../providers/anthropic.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/contract/json.ts';
import type { ChatEndpoint, SseEvent, StreamTranslator } from '../../src/contract/provider.ts';
import { SseReader } from '../../src/upstream/sse.ts';
import { streamed } from '../support/anthropic-stream.ts';
import { feedings, seededRandom } from '../support/byte-feedings.ts';
import { chunksOf, objects, streamFaults, sumChoices } from '../support/chat-stream.ts';
import { claude } from '../support/claude-models.ts';
import { at, parseObject, textAt } from '../support/json-at.ts';
import { hasRecordings, recordings, type Recording } from '../support/recordings.ts';
import { replyContext } from '../support/reply-context.ts';
import { readBySdk } from '../support/sdk-referee.ts';
import { sseText } from '../support/sse-lines.ts';

type Stream = Extract<Recording, { kind: 'stream' }>;
type Reply = Extract<Recording, { kind: 'reply' }>;

const all = hasRecordings() ? recordings().filter(({ name }) => /^(?:anthropic|_documented-shapes)\//.test(name)) : [];
if (all.length === 0) t.comment('fixtures absent: the recorded answers are not beside this repository');

const chat = anthropic.endpoints.chat as ChatEndpoint & Required<Pick<ChatEndpoint, 'stream'>>;

/** Lines without frames get the ones that the API gives them. */
const framed = (events: readonly SseEvent[]): SseEvent[] =>
  events
    .filter(({ data }) => data !== '[DONE]')
    .map(({ event, data }) => ({ event: event === '' ? textAt(parseObject(data), 'type') : event, data }));

const streams = all
  .filter((recording): recording is Stream => recording.kind === 'stream')
  .map((stream) => ({ ...stream, events: framed(stream.events) }))
  .filter(({ events }) => events.some(({ event }) => event === 'message_start'));
const replies = all.filter(
  (recording): recording is Reply =>
    recording.kind === 'reply' && recording.status < 400 && Array.isArray(at(recording.body, 'content')),
);

type Said = {
  text: string;
  reasoning: string;
  calls: { name: string; id: string; json: string }[];
  signed: string[];
  finish: string | null;
  prompt: number | null;
  completion: number | null;
};

const finishWords: Record<string, string> = {
  max_tokens: 'length',
  model_context_window_exceeded: 'length',
  tool_use: 'tool_calls',
  refusal: 'content_filter',
};

const input = (usage: JsonValue | undefined): number =>
  ['input_tokens', 'cache_read_input_tokens', 'cache_creation_input_tokens']
    .map((name) => Number(at(usage, name) ?? 0))
    .reduce((sum, count) => sum + count);

function saidInBlocks(blocks: readonly JsonObject[], stop: JsonValue | undefined, usage: JsonValue | undefined): Said {
  const join = (type: string, member: string): string =>
    blocks
      .filter((block) => block.type === type)
      .map((block) => textAt(block, member))
      .join('');
  return {
    text: join('text', 'text'),
    reasoning: join('thinking', 'thinking'),
    calls: blocks
      .filter((block) => block.type === 'tool_use')
      .map((block) => ({ name: textAt(block, 'name'), id: textAt(block, 'id'), json: JSON.stringify(block.input) })),
    signed: blocks
      .filter((block) => textAt(block, 'signature') !== '' || textAt(block, 'data') !== '')
      .map((block) => textAt(block, 'signature') || textAt(block, 'data')),
    finish: typeof stop === 'string' ? (finishWords[stop] ?? 'stop') : null,
    prompt: isJsonObject(usage) ? input(usage) : null,
    completion: isJsonObject(usage) ? Number(usage.output_tokens) : null,
  };
}

/** The blocks of a stream put together by their index, nothing else. */
function saidInStream(events: readonly SseEvent[]): Said {
  const blocks: JsonObject[] = [];
  let usage: JsonObject = {};
  let stop: JsonValue | undefined = null;
  for (const body of events.map(({ data }) => parseObject(data))) {
    const index = Number(body.index);
    const delta = isJsonObject(body.delta) ? body.delta : {};
    if (body.type === 'content_block_start') blocks[index] = { ...(body.content_block as JsonObject) };
    const block = blocks[index] ?? {};
    for (const [from, to] of [
      ['text', 'text'],
      ['thinking', 'thinking'],
      ['signature', 'signature'],
      ['partial_json', 'json'],
    ] as const) {
      if (body.type === 'content_block_delta' && typeof delta[from] === 'string')
        block[to] = textAt(block, to) + delta[from];
    }
    const figures = at(body, 'message', 'usage') ?? body.usage;
    if (isJsonObject(figures)) usage = { ...usage, ...figures };
    stop = delta.stop_reason ?? stop;
  }
  const said = saidInBlocks(blocks, stop, usage);
  const called = blocks.filter((block) => block.type === 'tool_use');
  return {
    ...said,
    calls: said.calls.map((call, index) => ({ ...call, json: textAt(called[index], 'json') || '{}' })),
  };
}

function run(events: readonly SseEvent[], includeUsage = true): { translator: StreamTranslator; out: SseEvent[] } {
  const translator = chat.stream(replyContext({ includeUsage }));
  const out = events.flatMap((event) => translator.push(event));
  out.push(...translator.end());
  return { translator, out };
}

const parsedCalls = (calls: readonly { name: string; id: string; json: string }[]): object[] =>
  calls.map(({ json, ...call }) => ({ ...call, input: JSON.parse(json) as JsonValue }));

for (const stream of streams) {
  t.test(`translates ${stream.name}`, async (t) => {
    const said = saidInStream(stream.events);
    const hasError = stream.events.some(({ event }) => event === 'error');
    const isCutJson = said.finish === 'length' && said.calls.length > 0;
    for (const includeUsage of [true, false]) {
      const { translator, out } = run(stream.events, includeUsage);
      if (!isCutJson) t.same(streamFaults(out, includeUsage), [], 'every rule holds');
      t.equal(translator.failure !== null, hasError);
      t.equal(out.at(-1)?.data === '[DONE]', said.finish !== null && !hasError);
      const sum = sumChoices(chunksOf(out)).get(0);
      t.equal(sum?.text, said.text);
      t.equal(sum?.reasoning, said.reasoning);
      t.equal(sum?.finish ?? null, hasError ? null : said.finish);
      const shown = (sum?.calls ?? []).map(({ arguments: json, ...call }) => ({ ...call, json }));
      if (isCutJson) t.same(shown, said.calls);
      else t.same(parsedCalls(shown), parsedCalls(said.calls));
      const blocks = chunksOf(out).flatMap((chunk) => objects(at(chunk, 'choices', 0, 'delta', 'thinking_blocks')));
      t.same(
        blocks.map((block) => textAt(block, 'signature') || textAt(block, 'data')),
        said.signed,
      );
      t.equal(translator.usage()?.promptTokens, said.prompt);
      if (!hasError) t.equal(translator.usage()?.completionTokens, said.completion);
    }
    if (hasError || said.finish === 'length') return;
    const completion = await readBySdk(run(stream.events).out);
    t.equal(textAt(completion, 'choices', 0, 'message', 'content'), said.text);
    t.equal(objects(at(completion, 'choices', 0, 'message', 'tool_calls')).length, said.calls.length);
  });

  t.test(`translates the same however the bytes come: ${stream.name}`, (t) => {
    const whole = sseText(run(stream.events).out);
    for (const { name, chunks } of feedings(Buffer.from(sseText(stream.events)), 50)) {
      const reader = new SseReader();
      const events = [...chunks.flatMap((chunk) => reader.push(chunk)), ...reader.end()];
      t.ok(sseText(run(events).out) === whole, name);
    }
    t.end();
  });

  t.test(`gives no end before its time: ${stream.name}`, (t) => {
    const whole = sseText(run(stream.events).out);
    let faults = 0;
    for (let cut = 0; cut < stream.events.length; cut += 1) {
      const { translator, out } = run(stream.events.slice(0, cut));
      const isOver = stream.events
        .slice(0, cut)
        .some(({ data }) => /"stop_reason": ?"/.test(data) && data.includes('message_delta'));
      if (translator.isComplete !== isOver || (out.at(-1)?.data === '[DONE]') !== isOver) faults += 1;
      if (!isOver && !whole.startsWith(sseText(out))) faults += 1;
    }
    t.equal(faults, 0);
    t.end();
  });
}

for (const stream of streams) {
  t.test(`ends only where the answer does, cut at any byte: ${stream.name}`, (t) => {
    const events = stream.events.map(({ event, data }) => ({ event, data: data.trim() }));
    const bytes = Buffer.from(sseText(events));
    const stop = events.findIndex(({ data }) => data.includes('message_delta') && /"stop_reason": ?"/.test(data));
    const enough = stop < 0 ? Infinity : Buffer.byteLength(sseText(events.slice(0, stop + 1)).trimEnd());
    const random = seededRandom(bytes.length);
    let faults = 0;
    for (let round = 0; round < 200; round += 1) {
      const cut = Math.floor(random() * bytes.length);
      const reader = new SseReader();
      const read = [...reader.push(bytes.subarray(0, cut)), ...reader.end()];
      const isWhole = run(read).out.at(-1)?.data === '[DONE]';
      if (isWhole !== cut >= enough) faults += 1;
    }
    t.equal(faults, 0);
    t.end();
  });
}

for (const reply of replies) {
  t.test(`adapts ${reply.name}`, (t) => {
    const body = isJsonObject(reply.body) ? reply.body : {};
    t.equal(anthropic.findError(body, ''), null, 'a good reply holds no error');
    const said = saidInBlocks(objects(body.content), body.stop_reason, body.usage);
    const adapted = chat.response(body, replyContext());
    const message = at(adapted.body, 'choices', 0, 'message');
    t.equal(
      at(message, 'content'),
      said.text === '' && (said.calls.length > 0 || said.finish === 'content_filter') ? null : said.text,
    );
    t.equal(textAt(message, 'reasoning_content'), said.reasoning);
    t.equal(at(adapted.body, 'choices', 0, 'finish_reason'), said.finish);
    t.same(
      objects(at(message, 'tool_calls')).map((call) => ({
        name: textAt(call, 'function', 'name'),
        id: textAt(call, 'id'),
        input: JSON.parse(textAt(call, 'function', 'arguments')) as JsonValue,
      })),
      parsedCalls(said.calls),
    );
    t.equal(adapted.usage?.promptTokens, said.prompt);
    t.equal(adapted.usage?.completionTokens, said.completion);
    t.equal(at(adapted.body, 'usage', 'total_tokens'), (said.prompt ?? 0) + (said.completion ?? 0));
    const content = textAt(message, 'content');
    for (const annotation of objects(at(message, 'annotations'))) {
      const { url, start_index: start, end_index: end } = at(annotation, 'url_citation') as JsonObject;
      const cited = objects(body.content).find((block) => objects(block.citations).some((one) => one.url === url));
      t.ok(cited !== undefined);
      t.ok(
        objects(body.content).some((block) => block.text === content.slice(Number(start), Number(end))),
        'offsets fit',
      );
    }
    t.end();
  });

  t.test(`says the same in a stream: ${reply.name}`, (t) => {
    const body = isJsonObject(reply.body) ? reply.body : {};
    const message = at(chat.response(body, replyContext()).body, 'choices', 0, 'message');
    const { out, translator } = run(streamed(body));
    const deltas = chunksOf(out).map((chunk) => at(chunk, 'choices', 0, 'delta'));
    for (const member of ['thinking_blocks', 'annotations', 'citations']) {
      t.same(
        deltas.flatMap((delta) => objects(at(delta, member))),
        objects(at(message, member)),
        member,
      );
    }
    for (const member of ['content', 'reasoning_content', 'refusal']) {
      t.equal(deltas.map((delta) => textAt(delta, member)).join(''), textAt(message, member), member);
    }
    t.same(
      sumChoices(chunksOf(out)).get(0)?.calls,
      objects(at(message, 'tool_calls')).map((call) => ({
        id: call.id,
        name: at(call, 'function', 'name'),
        arguments: at(call, 'function', 'arguments'),
      })),
    );
    t.same(translator.usage(), chat.response(body, replyContext()).usage);
    const containers = chunksOf(out).flatMap(({ container }) => (container === undefined ? [] : [container]));
    t.same(containers, isJsonObject(body.container) ? [body.container] : []);
    t.same(at(chat.response(body, replyContext()).body, 'container'), body.container ?? undefined);
    t.end();
  });
}

for (const reply of all) {
  if (reply.kind !== 'reply' || reply.status < 400 || !reply.name.includes('/anthropic')) continue;
  t.test(`maps the error of ${reply.name}`, (t) => {
    const error = anthropic.mapError(reply.status, reply.body);
    t.not(error.status, 401);
    if (error.status === 400) t.not(error.message, '');
    t.notMatch(error.message, /req_|credit balance/);
    t.end();
  });
}

/** A recorded request in OpenAI's words; null where it has something that chat cannot say. */
function asChat(recorded: JsonObject): JsonObject | null {
  const { system, messages, tools, tool_choice, output_config, stop_sequences, thinking, ...same } = recorded;
  const written = objects(messages).map(chatMessages);
  if (written.includes(null)) return null;
  const leading = system === undefined ? [] : [{ role: 'system', content: system }];
  const format = at(output_config, 'format', 'schema');
  const effort = at(output_config, 'effort');
  return {
    ...same,
    messages: [...leading, ...written.flatMap((list) => list ?? [])],
    ...(tools === undefined ? {} : { tools: objects(tools).map(chatTool) }),
    ...(isJsonObject(tool_choice) ? { tool_choice: tool_choice.type === 'any' ? 'required' : tool_choice.type } : {}),
    ...(format === undefined
      ? {}
      : { response_format: { type: 'json_schema', json_schema: { name: 'a', schema: format } } }),
    ...(effort === undefined ? {} : { reasoning_effort: effort }),
    ...(stop_sequences === undefined ? {} : { stop: stop_sequences }),
    ...(thinking === undefined ? {} : { thinking }),
  };
}

function chatTool(tool: JsonObject): JsonObject {
  const { name, description, input_schema: parameters, strict, ...own } = tool;
  if (parameters === undefined) return tool;
  const declared = { name, description, parameters, ...(strict === undefined ? {} : { strict }) };
  return { type: 'function', function: declared, ...own };
}

function chatPart(block: JsonObject): JsonObject | null {
  if (block.type === 'text') return block;
  const url = at(block, 'source', 'url');
  return typeof url === 'string' ? { type: 'image_url', image_url: { url } } : null;
}

function chatMessages(message: JsonObject): JsonObject[] | null {
  const blocks =
    typeof message.content === 'string' ? [{ type: 'text', text: message.content }] : objects(message.content);
  if (message.role === 'assistant') return chatAnswer(blocks);
  const results = blocks
    .filter((block) => block.type === 'tool_result')
    .map((block) => ({
      role: 'tool',
      tool_call_id: block.tool_use_id,
      content: block.content,
      is_error: block.is_error,
    }));
  const parts = blocks.filter((block) => block.type !== 'tool_result').map(chatPart);
  if (parts.includes(null)) return null;
  return [...(results as JsonObject[]), ...(parts.length === 0 ? [] : [{ role: message.role, content: parts }])];
}

function chatAnswer(blocks: readonly JsonObject[]): JsonObject[] | null {
  const known = new Set(['text', 'thinking', 'tool_use']);
  if (blocks.some((block) => !known.has(textAt(block, 'type')))) return null;
  const content = blocks
    .filter((block) => block.type === 'text')
    .map((block) => textAt(block, 'text'))
    .join('');
  const calls = blocks
    .filter((block) => block.type === 'tool_use')
    .map((block) => ({
      id: block.id,
      type: 'function',
      function: { name: block.name, arguments: JSON.stringify(block.input) },
    }));
  const thinking = blocks.filter((block) => block.type === 'thinking');
  return [
    {
      role: 'assistant',
      content: content === '' ? null : content,
      ...(thinking.length === 0 ? {} : { thinking_blocks: thinking }),
      ...(calls.length === 0 ? {} : { tool_calls: calls }),
    },
  ];
}

/** Forms that mean the same to the API. */
function comparable(body: JsonObject): JsonObject {
  const { system, tools, messages, ...others } = body;
  const blocks = (content: JsonValue | undefined): JsonValue | undefined =>
    typeof content === 'string' ? [{ type: 'text', text: content }] : content;
  return {
    ...others,
    stream: others.stream === true,
    ...(system === undefined ? {} : { system: blocks(system) }),
    ...(tools === undefined
      ? {}
      : {
          tools: objects(tools).map(({ description, ...tool }) =>
            description === '' ? tool : { description, ...tool },
          ),
        }),
    messages: objects(messages).map((message) => ({ ...message, content: blocks(message.content) })),
  };
}

const seen: string[] = [];
for (const { name, request } of all) {
  if (request === null || !Array.isArray(request.messages) || request.max_tokens === undefined) continue;
  const body = asChat(request);
  if (body === null) continue;
  seen.push(name);
  t.test(`writes the request of ${name}`, (t) => {
    const { dropped, ...change } = chat.request(body, claude(textAt(request, 'model')));
    const sent = 'body' in change ? change.body : {};
    const isRefused = name.includes('xhigh_unsupported');
    t.same(dropped, []);
    if (isRefused) {
      t.equal(at(sent, 'output_config', 'effort'), 'max', 'the level that was refused is not sent');
      t.end();
      return;
    }
    t.same(comparable(sent), comparable(request));
    t.end();
  });
}

if (all.length > 0) {
  t.test('has read the recordings, not passed them over', (t) => {
    t.ok(streams.length >= 20, `${streams.length} streams`);
    t.ok(replies.length >= 35, `${replies.length} replies`);
    t.ok(seen.length >= 28, `${seen.length} requests`);
    t.end();
  });
}
