/**
 * Every recorded answer of an OpenAI-shaped upstream, run through its own vendor's adapter. What must come out is derived
 * here from the file itself, by a second and much simpler reading of it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createDeclaredProvider, registry, type ProviderId } from '../../providers/index.ts';
import type { Usage } from '../../src/contract/flow.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/contract/json.ts';
import type { ChatEndpoint, ProviderAdapter, SseEvent, StreamTranslator } from '../../src/contract/provider.ts';
import { SseReader } from '../../src/upstream/sse.ts';
import { feedings } from '../support/byte-feedings.ts';
import { chunksOf, objects, streamFaults, sumChoices, type ChoiceSum } from '../support/chat-stream.ts';
import { at, parseObject, textAt } from '../support/json-at.ts';
import { hasRecordings, recordings, type Recording } from '../support/recordings.ts';
import { replyContext } from '../support/reply-context.ts';
import { readBySdk } from '../support/sdk-referee.ts';
import { editOf } from '../support/sent-body.ts';
import { sseEvents, sseText } from '../support/sse-lines.ts';

type Stream = Extract<Recording, { kind: 'stream' }>;
type Reply = Extract<Recording, { kind: 'reply' }>;

const declared = createDeclaredProvider({ id: 'recorded', dialect: 'openai-compat', baseUrl: 'http://127.0.0.1/v1' });
/** Folders whose name is not the vendor's, and single files that are another's. */
const vendors: readonly (readonly [prefix: string, id: ProviderId])[] = [
  ['azure/', 'azure-openai'],
  ['openai/dev/azure-', 'azure-openai'],
  ['huggingface-router/', 'huggingface'],
  ['together-via-huggingface/', 'huggingface'],
  ['togetherai/', 'together'],
  ['moonshotai/', 'moonshot'],
  ['vllm-crusoe/', 'vllm'],
  ...(Object.keys(registry) as ProviderId[]).map((id) => [`${id}/`, id] as const),
];

/** Passed through untouched, or recorded in another dialect; what these folders hold of chat is anybody's. */
const apart = /^(?:openai|anthropic|bedrock|google|google-vertex|cohere)\/dev\/(?!azure-)/;

function adapterOf(name: string): ProviderAdapter {
  const id = vendors.find(([prefix]) => name.startsWith(prefix))?.[1];
  return id === undefined || apart.test(name) ? declared : registry[id];
}

const own = readFileSync(join(import.meta.dirname, '../fixtures/providers/together/stream.in'), 'utf8');
const all: Recording[] = [
  { kind: 'stream', name: 'together/our own fixture', events: sseEvents(own), request: null },
  ...(hasRecordings() ? recordings() : []),
];
if (!hasRecordings()) t.comment('fixtures absent: the recorded answers are not beside this repository');

function chatOf(name: string): ChatEndpoint {
  const { chat } = adapterOf(name).endpoints;
  if (chat === undefined) throw new Error(`${name} is of no chat endpoint`);
  return chat;
}

function translate(name: string, context: Parameters<ChatEndpoint['response']>[1]): StreamTranslator {
  const translator = chatOf(name).stream?.(context);
  if (translator === undefined) throw new Error(`${name} is of a vendor that passes through`);
  return translator;
}

const isChatStream = (recording: Recording): recording is Stream =>
  recording.kind === 'stream' &&
  recording.events.some(({ data }) => data.includes('"choices"') && data.includes('"delta"'));

const isChatReply = (recording: Recording): recording is Reply =>
  recording.kind === 'reply' && recording.status < 400 && isJsonObject(at(recording.body, 'choices', 0, 'message'));

const finishWords: Record<string, string> = {
  eos: 'stop',
  stub: 'stop',
  model_length: 'length',
  function_call: 'tool_calls',
};
const finishOf = (value: JsonValue | undefined): string | null =>
  typeof value === 'string' && value !== '' ? (finishWords[value] ?? value) : null;

function contentOf(message: JsonValue | undefined): { text: string; reasoning: string } {
  const content = at(message, 'content');
  const blocks = objects(content);
  const thoughts = blocks.flatMap((block) => objects(block.thinking)).map((thought) => textAt(thought, 'text'));
  const details = objects(at(message, 'reasoning_details')).map((detail) => textAt(detail, 'text'));
  const plain = textAt(message, 'reasoning_content') || textAt(message, 'reasoning');
  return {
    text: typeof content === 'string' ? content : blocks.map((block) => textAt(block, 'text')).join(''),
    reasoning: plain || thoughts.join('') || details.join(''),
  };
}

/** Payloads up to the end marker, and to the first error. */
function payloads(stream: Stream): { chunks: JsonObject[]; hasError: boolean; hasMarker: boolean } {
  const marker = stream.events.findIndex(({ data }) => data === '[DONE]');
  const upTo = stream.events.slice(0, marker < 0 ? undefined : marker).map(({ data }) => parseObject(data));
  const error = upTo.findIndex((chunk) => chunk.error !== undefined);
  return { chunks: error < 0 ? upTo : upTo.slice(0, error), hasError: error >= 0, hasMarker: marker >= 0 };
}

