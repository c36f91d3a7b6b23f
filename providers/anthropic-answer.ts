/**
 * An answer of Claude's, block by block, as deltas of the chat surface. A stream hands them on, a unary reply adds them
 * up, so that both say the same. Blocks of servers' tools, and whatever is new, say nothing here. Spec: fidelity 4.6.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { ReplyContext } from '../src/contract/provider.ts';
import { jsonToolOf } from './anthropic-output.ts';
import { showThinking, type PlacedThinking } from './anthropic-thinking-blocks.ts';
import { objectsIn, textOf } from './json-values.ts';
import { mapFinish, type FinishReason } from './openai-finish.ts';
import { toLegacyDeltas, usesLegacyFunctions } from './openai-legacy.ts';

type Delta = JsonObject;

type OpenBlock = {
  type: string;
  /** Of a call: its place among the calls that the caller sees; null for the tool that stands in for a schema. */
  callIndex: number | null;
  hasJson: boolean;
  input: JsonValue | undefined;
  thought: PlacedThinking | null;
  textStart: number;
  citations: JsonObject[];
};

const declined = 'The model declined to answer this request.';

export class ClaudeAnswer {
  readonly #randomId: () => string;
  readonly #jsonTool: string | null;
  readonly #isLegacy: boolean;
  readonly #open = new Map<number, OpenBlock>();
  #textLength = 0;
  #callCount = 0;
  #hasJsonAnswer = false;
  /** Text beside a tool that stands in for a schema: it counts only when that tool was not called. */
  #held = '';

  constructor(context: ReplyContext) {
    this.#randomId = () => context.randomId();
    this.#jsonTool = jsonToolOf(context);
    this.#isLegacy = usesLegacyFunctions(context.request);
  }

  openBlock(index: number, block: JsonObject): Delta[] {
    const open: OpenBlock = {
      type: textOf(block.type),
      callIndex: null,
      hasJson: false,
      input: block.input,
      thought: null,
      textStart: this.#textLength,
      citations: objectsIn(block.citations),
    };
    this.#open.set(index, open);
    switch (open.type) {
      case 'text':
        return this.#say(textOf(block.text));
      case 'thinking':
        open.thought = this.#place({ type: 'thinking', thinking: '', signature: textOf(block.signature) });
        return this.#think(open, textOf(block.thinking));
      case 'redacted_thinking':
        open.thought = this.#place({ type: 'redacted_thinking', data: block.data });
        return [];
      case 'tool_use':
        return this.#openCall(open, block);
      default:
        return [];
    }
  }

  /** A delta belongs to the block of its index; one of a block that we do not know belongs to nothing of ours. */
  addToBlock(index: number, delta: JsonObject): Delta[] {
    const open = this.#open.get(index);
    if (open === undefined) return delta.type === 'text_delta' ? this.#say(textOf(delta.text)) : [];
    switch (`${open.type} ${textOf(delta.type)}`) {
      case 'text text_delta':
        return this.#say(textOf(delta.text));
      case 'text citations_delta':
        if (isJsonObject(delta.citation)) open.citations.push(delta.citation);
        return [];
      case 'thinking thinking_delta':
        return this.#think(open, textOf(delta.thinking));
      case 'thinking signature_delta':
        if (open.thought !== null) {
          open.thought.block.signature = textOf(open.thought.block.signature) + textOf(delta.signature);
        }
        return [];
      case 'tool_use input_json_delta':
        return this.#argue(open, textOf(delta.partial_json));
      default:
        return [];
    }
  }

  closeBlock(index: number): Delta[] {
    const open = this.#open.get(index);
    this.#open.delete(index);
    if (open === undefined) return [];
    if (open.type === 'text') return this.#cite(open);
    if (open.thought !== null) return this.#sign(open.thought);
    if (open.type !== 'tool_use' || open.hasJson) return [];
    return this.#argue(open, isJsonObject(open.input) ? JSON.stringify(open.input) : '{}');
  }

