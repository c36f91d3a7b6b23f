/**
 * The normaliser: any OpenAI-shaped stream in, the stream that OpenAI's own SDKs accept out. It takes decoded events and
 * gives events; it edits what is there and keeps what it does not know. It must never invent the end of an answer: that
 * comes from a finish reason or an end marker upstream, or not at all. Spec: fidelity 2.3 to 2.5.
 */
import { gatewayError, type GatewayError } from '../src/contract/errors.ts';
import type { Usage } from '../src/contract/flow.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { ReplyContext, SseEvent, StreamTranslator } from '../src/contract/provider.ts';
import { brokenOff, findError, mapError } from './openai-errors.ts';
import { isErrorFinish, mapFinish, type FinishReason } from './openai-finish.ts';
import { toLegacyDeltas, usesLegacyFunctions } from './openai-legacy.ts';
import { isHollow, readMessage, withoutNoise, type MessageParts } from './openai-message.ts';
import { ThinkSplitter } from './openai-think.ts';
import { ToolCallAssembler } from './openai-tool-calls.ts';
import { readUsage, writeUsage } from './openai-usage.ts';

type Choice = {
  index: number;
  tools: ToolCallAssembler;
  /** null: angle brackets are part of the text. */
  think: ThinkSplitter | null;
  hasRole: boolean;
  hasOutput: boolean;
  isFinished: boolean;
};
type Shown = { choice: JsonObject; isFinish: boolean };

const choiceMembers = new Set(['index', 'delta', 'message', 'finish_reason', 'text', 'logprobs']);
const chunkMembers = new Set(['id', 'object', 'created', 'model', 'choices', 'usage', 'x_groq']);
/** Typed clients know these as an enumeration or as null, never as an empty string. */
const neverEmpty = ['service_tier', 'system_fingerprint'];

function parse(data: string): JsonValue | undefined {
  try {
    return JSON.parse(data) as JsonValue;
  } catch {
    // The caller decides by the first character whether this was meant to be JSON.
    return undefined;
  }
}

const lengthOf = (value: JsonValue | undefined): number => (typeof value === 'string' ? value.length : 0);

export class OpenAiStreamNormaliser implements StreamTranslator {
  readonly #context: ReplyContext;
  readonly #noise: readonly string[];
  readonly #isLegacy: boolean;
  readonly #choices = new Map<number, Choice>();
  #failure: GatewayError | null = null;
  #isEnded = false;
  #hasTail = false;
  #id = '';
  #usage: Usage | null = null;
  #usageChunk: JsonObject = {};
  /** Members of chunks that are not handed on; the next chunk takes them along. */
  #carried: JsonObject = {};
  #outputCharacters = 0;

  constructor(context: ReplyContext, noise: readonly string[]) {
    this.#context = context;
    this.#noise = noise;
    this.#isLegacy = usesLegacyFunctions(context.request);
  }