function derived(chunks: readonly JsonObject[]): Map<number, ChoiceSum> {
  const sums = new Map<number, ChoiceSum>();
  for (const choice of chunks.flatMap((chunk) => objects(chunk.choices))) {
    const sum = sums.get(Number(choice.index)) ?? { text: '', reasoning: '', calls: [], finish: null };
    sums.set(Number(choice.index), sum);
    const said = contentOf(choice.delta);
    sum.text += said.text;
    sum.reasoning += said.reasoning;
    for (const call of objects(at(choice.delta, 'tool_calls'))) {
      if (textAt(call, 'function', 'name') !== '') sum.calls.push({ id: textAt(call, 'id'), name: '', arguments: '' });
      const last = sum.calls.at(-1);
      if (last === undefined) continue;
      last.name += textAt(call, 'function', 'name');
      last.arguments += textAt(call, 'function', 'arguments');
    }
    sum.finish ??= finishOf(choice.finish_reason);
  }
  return sums;
}

function derivedUsage(bodies: readonly JsonObject[]): { prompt: number; total: number } | null {
  const last = bodies.map((body) => body.usage ?? at(body.x_groq, 'usage')).findLast((usage) => isJsonObject(usage));
  if (last === undefined) return null;
  const [prompt, completion] = [Number(at(last, 'prompt_tokens')), Number(at(last, 'completion_tokens'))];
  return { prompt, total: Math.max(prompt + completion, Number(at(last, 'total_tokens'))) };
}

const summed = (usage: Usage | null): { prompt: number; total: number } | null =>
  usage === null ? null : { prompt: usage.promptTokens, total: usage.promptTokens + usage.completionTokens };

/** Names and parsed arguments: ids may be replaced and arguments spelled anew. */
const comparable = (sum: ChoiceSum): object => ({
  ...sum,
  calls: sum.calls.map((call) => ({ name: call.name, arguments: JSON.parse(call.arguments || '{}') as JsonValue })),
});

function run(stream: Stream, includeUsage: boolean): { translator: StreamTranslator; out: SseEvent[] } {
  const translator = translate(stream.name, replyContext({ includeUsage }));
  const out = stream.events.flatMap((event) => translator.push(event));
  out.push(...translator.end());
  return { translator, out };
}

for (const stream of all.filter(isChatStream)) {
  t.test(`normalises ${stream.name}`, async (t) => {
    const { chunks, hasError, hasMarker } = payloads(stream);
    const expected = derived(chunks);
    const isWhole = !hasError && (hasMarker || [...expected.values()].every((sum) => sum.finish !== null));
    for (const sum of expected.values()) {
      if (isWhole) sum.finish ??= sum.calls.length > 0 ? 'tool_calls' : 'stop';
    }
    for (const includeUsage of [true, false]) {
      const { translator, out } = run(stream, includeUsage);
      t.same(streamFaults(out, includeUsage), [], 'every rule holds');
      t.equal(translator.failure !== null, hasError, 'an error is seen where there is one');
      t.equal(out.at(-1)?.data === '[DONE]', isWhole, 'an end marker only for a whole answer');
      const sums = sumChoices(chunksOf(out));
      for (const [index, sum] of expected) {
        const got = sums.get(index);
        t.ok(got !== undefined);
        if (got !== undefined) t.same(comparable(got), comparable(sum), 'text, reasoning, calls and finish');
      }
      if (!hasError)
        t.same(
          summed(translator.usage()),
          derivedUsage(stream.events.map(({ data }) => (data === '[DONE]' ? {} : parseObject(data)))),
        );
      const usageChunk = chunksOf(out).find((chunk) => isJsonObject(chunk.usage));
      t.equal(usageChunk !== undefined, isWhole && includeUsage && translator.usage() !== null);
      if (usageChunk !== undefined) {
        const figures = ['prompt_tokens', 'completion_tokens', 'total_tokens'].map((key) =>
          Number(at(usageChunk.usage, key)),
        );
        t.equal((figures[0] ?? 0) + (figures[1] ?? 0), figures[2], 'the total is the sum');
      }
      t.same(run(stream, includeUsage).out, out, 'a second attempt gives the same');
    }
    const first = [...expected.values()][0];
    if (isWhole && first?.finish !== 'length') {
      const completion = await readBySdk(run(stream, true).out);
      t.equal(textAt(completion, 'choices', 0, 'message', 'content'), first?.text ?? '');
      t.equal(objects(at(completion, 'choices', 0, 'message', 'tool_calls')).length, first?.calls.length);
    }
  });

  t.test(`gives the same however its bytes arrive: ${stream.name}`, (t) => {
    const whole = sseText(run(stream, true).out);
    const bytes = Buffer.from(sseText(stream.events));
    for (const { name, chunks } of feedings(bytes, 50)) {
      const translator = translate(stream.name, replyContext({ includeUsage: true }));
      const reader = new SseReader();
      const events = chunks.flatMap((chunk) => [...reader.push(chunk)]);
      const out = events.flatMap((event) => translator.push(event));
      if (sseText([...out, ...translator.end()]) !== whole) t.fail(name);
    }
    t.not(whole, '');
    t.end();
  });

  t.test(`gives no end before its time: ${stream.name}`, (t) => {
    const translator = translate(stream.name, replyContext());
    let faults = 0;
    let hasFinish = false;
    for (const event of stream.events) {
      if (!hasFinish && (translator.isComplete || translator.end().length > 0)) faults += 1;
      translator.push(event);
      if (event.data === '[DONE]') hasFinish = true;
      else
        hasFinish ||= objects(parseObject(event.data).choices).some(
          (choice) => finishOf(choice.finish_reason) !== null,
        );
      if (translator.failure !== null) break;
    }
    t.equal(faults, 0);
    t.end();
  });
}

