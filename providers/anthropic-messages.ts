/**
 * The history in Anthropic's form: system apart, turns that alternate, results of tools right after their calls, thinking
 * where it stood. Spec: fidelity 4.1 and 4.5.
 */
import { isJsonObject, type JsonObject } from '../src/contract/json.ts';
import { cacheMark, markLast } from './anthropic-cache.ts';
import { textBlock, toBlocks } from './anthropic-content.ts';
import type { Block, MessagesDraft } from './anthropic-draft.ts';
import { readThinking, type PlacedThinking } from './anthropic-thinking-blocks.ts';
import { ToolIds } from './anthropic-tool-ids.ts';
import { readArguments } from './asked-tools.ts';
import { objectsIn, textOf } from './json-values.ts';
import { refuseValue, type Place } from './openai-draft.ts';
import { toToolMessage } from './openai-legacy.ts';

/** What lies between two thinking blocks; the API wants it in this order. */
type Segment = { thinking: Block[]; text: Block[]; calls: Block[] };
type Turn =
  | { role: 'user'; results: Block[]; rest: Block[] }
  | { role: 'assistant'; segments: Segment[] }
  | { role: 'system'; blocks: Block[] };

const inlineSystemBeta = 'mid-conversation-system-2026-04-07';

/** The text before and after a place, which may be inside a block. */
function splitText(blocks: readonly Block[], length: number): [Block[], Block[]] {
  const before: Block[] = [];
  const after: Block[] = [];
  let left = length;
  for (const block of blocks) {
    const text = textOf(block.text);
    if (after.length > 0 || left <= 0) after.push(block);
    else if (text.length <= left) before.push(block);
    else {
      const head = textBlock(text.slice(0, left));
      const tail = textBlock(text.slice(left));
      if (head !== null) before.push(head);
      if (tail !== null) after.push({ ...block, ...tail });
    }
    left -= text.length;
  }
  return [before, after];
}

/** Thinking blocks that stand at the same place share a segment. */
function toSegments(placed: readonly PlacedThinking[], text: readonly Block[], calls: readonly Block[]): Segment[] {
  const segments: Segment[] = [{ thinking: [], text: [...text], calls: [...calls] }];
  let [textDone, callsDone] = [0, 0];
  for (const { block, textBefore, callsBefore } of placed) {
    const last = segments.at(-1);
    if (last === undefined) break;
    const [before, after] = splitText(last.text, textBefore - textDone);
    const following = { thinking: [block], text: after, calls: last.calls.slice(Math.max(0, callsBefore - callsDone)) };
    last.text = before;
    last.calls = last.calls.slice(0, Math.max(0, callsBefore - callsDone));
    [textDone, callsDone] = [Math.max(textDone, textBefore), Math.max(callsDone, callsBefore)];
    if (before.length === 0 && last.calls.length === 0) {
      last.thinking.push(block);
      last.text = following.text;
      last.calls = following.calls;
    } else segments.push(following);
  }
  return segments;
}

const flat = (segments: readonly Segment[]): Block[] =>
  segments.flatMap(({ thinking, text, calls }) => [...thinking, ...text, ...calls]);

class History {
  readonly #draft: MessagesDraft;
  readonly #turns: Turn[] = [];
  readonly #ids = new ToolIds();
  /** System messages that wait for the end of the user's turn: only there may they stand. */
  #waiting: Block[] = [];

  constructor(draft: MessagesDraft) {
    this.#draft = draft;
  }

  add(message: JsonObject, position: number): void {
    const place = { path: `messages.${position}`, param: `messages[${position}]` };
    if (message.name !== undefined && message.name !== null) this.#draft.drop(`${place.path}.name`);
    switch (textOf(message.role)) {
      case 'system':
      case 'developer':
        this.#addSystem(message, place);
        break;
      case 'user':
        this.#addUser(this.#blocks(message, place));
        break;
      case 'tool':
        this.#userTurn().results.push(this.#result(message, place));
        break;
      case 'assistant':
        this.#addAssistant(message, place);
        break;
      default:
        refuseValue(`${place.param}.role`, `\`${place.param}.role\` is not a role that this model knows.`);
    }
  }