  /** What is still owed when the answer is over, the refusal among it. */
  close(stopReason: JsonValue | undefined, stopDetails: JsonValue | undefined): Delta[] {
    const deltas = [...this.#open.keys()].flatMap((index) => this.closeBlock(index));
    if (this.#held !== '' && !this.#hasJsonAnswer) deltas.push({ content: this.#held });
    if (stopReason === 'refusal') {
      const explanation = isJsonObject(stopDetails) ? textOf(stopDetails.explanation) : '';
      deltas.push({ refusal: explanation === '' ? declined : explanation });
    }
    return deltas;
  }

  finish(stopReason: JsonValue | undefined): FinishReason {
    const reason = mapFinish(stopReason) ?? (this.#callCount > 0 ? 'tool_calls' : 'stop');
    if (reason !== 'tool_calls') return reason;
    // A call that the caller does not see would send it looking for one.
    if (this.#callCount === 0) return 'stop';
    return this.#isLegacy ? 'function_call' : reason;
  }

  #say(text: string): Delta[] {
    if (text === '') return [];
    if (this.#jsonTool !== null) {
      this.#held += text;
      return [];
    }
    this.#textLength += text.length;
    return [{ content: text }];
  }

  #place(block: JsonObject): PlacedThinking {
    return { block, textBefore: this.#textLength, callsBefore: this.#callCount };
  }

  #think(open: OpenBlock, text: string): Delta[] {
    if (text === '' || open.thought === null) return [];
    open.thought.block.thinking = textOf(open.thought.block.thinking) + text;
    return [{ reasoning_content: text }];
  }

  /** Without its signature a block is of no use to anybody but the reader, who has had its text. */
  #sign(thought: PlacedThinking): Delta[] {
    const isUnsigned = thought.block.type === 'thinking' && thought.block.signature === '';
    return isUnsigned ? [] : [{ thinking_blocks: [showThinking(thought)] }];
  }

  #openCall(open: OpenBlock, block: JsonObject): Delta[] {
    const name = textOf(block.name);
    if (name === this.#jsonTool) return [];
    open.callIndex = this.#callCount;
    this.#callCount += 1;
    const id = textOf(block.id) || `call_${this.#randomId()}`;
    return this.#call({ index: open.callIndex, id, type: 'function', function: { name, arguments: '' } });
  }

  #argue(open: OpenBlock, json: string): Delta[] {
    if (json === '') return [];
    open.hasJson = true;
    if (open.callIndex !== null) return this.#call({ index: open.callIndex, function: { arguments: json } });
    this.#hasJsonAnswer = true;
    return [{ content: json }];
  }

  #call(call: JsonObject): Delta[] {
    if (!this.#isLegacy) return [{ tool_calls: [call] }];
    const delta = toLegacyDeltas([call]);
    return Object.keys(delta).length === 0 ? [] : [delta];
  }

  /** OpenAI knows citations of the web; those of documents keep Anthropic's form. Offsets count UTF-16 units of `content`. */
  #cite({ citations, textStart }: OpenBlock): Delta[] {
    const span = { start_index: textStart, end_index: this.#textLength };
    const isWeb = (citation: JsonObject): boolean => citation.type === 'web_search_result_location';
    const annotations = citations.filter(isWeb).map(({ url, title }) => ({
      type: 'url_citation',
      url_citation: { url, title: title ?? '', ...span },
    }));
    const others = citations.filter((citation) => !isWeb(citation)).map((citation) => ({ ...citation, ...span }));
    return [
      ...(annotations.length === 0 ? [] : [{ annotations }]),
      ...(others.length === 0 ? [] : [{ citations: others }]),
    ];
  }
}

const serviceTiers: ReadonlyMap<unknown, string> = new Map([
  ['standard', 'default'],
  ['priority', 'priority'],
]);

/** The tier that served, in OpenAI's words; nothing where there is none. */
export function shownServiceTier(tier: unknown): JsonObject {
  const name = serviceTiers.get(tier);
  return name === undefined ? {} : { service_tier: name };
}

/** Where a server's tool ran: the next request may name it to go on there. */
export const shownContainer = (container: JsonValue | undefined): JsonObject =>
  isJsonObject(container) ? { container } : {};
