/**
 * A stream of the Messages API as chunks of a chat completion. It never invents an end: that comes from a stop reason or
 * from `message_stop`, or not at all. Spec: fidelity 2.3 to 2.5 and 4.6.
 */
import { gatewayError, type GatewayError } from '../src/contract/errors.ts';
import type { Usage } from '../src/contract/flow.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { ReplyContext, SseEvent, StreamTranslator } from '../src/contract/provider.ts';
import { ClaudeAnswer, shownContainer, shownServiceTier } from './anthropic-answer.ts';
import { findError, mapError } from './anthropic-errors.ts';
import { UsageSum } from './anthropic-usage.ts';
import { lengthOf } from './chat-deltas.ts';
import { objectOf, objectsIn, parseObject, textOf } from './json-values.ts';
import { writeUsage } from './openai-usage.ts';

const charactersPerToken = 4;
const endMarker: SseEvent = { event: '', data: '[DONE]' };

const indexOf = (event: JsonObject): number => (typeof event.index === 'number' ? event.index : -1);

export class AnthropicStreamTranslator implements StreamTranslator {
  readonly #context: ReplyContext;
  readonly #answer: ClaudeAnswer;
  readonly #usage = new UsageSum();
  #failure: GatewayError | null = null;
  #isEnded = false;
  #hasFinalFigures = false;
  #hasTail = false;
  #id = '';
  #messageId: JsonValue | undefined;
  #stopReason: JsonValue = null;
  #stopDetails: JsonValue = null;
  #container: JsonValue = null;
  #outputCharacters = 0;

  constructor(context: ReplyContext) {
    this.#context = context;
    this.#answer = new ClaudeAnswer(context);
  }

  get failure(): GatewayError | null {
    return this.#failure;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  get isComplete(): boolean {
    return this.#failure === null && this.#id !== '' && (this.#isEnded || this.#stopReason !== null);
  }

  get outputCharacters(): number {
    return this.#outputCharacters;
  }

  /** Before the end of the message the provider's figure of output is that of its first token. */
  usage(): Usage | null {
    const usage = this.#usage.usage();
    if (usage === null || this.#hasFinalFigures) return usage;
    const produced = Math.ceil(this.#outputCharacters / charactersPerToken);
    return { ...usage, completionTokens: Math.max(usage.completionTokens, produced) };
  }

  push({ event, data }: SseEvent): readonly SseEvent[] {
    if (data.trim() === '' || this.#failure !== null || this.#isEnded) return [];
    const body = parseObject(data);
    if (body === null) {
      this.#failure = mapError(200, undefined);
      return [];
    }
    if (event === 'error' || body.type === 'error' || (body.error ?? null) !== null) {
      this.#failure = findError(body, 'error');
      return [];
    }
    return this.#read(body).map((delta) => this.#chunk(delta));
  }

  end(): readonly SseEvent[] {
    if (!this.isComplete || this.#hasTail) return [];
    this.#hasTail = true;
    const events = this.#answer.close(this.#stopReason, this.#stopDetails).map((delta) => this.#chunk(delta));
    events.push(this.#chunk({}, this.#answer.finish(this.#stopReason)));
    const usage = this.usage();
    if (this.#context.includeUsage && usage !== null) {
      events.push(this.#event({ choices: [], usage: writeUsage({}, usage) }));
    }
    return [...events, endMarker];
  }

  #read(body: JsonObject): readonly JsonObject[] {
    switch (textOf(body.type)) {
      case 'message_start':
        return this.#start(objectOf(body.message));
      case 'content_block_start':
        return this.#begun(this.#answer.openBlock(indexOf(body), objectOf(body.content_block)));
      case 'content_block_delta':
        return this.#begun(this.#answer.addToBlock(indexOf(body), objectOf(body.delta)));
      case 'content_block_stop':
        return this.#answer.closeBlock(indexOf(body));
      case 'message_delta':
        this.#stop(objectOf(body.delta));
        this.#usage.add(body.usage);
        this.#hasFinalFigures ||= isJsonObject(body.usage);
        return [];
      case 'message_stop':
        this.#isEnded = true;
        if (this.#id === '') this.#fail('The provider ended its answer before it began.');
        return [];
      default:
        // Pings, and events that are newer than this file.
        return [];
    }
  }

  /** The first chunk. A message may begin with blocks that are already whole. */
  #start(message: JsonObject): JsonObject[] {
    if (this.#id !== '') {
      if (message.id !== this.#messageId) this.#fail('The provider began a second answer within the first.');
      return [];
    }
    this.#id = `chatcmpl-${this.#context.randomId()}`;
    this.#messageId = message.id;
    this.#usage.add(message.usage);
    this.#stop(message);
    const blocks = objectsIn(message.content).flatMap((block, index) => [
      ...this.#answer.openBlock(index, block),
      ...this.#answer.closeBlock(index),
    ]);
    return [{ role: 'assistant', content: '' }, ...blocks];
  }

  /** Some servers of this dialect leave out the start; the first chunk has the role all the same. */
  #begun(deltas: readonly JsonObject[]): readonly JsonObject[] {
    return this.#id === '' ? [...this.#start({}), ...deltas] : deltas;
  }

  #stop({ stop_reason: reason, stop_details: details, container }: JsonObject): void {
    this.#stopReason = reason ?? this.#stopReason;
    this.#stopDetails = details ?? this.#stopDetails;
    this.#container = container ?? this.#container;
  }

  #fail(message: string): void {
    this.#failure = gatewayError('upstreamBadReply', { message });
  }

  #chunk(delta: JsonObject, finish: string | null = null): SseEvent {
    this.#outputCharacters += lengthOf(delta);
    const usage = this.#context.includeUsage ? { usage: null } : {};
    const container = finish === null ? {} : shownContainer(this.#container);
    return this.#event({
      choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
      ...container,
      ...usage,
    });
  }

  #event(members: JsonObject): SseEvent {
    const chunk = {
      id: this.#id,
      object: 'chat.completion.chunk',
      created: this.#context.created,
      model: this.#context.publicModel,
      ...shownServiceTier(this.#usage.serviceTier),
      ...members,
    };
    return { event: '', data: JSON.stringify(chunk) };
  }
}