  close(): JsonObject[] {
    this.#placeSystem();
    this.#endWithUser();
    return this.#turns.map((turn) => {
      if (turn.role === 'assistant') return { role: turn.role, content: flat(turn.segments) };
      return { role: turn.role, content: turn.role === 'user' ? [...turn.results, ...turn.rest] : turn.blocks };
    });
  }

  #blocks(message: JsonObject, place: Place): Block[] {
    const blocks = toBlocks(this.#draft, message.content, place);
    markLast(blocks, cacheMark(message));
    return blocks;
  }

  #addSystem(message: JsonObject, place: Place): void {
    const blocks = this.#blocks(message, place);
    const isLeading = this.#turns.length === 0;
    if (isLeading || !this.#draft.abilities.inlineSystem) this.#draft.system.push(...blocks);
    else this.#waiting.push(...blocks);
  }

  #placeSystem(): void {
    if (this.#waiting.length === 0) return;
    if (this.#turns.at(-1)?.role === 'user') {
      this.#turns.push({ role: 'system', blocks: this.#waiting });
      this.#draft.betas.add(inlineSystemBeta);
    } else this.#draft.system.push(...this.#waiting);
    this.#waiting = [];
  }

  #userTurn(): Extract<Turn, { role: 'user' }> {
    const last = this.#turns.at(-1);
    if (last?.role === 'user') return last;
    const turn: Turn = { role: 'user', results: [], rest: [] };
    this.#turns.push(turn);
    return turn;
  }

  #addUser(blocks: readonly Block[]): void {
    if (blocks.length > 0) this.#userTurn().rest.push(...blocks);
  }

  #result(message: JsonObject, place: Place): Block {
    const result: Block = { type: 'tool_result', tool_use_id: this.#ids.result(textOf(message.tool_call_id)) };
    let mark = cacheMark(message);
    if (Array.isArray(message.content)) {
      const blocks = toBlocks(this.#draft, message.content, place);
      mark ??= blocks.map(cacheMark).findLast((found) => found !== null) ?? null;
      for (const block of blocks) delete block.cache_control;
      if (blocks.length > 0) result.content = blocks;
    } else if (textOf(message.content) !== '') result.content = textOf(message.content);
    if (typeof message.is_error === 'boolean') result.is_error = message.is_error;
    if (mark !== null) result.cache_control = mark;
    return result;
  }

  #addAssistant(message: JsonObject, place: Place): void {
    const { abilities } = this.#draft;
    if (isJsonObject(message.audio)) this.#draft.drop(`${place.path}.audio`);
    const text = toBlocks(this.#draft, message.content, place);
    const refusal = text.length === 0 ? textBlock(textOf(message.refusal)) : null;
    if (refusal !== null) text.push(refusal);
    const calls = objectsIn(message.tool_calls).map((call) => this.#call(call));
    const { placed, unsigned } = readThinking(message);
    if (unsigned > 0) this.#draft.drop(`${place.path}.thinking_blocks`);
    if (calls.length > 0 || text.length > 0) this.#draft.hasLostThinking = calls.length > 0 && placed.length === 0;
    const segments = toSegments(abilities.thinking === 'none' ? [] : placed, text, calls);
    const blocks = flat(segments);
    if (blocks.length === 0) return;
    markLast(blocks, cacheMark(message));
    this.#addSegments(segments);
  }

  #addSegments([first, ...others]: readonly Segment[]): void {
    this.#placeSystem();
    const turn = this.#turns.at(-1);
    const last = turn?.role === 'assistant' ? turn.segments.at(-1) : undefined;
    if (first === undefined) return;
    if (turn?.role !== 'assistant' || last === undefined) {
      this.#turns.push({ role: 'assistant', segments: [first, ...others] });
      return;
    }
    if (first.thinking.length > 0) turn.segments.push(first);
    else {
      last.text.push(...first.text);
      last.calls.push(...first.calls);
    }
    turn.segments.push(...others);
  }

  #call(call: JsonObject): Block {
    const called = isJsonObject(call.function) ? call.function : isJsonObject(call.custom) ? call.custom : {};
    const name = textOf(called.name);
    this.#draft.calledTools.add(name);
    const input = readArguments(called.arguments ?? called.input);
    const block: Block = { type: 'tool_use', id: this.#ids.call(textOf(call.id)), name, input };
    const mark = cacheMark(call);
    return mark === null ? block : { ...block, cache_control: mark };
  }

  /** A last message of the assistant asks to be gone on from, which newer models refuse. */
  #endWithUser(): void {
    const last = this.#turns.at(-1);
    if (last?.role !== 'assistant') return;
    if (!this.#draft.abilities.prefill) {
      refuseValue(
        'messages',
        "The last message is the assistant's, and this model cannot go on from it. End `messages` with a message of the user.",
      );
    }
    const text = last.segments.at(-1)?.text.at(-1);
    if (text !== undefined && typeof text.text === 'string') text.text = text.text.trimEnd();
  }
}

export function writeMessages(draft: MessagesDraft): void {
  const history = new History(draft);
  const calledIds = new Map<string, string>();
  const own = draft.value('system');
  draft.system.push(...(typeof own === 'string' ? [textBlock(own)] : objectsIn(own)).filter((block) => block !== null));
  for (const [position, message] of objectsIn(draft.value('messages')).entries()) {
    history.add(toToolMessage(message, position, calledIds), position);
  }
  const messages = history.close();
  if (messages.length === 0 && draft.system.length === 0) {
    refuseValue('messages', 'Every message in `messages` is empty. Send at least one that says something.');
  }
  // Nothing but instructions: the API wants a turn to answer, so they are it.
  draft.body.messages =
    messages.length === 0 && draft.system.length > 0 ? [{ role: 'user', content: draft.system.splice(0) }] : messages;
}
