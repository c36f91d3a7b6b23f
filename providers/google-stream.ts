/**
 * A stream of generateContent as chunks of a chat completion. Each event is a whole reply with the next parts. There is no
 * end marker: the answer is complete when each candidate has told why it ended. Spec: fidelity 2.3 to 2.5 and 5.2.
 */
import type { GatewayError } from '../src/contract/errors.ts';
import type { Usage } from '../src/contract/flow.ts';
import type { JsonObject } from '../src/contract/json.ts';
import type { ReplyContext, SseEvent, StreamTranslator } from '../src/contract/provider.ts';
import { lengthOf } from './chat-deltas.ts';
import { GeminiAnswer, blockedPrompt, indexOf } from './google-answer.ts';
import { findError, mapError } from './google-errors.ts';
import { logprobsOf } from './google-logprobs.ts';
import { readUsage, shownServiceTier } from './google-usage.ts';
import { objectsIn, parseObject } from './json-values.ts';
import { brokenOff } from './openai-errors.ts';
import { writeUsage } from './openai-usage.ts';

const endMarker: SseEvent = { event: '', data: '[DONE]' };

export class GoogleStreamTranslator implements StreamTranslator {
  readonly #context: ReplyContext;
  readonly #answers = new Map<number, GeminiAnswer>();
  /** The dialect has no marker; the connection ends. */
  readonly isEnded = false;
  #failure: GatewayError | null = null;
  #usage: Usage | null = null;
  #serviceTier: JsonObject = {};
  #hasTail = false;
  #id = '';
  #outputCharacters = 0;

  constructor(context: ReplyContext) {
    this.#context = context;
  }

  get failure(): GatewayError | null {
    return this.#failure;
  }

  get isComplete(): boolean {
    const answers = [...this.#answers.values()];
    return this.#failure === null && answers.length > 0 && answers.every(({ isFinished }) => isFinished);
  }

  get outputCharacters(): number {
    return this.#outputCharacters;
  }

  usage(): Usage | null {
    return this.#usage;
  }

  push({ event, data }: SseEvent): readonly SseEvent[] {
    if (data.trim() === '' || data === endMarker.data || this.#failure !== null) return [];
    const body = parseObject(data);
    const isError = event === 'error' || body?.error !== undefined;
    if (body === null || isError) {
      this.#failure = body === null ? mapError(200, undefined) : findError(body, 'error');
      return [];
    }
    this.#usage = readUsage(body) ?? this.#usage;
    this.#serviceTier = { ...this.#serviceTier, ...shownServiceTier(body) };
    const blocked = blockedPrompt(body);
    if (blocked !== null) return this.#block(blocked);
    const events = objectsIn(body.candidates).flatMap((candidate) => this.#read(candidate));
    if (this.#hasOnlyFailures()) this.#failure = brokenOff();
    return events;
  }

  end(): readonly SseEvent[] {
    if (!this.isComplete || this.#hasTail) return [];
    this.#hasTail = true;
    const answers = [...this.#answers].sort(([one], [other]) => one - other);
    const events = answers.flatMap(([index, answer]) => [
      ...answer.close().map((delta) => this.#chunk(index, { delta })),
      this.#chunk(index, { delta: {}, finish_reason: answer.finish() }),
    ]);
    if (this.#context.includeUsage && this.#usage !== null) {
      events.push(this.#event({ choices: [], usage: writeUsage({}, this.#usage) }));
    }
    return [...events, endMarker];
  }

  /** Before the answer, or in the middle of it. */
  #block({ blockReasonMessage: message }: JsonObject): SseEvent[] {
    const opening = this.#answers.size === 0 ? this.#answer(0).opening : [];
    for (const answer of this.#answers.values()) if (!answer.isFinished) answer.block(message);
    return opening;
  }

  #read(candidate: JsonObject): SseEvent[] {
    const index = indexOf(candidate);
    const { answer, opening } = this.#answer(index);
    const deltas = answer.add(candidate);
    const logprobs = logprobsOf(candidate);
    if (logprobs !== null && deltas.length === 0) deltas.push({});
    const chunks = deltas.map((delta, position) =>
      this.#chunk(index, position === 0 && logprobs !== null ? { delta, logprobs } : { delta }),
    );
    return [...opening, ...chunks];
  }

  /** A candidate begins with the role, in the first chunk that it has. */
  #answer(index: number): { answer: GeminiAnswer; opening: SseEvent[] } {
    const known = this.#answers.get(index);
    if (known !== undefined) return { answer: known, opening: [] };
    if (this.#id === '') this.#id = `chatcmpl-${this.#context.randomId()}`;
    const answer = new GeminiAnswer(this.#context);
    this.#answers.set(index, answer);
    return { answer, opening: [this.#chunk(index, { delta: { role: 'assistant', content: '' } })] };
  }

  #hasOnlyFailures(): boolean {
    const answers = [...this.#answers.values()];
    return answers.length > 0 && answers.every(({ hasFailed }) => hasFailed);
  }

  #chunk(index: number, choice: JsonObject & { delta: JsonObject }): SseEvent {
    this.#outputCharacters += lengthOf(choice.delta);
    const usage = this.#context.includeUsage ? { usage: null } : {};
    return this.#event({ choices: [{ index, logprobs: null, finish_reason: null, ...choice }], ...usage });
  }

  #event(members: JsonObject): SseEvent {
    const chunk = {
      id: this.#id,
      object: 'chat.completion.chunk',
      created: this.#context.created,
      model: this.#context.publicModel,
      ...this.#serviceTier,
      ...members,
    };
    return { event: '', data: JSON.stringify(chunk) };
  }
}