  get failure(): GatewayError | null {
    return this.#failure;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  get isComplete(): boolean {
    if (this.#failure !== null) return false;
    const choices = [...this.#choices.values()];
    return this.#isEnded || (choices.length > 0 && choices.every((choice) => choice.isFinished));
  }

  get outputCharacters(): number {
    return this.#outputCharacters;
  }

  usage(): Usage | null {
    return this.#usage;
  }

  push(event: SseEvent): readonly SseEvent[] {
    const data = event.data.trim();
    if (data === '' || this.#failure !== null) return [];
    if (data === '[DONE]') return this.#endMarker();
    const body = parse(data);
    if (this.#isEnded) {
      if (isJsonObject(body)) this.#meter(body);
      return [];
    }
    if (isJsonObject(body)) return this.#chunk(body, event.event);
    if (body === undefined ? /^[{[<]/.test(data) || event.event === 'error' : Array.isArray(body)) {
      this.#failure = mapError(200, body);
    }
    return [];
  }

  end(): readonly SseEvent[] {
    if (!this.isComplete || this.#hasTail) return [];
    this.#hasTail = true;
    const open = [...this.#choices.values()].filter((choice) => !choice.isFinished);
    const events = open.flatMap((choice) => {
      const reason = choice.tools.hasCalls ? 'tool_calls' : 'stop';
      return this.#write({}, this.#finish(choice, reason, {}));
    });
    if (this.#context.includeUsage && this.#usage !== null) {
      const isOwnChunk = Array.isArray(this.#usageChunk.choices) && this.#usageChunk.choices.length === 0;
      const members = isOwnChunk ? this.#members(this.#usageChunk) : {};
      events.push(this.#event({ ...members, choices: [], usage: writeUsage(this.#usageChunk, this.#usage) }));
    }
    return [...events, { event: '', data: '[DONE]' }];
  }

  #endMarker(): readonly SseEvent[] {
    if (this.#choices.size === 0 && !this.#isEnded) {
      this.#failure = gatewayError('upstreamBadReply', { message: 'The provider ended its answer before it began.' });
    }
    this.#isEnded = true;
    return [];
  }

  #meter(body: JsonObject): void {
    const usage = readUsage(body);
    if (usage === null) return;
    this.#usage = usage;
    this.#usageChunk = body;
  }

  #chunk(body: JsonObject, eventName: string): SseEvent[] {
    this.#meter(body);
    this.#failure = findError(body, eventName);
    const sources = Array.isArray(body.choices) ? body.choices.filter(isJsonObject) : [];
    if (this.#failure !== null) return [];
    if (sources.length === 0) {
      if (Array.isArray(body.choices) && readUsage(body) === null) this.#carry(body);
      return [];
    }
    if (this.#id === '' && typeof body.id === 'string') this.#id = body.id;
    const shown = sources.flatMap((source, position) => this.#choice(source, position));
    return this.#failure === null ? this.#write(body, shown) : [];
  }

  #carry(body: JsonObject): void {
    for (const [key, value] of Object.entries(this.#members(body))) {
      if (value !== null && !neverEmpty.includes(key)) this.#carried[key] = value;
    }
  }

  #choice(source: JsonObject, position: number): Shown[] {
    const choice = this.#choiceAt(typeof source.index === 'number' ? source.index : position);
    if (choice.isFinished) return [];
    const delta = isJsonObject(source.delta) ? source.delta : isJsonObject(source.message) ? source.message : {};
    const extras = withoutNoise(source, this.#noise, choiceMembers);
    const logprobs = source.logprobs === undefined ? {} : { logprobs: source.logprobs };
    const reason = mapFinish(source.finish_reason);
    // What a vendor says about the finish belongs on the finish chunk alone.
    const besides = reason === null ? { ...logprobs, ...extras } : logprobs;
    const shown = this.#delta(choice, readMessage(delta, this.#noise), besides);
    if (isErrorFinish(source.finish_reason, choice.hasOutput)) this.#failure ??= brokenOff();
    if (reason === null) return shown;
    const silenced = source.logprobs === undefined ? {} : { logprobs: null };
    return [...shown, ...this.#finish(choice, reason, { ...silenced, ...extras })];
  }

  #choiceAt(index: number): Choice {
    const known = this.#choices.get(index);
    if (known !== undefined) return known;
    const tools = new ToolCallAssembler(() => this.#context.randomId(), this.#noise);
    const think = this.#context.target?.model?.abilities?.parseThink === true ? new ThinkSplitter() : null;
    const choice = { index, tools, think, hasRole: false, hasOutput: false, isFinished: false };
    this.#choices.set(index, choice);
    return choice;
  }

  #delta(choice: Choice, parts: MessageParts, extras: JsonObject): Shown[] {
    const toolCalls = this.#toolDeltas(choice.tools.push(parts.toolCalls));
    if (choice.think !== null && parts.content !== null) {
      const { content, reasoning } = choice.think.push(parts.content);
      parts.content = content;
      parts.reasoning += reasoning;
    }
    const delta: JsonObject = {};
    if (!choice.hasRole) {
      delta.role = 'assistant';
      delta.content = parts.content === null || parts.content === '' ? emptyContent(parts) : parts.content;
    } else if (parts.content !== null && parts.content !== '') {
      delta.content = parts.content;
    }
    if (parts.reasoning !== '') delta.reasoning_content = parts.reasoning;
    Object.assign(delta, withoutNulls(parts.rest, choice.hasRole), toolCalls);
    const saysNothing = Object.keys(delta).length === 0 && Object.values(extras).every(isHollow);
    if (choice.hasRole && saysNothing) return [];
    choice.hasRole = true;
    choice.hasOutput ||= parts.reasoning !== '' || lengthOf(delta.content) > 0 || Object.keys(toolCalls).length > 0;
    this.#outputCharacters += lengthOf(delta.content) + parts.reasoning.length + lengthOf(parts.rest.refusal);
    return [{ choice: { index: choice.index, delta, ...extras, finish_reason: null }, isFinish: false }];
  }

  /** The member of a delta that carries tool calls, in the form that the caller asked with. */
  #toolDeltas(calls: readonly JsonObject[]): JsonObject {
    for (const call of calls) {
      const called = isJsonObject(call.function) ? call.function : {};
      this.#outputCharacters += lengthOf(called.name) + lengthOf(called.arguments);
    }
    if (this.#isLegacy) return toLegacyDeltas(calls);
    return calls.length === 0 ? {} : { tool_calls: [...calls] };
  }

  #finish(choice: Choice, reason: FinishReason, extras: JsonObject): Shown[] {
    const rest = { ...this.#heldText(choice), ...this.#toolDeltas(choice.tools.close()) };
    const shown: Shown[] = [];
    if (!choice.hasRole) {
      choice.hasRole = true;
      const delta = { role: 'assistant', content: '' };
      shown.push({ choice: { index: choice.index, delta, finish_reason: null }, isFinish: false });
    }
    if (Object.keys(rest).length > 0) {
      shown.push({ choice: { index: choice.index, delta: rest, finish_reason: null }, isFinish: false });
    }
    choice.isFinished = true;
    const finish = this.#isLegacy && reason === 'tool_calls' ? 'function_call' : reason;
    shown.push({ choice: { index: choice.index, delta: {}, ...extras, finish_reason: finish }, isFinish: true });
    return shown;
  }

  /** Text that might still have become a tag. */
  #heldText(choice: Choice): JsonObject {
    const held = choice.think?.end() ?? { content: '', reasoning: '' };
    this.#outputCharacters += held.content.length + held.reasoning.length;
    return {
      ...(held.content === '' ? {} : { content: held.content }),
      ...(held.reasoning === '' ? {} : { reasoning_content: held.reasoning }),
    };
  }

  /** At most three chunks: what is said, what the end of a tool call still owed, and the finish. */
  #write(body: JsonObject, shown: readonly Shown[]): SseEvent[] {
    const chunks: JsonObject[][] = [];
    for (const { choice, isFinish } of shown) {
      const last = chunks.at(-1);
      const fits = last !== undefined && !isFinish && last.every((other) => other.index !== choice.index);
      if (fits) last.push(choice);
      else chunks.push([choice]);
    }
    return chunks.map((choices) => {
      const members = this.#members(body);
      if (this.#context.includeUsage) members.usage = null;
      return this.#event({ ...members, choices });
    });
  }

  #members(body: JsonObject): JsonObject {
    const members = withoutNoise(body, this.#noise, chunkMembers);
    for (const key of neverEmpty) if (members[key] === '') delete members[key];
    if (isJsonObject(body.x_groq)) {
      const { usage: _, ...vendor } = body.x_groq;
      if (Object.keys(vendor).length > 0) members.x_groq = vendor;
    }
    return members;
  }

  #event(members: JsonObject): SseEvent {
    if (this.#id === '') this.#id = `chatcmpl-${this.#context.randomId()}`;
    const carried = this.#carried;
    this.#carried = {};
    const chunk: JsonObject = {
      id: this.#id,
      object: 'chat.completion.chunk',
      created: this.#context.created,
      model: this.#context.publicModel,
      ...carried,
      ...members,
    };
    return { event: '', data: JSON.stringify(chunk) };
  }
}

const emptyContent = (parts: MessageParts): JsonValue => (parts.toolCalls.length > 0 ? null : '');

/** After the first delta a null says nothing; in it, it is part of OpenAI's own form. */
function withoutNulls(rest: JsonObject, hasRole: boolean): JsonObject {
  return hasRole ? Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null)) : rest;
}
