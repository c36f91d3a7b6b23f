/**
 * The history in Gemini's form: the system apart, turns of `user` and `model` that alternate, results of functions first
 * in their turn and by the function's name. Spec: fidelity 5.1 and 5.2.
 */
import { isJsonObject, type JsonObject } from '../src/contract/json.ts';
import { readArguments } from './asked-tools.ts';
import { isGemma } from './google-abilities.ts';
import { dropCacheMarks, textPart, toParts } from './google-content.ts';
import type { GeminiDraft, Part } from './google-draft.ts';
import { lostSignature, restoreThoughts, signatureOf } from './google-signatures.ts';
import { objectOf, objectsIn, textOf } from './json-values.ts';
import { refuse, refuseValue, type Place } from './openai-draft.ts';
import { toToolMessage } from './openai-legacy.ts';

type Result = { part: Part; call: number };
type Turn = { role: 'user'; results: Result[]; rest: Part[] } | { role: 'model'; parts: Part[] };
type Called = { name: string; id: JsonObject; call: number };

/** Ids in the forms that Google writes. Any other is ours or another vendor's, and Vertex refuses an id it did not give. */
const ownId = /^(?:[a-z0-9]{8}|function-call-\d+)$/;
const generatedId = /^call_[A-Za-z0-9]{24}$/;

class History {
  readonly #draft: GeminiDraft;
  readonly #turns: Turn[] = [];
  readonly #calls = new Map<string, Called>();
  #callCount = 0;

  constructor(draft: GeminiDraft) {
    this.#draft = draft;
  }

  add(message: JsonObject, position: number): void {
    const place = { path: `messages.${position}`, param: `messages[${position}]` };
    // A result says by its name what its id says as well.
    if ((message.name ?? undefined) !== undefined && message.role !== 'tool') this.#draft.drop(`${place.path}.name`);
    dropCacheMarks(this.#draft, message, place.path);
    switch (textOf(message.role)) {
      case 'system':
      case 'developer':
        this.#draft.system.push(...this.#instructions(message, place));
        break;
      case 'user':
        this.#addUser(toParts(this.#draft, message.content, place));
        break;
      case 'tool':
        this.#addResult(message, place);
        break;
      case 'assistant':
        this.#addAssistant(message, place);
        break;
      default:
        refuseValue(`${place.param}.role`, `\`${place.param}.role\` is not a role that this model knows.`);
    }
  }

  /** The oldest models know no system: it opens the conversation. */
  openWith(parts: readonly Part[]): void {
    const first = this.#turns[0];
    if (first?.role === 'user') first.rest.unshift(...parts);
    else this.#turns.unshift({ role: 'user', results: [], rest: [...parts] });
  }

  get isSilent(): boolean {
    return this.#turns.length === 0;
  }

  close(): JsonObject[] {
    return this.#turns.map((turn) => {
      if (turn.role === 'model') return { role: turn.role, parts: turn.parts };
      // Calls without ids are matched by their order.
      const results = turn.results.toSorted((one, other) => one.call - other.call).map(({ part }) => part);
      return { role: turn.role, parts: [...results, ...turn.rest] };
    });
  }

  #instructions(message: JsonObject, place: Place): Part[] {
    const parts = toParts(this.#draft, message.content, place);
    const other = parts.findIndex(({ text }) => typeof text !== 'string');
    return other < 0 ? parts : refuse(`${place.param}.content[${other}]`);
  }

  #userTurn(): Extract<Turn, { role: 'user' }> {
    const last = this.#turns.at(-1);
    if (last?.role === 'user') return last;
    const turn: Turn = { role: 'user', results: [], rest: [] };
    this.#turns.push(turn);
    return turn;
  }

  #addUser(parts: readonly Part[]): void {
    if (parts.length > 0) this.#userTurn().rest.push(...parts);
  }

  /** Text is the result; media that a tool gave follow in the same turn. */
  #addResult(message: JsonObject, place: Place): void {
    const called = this.#calls.get(textOf(message.tool_call_id)) ?? {
      name: textOf(message.name),
      id: {},
      call: this.#callCount,
    };
    if (called.name === '') {
      refuseValue(
        `${place.param}.tool_call_id`,
        `\`${place.param}\` answers the call '${textOf(message.tool_call_id)}', which no message before it made.`,
      );
    }
    const parts = toParts(this.#draft, message.content, place);
    const result = parts.map(({ text }) => textOf(text)).join('');
    const turn = this.#userTurn();
    const part = { functionResponse: { name: called.name, response: { result }, ...called.id } };
    turn.results.push({ part, call: called.call });
    turn.rest.push(...parts.filter(({ text }) => typeof text !== 'string'));
  }

  #addAssistant(message: JsonObject, place: Place): void {
    if (isJsonObject(message.audio)) this.#draft.drop(`${place.path}.audio`);
    const text = toParts(this.#draft, message.content, place);
    const refusal = text.length === 0 ? textPart(textOf(message.refusal)) : null;
    if (refusal !== null) text.push(refusal);
    const calls = objectsIn(message.tool_calls).map((call, index) => this.#call(call, message, index === 0));
    const parts = [...this.#withThoughts(message, text, place), ...calls];
    if (parts.length === 0) return;
    const last = this.#turns.at(-1);
    if (last?.role === 'model') last.parts.push(...parts);
    else this.#turns.push({ role: 'model', parts });
  }

  #withThoughts(message: JsonObject, text: readonly Part[], { path }: Place): Part[] {
    const { parts, hasForeign } = restoreThoughts(message, text);
    if (hasForeign) this.#draft.drop(`${path}.thinking_blocks`);
    if (this.#draft.abilities.thinking !== 'none' || parts.length === text.length) return parts;
    if (!hasForeign) this.#draft.drop(`${path}.reasoning_content`);
    return [...text];
  }

  /** Of calls in parallel only the first is signed, and without that signature the newer models refuse the request. */
  #call(call: JsonObject, message: JsonObject, isFirst: boolean): Part {
    const called = isJsonObject(call.function) ? call.function : objectOf(call.custom);
    const name = textOf(called.name);
    const callId = textOf(call.id);
    const known = signatureOf(call, message);
    const isTheirs = ownId.test(callId) || (known !== '' && callId !== '' && !generatedId.test(callId));
    const id = isTheirs ? { id: callId } : {};
    this.#calls.set(callId, { name, id, call: this.#callCount });
    this.#callCount += 1;
    const signature = known === '' && isFirst && this.#draft.isThirdGeneration ? lostSignature : known;
    return {
      functionCall: { name, args: readArguments(called.arguments ?? called.input), ...id },
      ...(signature === '' ? {} : { thoughtSignature: signature }),
    };
  }
}

export function writeContents(draft: GeminiDraft): void {
  const history = new History(draft);
  const calledIds = new Map<string, string>();
  for (const [position, message] of objectsIn(draft.value('messages')).entries()) {
    history.add(toToolMessage(message, position, calledIds), position);
  }
  // Nothing but instructions: the API wants a turn to answer, so they are it.
  if (draft.system.length > 0 && (history.isSilent || isGemma(draft.target))) history.openWith(draft.system.splice(0));
  if (history.isSilent) {
    refuseValue('messages', '`messages` says nothing. Send at least one message with text, an image or a file.');
  }
  draft.body.contents = history.close();
}
