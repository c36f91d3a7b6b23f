/**
 * A stream of Converse's as chunks of a chat completion. It never invents an end: that comes from `messageStop`, or not
 * at all. Figures come before it or after it. Spec: fidelity 2.3 to 2.5 and 5.4.
 */
import type { GatewayError } from '../src/contract/errors.ts';
import type { Usage } from '../src/contract/flow.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { ReplyContext, SseEvent, StreamTranslator } from '../src/contract/provider.ts';
import type { ClaudeAnswer } from './anthropic-answer.ts';
import { citation, extras, openAnswer, toolBlock } from './bedrock-answer.ts';
import { findException, mapError } from './bedrock-errors.ts';
import { readUsage } from './bedrock-usage.ts';
import { lengthOf } from './chat-deltas.ts';
import { objectOf, parseObject, textOf } from './json-values.ts';
import { brokenOff } from './openai-errors.ts';
import { isErrorFinish } from './openai-finish.ts';
import { writeUsage } from './openai-usage.ts';

const endMarker: SseEvent = { event: '', data: '[DONE]' };

const indexOf = ({ contentBlockIndex: index }: JsonObject): number => (typeof index === 'number' ? index : -1);

export class BedrockStreamTranslator implements StreamTranslator {
  readonly #context: ReplyContext;
  readonly #answer: ClaudeAnswer;
  readonly #open = new Set<number>();
  /** Encrypted reasoning by block: it may come in pieces and is one thing to whoever sends it back. */
  readonly #redacted = new Map<number, string[]>();
  #failure: GatewayError | null = null;
  #id = '';
  #stopReason: JsonValue = null;
  #usage: Usage | null = null;
  #hasMetadata = false;
  #hasTail = false;
  #extras: JsonObject = {};
  #outputCharacters = 0;

  constructor(context: ReplyContext) {
    this.#context = context;
    this.#answer = openAnswer(context);
  }

  get failure(): GatewayError | null {
    return this.#failure;
  }

  get isEnded(): boolean {
    return this.#hasMetadata && this.isComplete;
  }

  get isComplete(): boolean {
    return this.#failure === null && this.#stopReason !== null;
  }

  get outputCharacters(): number {
    return this.#outputCharacters;
  }

  usage(): Usage | null {
    return this.#usage;
  }

