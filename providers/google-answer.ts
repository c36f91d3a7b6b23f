/**
 * One candidate of Gemini's, part by part, as deltas of the chat surface. A stream hands them on, a unary reply adds them
 * up, so that both say the same. Parts of the server's own tools say nothing here. Spec: fidelity 5.2.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { ReplyContext } from '../src/contract/provider.ts';
import { annotationsOf } from './google-grounding.ts';
import { PartialArguments } from './google-partial-arguments.ts';
import { showSignature, showSignedText } from './google-signatures.ts';
import { objectOf, objectsIn, textOf } from './json-values.ts';
import { mapFinish, type FinishReason } from './openai-finish.ts';
import { toLegacyDeltas, usesLegacyFunctions } from './openai-legacy.ts';

type Delta = JsonObject;
type OpenCall = { index: number; arguments: PartialArguments };

/** With these an answer that says nothing has failed; one that said something is over. Spec: fidelity 2.3. */
const failures = new Set([
  'MALFORMED_FUNCTION_CALL',
  'MALFORMED_RESPONSE',
  'MISSING_THOUGHT_SIGNATURE',
  'TOO_MANY_TOOL_CALLS',
  'UNEXPECTED_TOOL_CALL',
  'OTHER',
]);

export class GeminiAnswer {
  readonly #randomId: () => string;
  readonly #isLegacy: boolean;
  readonly #usedIds = new Set<string>();
  #content = '';
  #thoughts = '';
  #hasImage = false;
  #open: OpenCall | null = null;
  #callCount = 0;
  #finishReason = '';
  #finishMessage = '';
  /** What comes once for the whole candidate; the last one stands. */
  #sources: JsonObject = {};

  constructor(context: ReplyContext) {
    this.#randomId = () => context.randomId();
    this.#isLegacy = usesLegacyFunctions(context.request);
  }

  get isFinished(): boolean {
    return this.#finishReason !== '';
  }

  get hasFailed(): boolean {
    return failures.has(this.#finishReason) && !this.hasSaid;
  }

  get hasSaid(): boolean {
    return this.#content !== '' || this.#callCount > 0 || this.#hasImage;
  }

  add({ content, finishReason, finishMessage, groundingMetadata, citationMetadata }: JsonObject): Delta[] {
    this.#finishReason = textOf(finishReason) || this.#finishReason;
    this.#finishMessage = textOf(finishMessage) || this.#finishMessage;
    if (isJsonObject(groundingMetadata)) this.#sources.groundingMetadata = groundingMetadata;
    if (isJsonObject(citationMetadata)) this.#sources.citationMetadata = citationMetadata;
    return objectsIn(objectOf(content).parts).flatMap((part) => this.#part(part));
  }

  /** The prompt, or all of the answer, was held back. */
  block(message: JsonValue | undefined): void {
    this.#finishReason = 'SAFETY';
    this.#finishMessage = textOf(message);
  }

  /** What is still owed when the answer is over. */
  close(): Delta[] {
    const deltas = this.#closeCall();
    const annotations = annotationsOf(this.#sources, this.#content);
    if (annotations.length > 0) deltas.push({ annotations });
    const isWithheld = mapFinish(this.#finishReason) === 'content_filter';
    if (isWithheld && this.#finishMessage !== '') deltas.push({ refusal: this.#finishMessage });
    return deltas;
  }

  finish(): FinishReason {
    const reason = mapFinish(this.#finishReason) ?? 'stop';
    if (this.#finishReason !== 'STOP' || this.#callCount === 0) return reason;
    return this.#isLegacy ? 'function_call' : 'tool_calls';
  }

  #part(part: JsonObject): Delta[] {
    const signature = textOf(part.thoughtSignature);
    if (isJsonObject(part.functionCall)) return this.#call(part.functionCall, signature);
    if (isJsonObject(part.inlineData)) return this.#image(part.inlineData);
    if (typeof part.text !== 'string') return [];
    const deltas = part.thought === true ? this.#think(part.text) : this.#say(part.text);
    if (signature === '') return deltas;
    const block = showSignedText(this.#thoughts, signature, this.#content.length);
    this.#thoughts = '';
    return [...deltas, { thinking_blocks: [block] }];
  }

  #say(text: string): Delta[] {
    this.#content += text;
    return text === '' ? [] : [{ content: text }];
  }

  #think(text: string): Delta[] {
    this.#thoughts += text;
    return text === '' ? [] : [{ reasoning_content: text }];
  }

  #image({ mimeType, data }: JsonObject): Delta[] {
    if (!textOf(mimeType).startsWith('image/')) return [];
    this.#hasImage = true;
    const url = `data:${textOf(mimeType)};base64,${textOf(data)}`;
    return [{ images: [{ type: 'image_url', image_url: { url } }] }];
  }

  /** A name begins a call; what comes without one belongs to the call that is open, and an empty part closes it. */
  #call({ name, id, args, partialArgs, willContinue }: JsonObject, signature: string): Delta[] {
    const deltas = textOf(name) === '' ? [] : this.#openCall(textOf(name), textOf(id), signature);
    if (this.#open === null) return deltas;
    if (isJsonObject(args)) this.#open.arguments.addWhole(args);
    for (const partial of objectsIn(partialArgs)) this.#open.arguments.add(partial);
    return willContinue === true ? deltas : [...deltas, ...this.#closeCall()];
  }

  #openCall(name: string, upstreamId: string, signature: string): Delta[] {
    const closing = this.#closeCall();
    const isFree = upstreamId !== '' && !this.#usedIds.has(upstreamId);
    const id = isFree ? upstreamId : `call_${this.#randomId()}`;
    this.#usedIds.add(id);
    const index = this.#callCount;
    this.#callCount += 1;
    this.#open = { index, arguments: new PartialArguments() };
    const call = { index, id, type: 'function', function: { name, arguments: '' }, ...showSignature(signature) };
    return [...closing, ...this.#show(call)];
  }

  #closeCall(): Delta[] {
    const call = this.#open;
    this.#open = null;
    return call === null ? [] : this.#show({ index: call.index, function: { arguments: call.arguments.toString() } });
  }

  #show(call: JsonObject): Delta[] {
    if (!this.#isLegacy) return [{ tool_calls: [call] }];
    const delta = toLegacyDeltas([call]);
    return Object.keys(delta).length === 0 ? [] : [delta];
  }
}

const saysSomething = ({ text, thought, functionCall, inlineData }: JsonObject): boolean =>
  functionCall !== undefined || inlineData !== undefined || (textOf(text) !== '' && thought !== true);

/** A whole candidate that ended in a failure, and that failed. */
export const hasFailed = ({ finishReason, content }: JsonObject): boolean =>
  failures.has(textOf(finishReason)) && !objectsIn(objectOf(content).parts).some(saysSomething);

export const indexOf = ({ index }: JsonObject): number => (typeof index === 'number' ? index : 0);

/** Why the prompt was not answered at all; null when it was. */
export function blockedPrompt(body: JsonObject): JsonObject | null {
  const feedback = objectOf(body.promptFeedback);
  const hasCandidates = objectsIn(body.candidates).length > 0;
  return textOf(feedback.blockReason) !== '' && !hasCandidates ? feedback : null;
}