for (const reply of all.filter(isChatReply)) {
  t.test(`adapts ${reply.name}`, (t) => {
    const body = isJsonObject(reply.body) ? reply.body : {};
    t.equal(adapterOf(reply.name).findError(body, ''), null, 'a good reply holds no error');
    const adapted = chatOf(reply.name).response(body, replyContext());
    const out = adapted.body ?? body;
    t.equal(out.object, 'chat.completion');
    t.equal(out.model, 'public-model');
    t.not(out.id, '');
    t.same(summed(adapted.usage), derivedUsage([body]));
    for (const [position, source] of objects(body.choices).entries()) {
      const choice = at(out, 'choices', position);
      const message = at(choice, 'message');
      const said = contentOf(source.message);
      const calls = objects(at(source.message, 'tool_calls'));
      t.equal(at(message, 'role'), 'assistant');
      t.equal(at(message, 'content'), said.text === '' && calls.length > 0 ? null : said.text);
      t.equal(textAt(message, 'reasoning_content'), said.reasoning);
      t.equal(
        at(choice, 'finish_reason'),
        finishOf(source.finish_reason) ?? (calls.length > 0 ? 'tool_calls' : 'stop'),
      );
      const shown = objects(at(message, 'tool_calls'));
      t.same(
        shown.map((call) => at(call, 'function', 'name')),
        calls.map((call) => at(call, 'function', 'name')),
      );
      t.ok(shown.every((call) => call.type === 'function' && textAt(call, 'id') !== '' && call.custom === undefined));
      t.ok(shown.every((call) => isJsonObject(JSON.parse(textAt(call, 'function', 'arguments')) as JsonValue)));
      t.equal(Array.isArray(at(message, 'tool_calls')), calls.length > 0, 'no empty list of calls');
    }
    t.end();
  });
}

/** Null, empty or the default. */
const saysNothing = (value: JsonValue | undefined): boolean =>
  value === null || value === 1 || value === 'auto' || (Array.isArray(value) && value.length === 0);

for (const { name, request } of all) {
  if (request === null || !Array.isArray(request.messages) || adapterOf(name) === declared) continue;
  t.test(`hands on the request of ${name}, which the vendor took`, (t) => {
    const model = textAt(request, 'model');
    const { set, remove, dropped } = editOf(chatOf(name).request(request, { upstreamModel: model, model: null }));
    const lost = remove.filter((key) => !saysNothing(request[key]) && key !== 'max_completion_tokens');
    t.same(lost, []);
    const fates = chatOf(name).fates ?? {};
    if (fates['tools.strict'] === 'mapped') t.same(dropped, []);
    t.same(
      dropped.filter((path) => !/^tools\.\d+\.function\.strict$|^messages\.\d+\.reasoning$/.test(path)),
      [],
      'what the table drops is all that is dropped',
    );
    for (const key of ['tool_choice', 'response_format', 'reasoning_effort', 'temperature', 'stop', 'seed']) {
      t.equal(set[key], undefined, `${key} is in the vendor's words already`);
    }
    t.end();
  });
}

const isChatError = (recording: Recording): recording is Reply =>
  recording.kind === 'reply' &&
  recording.status >= 400 &&
  /^(?:openai|groq|openrouter|_documented-shapes)\//.test(recording.name);

for (const reply of all.filter(isChatError)) {
  t.test(`maps the error of ${reply.name}`, (t) => {
    const error = adapterOf(reply.name).mapError(reply.status, reply.body);
    const shown = error.toBody().error;
    t.not(error.status, 401, "an upstream's 401 is never the caller's");
    t.match(Object.keys(shown), ['message', 'type', 'param', 'code']);
    t.notMatch(JSON.stringify(shown), /<html|https?:\/\/|\borg-|sk-/);
    if (error.status === 400) t.not(shown.message, '');
    t.end();
  });
}