  push({ event, data }: SseEvent): readonly SseEvent[] {
    if (this.#failure !== null || this.isEnded) return [];
    const body = parseObject(data);
    this.#failure = body === null ? mapError(502, undefined) : findException(event, body);
    if (body === null || this.#failure !== null) return [];
    return this.#read(event, body).map((delta) => this.#chunk(delta));
  }

  end(): readonly SseEvent[] {
    if (!this.isComplete || this.#hasTail) return [];
    this.#hasTail = true;
    const open = [...this.#redacted.keys()].flatMap((index) => this.#close(index));
    const events = this.#begun([...open, ...this.#answer.close(this.#stopReason, undefined)]).map((delta) =>
      this.#chunk(delta),
    );
    events.push(this.#chunk({}, this.#answer.finish(this.#stopReason)));
    if (this.#context.includeUsage && this.#usage !== null) {
      events.push(this.#event({ choices: [], usage: writeUsage({}, this.#usage) }));
    }
    return [...events, endMarker];
  }

  #read(event: string, body: JsonObject): JsonObject[] {
    switch (event) {
      case 'messageStart':
        return this.#begun([]);
      case 'contentBlockStart':
        return this.#begun(this.#start(indexOf(body), objectOf(body.start)));
      case 'contentBlockDelta':
        return this.#begun(this.#add(indexOf(body), objectOf(body.delta)));
      case 'contentBlockStop':
        return this.#begun(this.#close(indexOf(body)));
      case 'messageStop':
        this.#stop(body);
        return [];
      case 'metadata':
        this.#hasMetadata = true;
        this.#usage = readUsage(body) ?? this.#usage;
        Object.assign(this.#extras, extras(body));
        return [];
      default:
        // Events that are newer than this file.
        return [];
    }
  }

  /** The first chunk has the role, whether or not the stream says that it begins. */
  #begun(deltas: JsonObject[]): JsonObject[] {
    if (this.#id !== '') return deltas;
    this.#id = `chatcmpl-${this.#context.randomId()}`;
    return [{ role: 'assistant', content: '' }, ...deltas];
  }

  /** Only calls are announced; a block of any other kind opens with its first delta. */
  #start(index: number, { toolUse, toolResult }: JsonObject): JsonObject[] {
    if (isJsonObject(toolUse)) return this.#openBlock(index, toolBlock(toolUse));
    return isJsonObject(toolResult) ? this.#openBlock(index, { type: 'tool_result' }) : [];
  }

  #openBlock(index: number, block: JsonObject): JsonObject[] {
    if (this.#open.has(index)) return [];
    this.#open.add(index);
    return this.#answer.openBlock(index, block);
  }

  #add(index: number, delta: JsonObject): JsonObject[] {
    const { text, toolUse, reasoningContent, citation: cited } = delta;
    if (typeof text === 'string') {
      return [...this.#openBlock(index, { type: 'text' }), ...this.#tell(index, { type: 'text_delta', text })];
    }
    if (isJsonObject(toolUse)) {
      return this.#tell(index, { type: 'input_json_delta', partial_json: toolUse.input });
    }
    if (isJsonObject(reasoningContent)) return this.#reason(index, reasoningContent);
    if (!isJsonObject(cited)) return [];
    return [
      ...this.#openBlock(index, { type: 'text' }),
      ...this.#tell(index, { type: 'citations_delta', citation: citation(cited) }),
    ];
  }

  #reason(index: number, { text, signature, redactedContent }: JsonObject): JsonObject[] {
    if (typeof redactedContent === 'string') {
      this.#redacted.set(index, [...(this.#redacted.get(index) ?? []), redactedContent]);
      return [];
    }
    return [
      ...this.#openBlock(index, { type: 'thinking' }),
      ...(typeof text === 'string' ? this.#tell(index, { type: 'thinking_delta', thinking: text }) : []),
      ...(typeof signature === 'string' ? this.#tell(index, { type: 'signature_delta', signature }) : []),
    ];
  }

  #tell(index: number, delta: JsonObject): JsonObject[] {
    return this.#answer.addToBlock(index, delta);
  }

  #close(index: number): JsonObject[] {
    const redacted = this.#redacted.get(index);
    this.#redacted.delete(index);
    const opened =
      redacted === undefined ? [] : this.#openBlock(index, { type: 'redacted_thinking', data: joined(redacted) });
    this.#open.delete(index);
    return [...opened, ...this.#answer.closeBlock(index)];
  }

  #stop(body: JsonObject): void {
    this.#stopReason = textOf(body.stopReason);
    Object.assign(this.#extras, extras(body));
    if (isErrorFinish(this.#stopReason, this.#outputCharacters > 0)) this.#failure = brokenOff();
  }

  #chunk(delta: JsonObject, finish: string | null = null): SseEvent {
    this.#outputCharacters += lengthOf(delta);
    const usage = this.#context.includeUsage ? { usage: null } : {};
    return this.#event({ choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }], ...usage });
  }

  #event(members: JsonObject): SseEvent {
    const chunk = {
      id: this.#id,
      object: 'chat.completion.chunk',
      created: this.#context.created,
      model: this.#context.publicModel,
      ...this.#extras,
      ...members,
    };
    return { event: '', data: JSON.stringify(chunk) };
  }
}

/** Each piece is base64 of its own. */
function joined(pieces: readonly string[]): string {
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined) return only;
  return Buffer.concat(pieces.map((piece) => Buffer.from(piece, 'base64'))).toString('base64');
}
