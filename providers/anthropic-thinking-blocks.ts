/**
 * Signed thinking on the chat surface: `thinking_blocks` beside the message, accepted back unchanged or as
 * `reasoning_details`. A block that does not open the answer says where it stood in two members of ours:
 * `content_offset` (UTF-16 units of `content` before it) and `tool_call_offset` (calls before it). Spec: fidelity 4.5.
 */
import type { JsonObject, JsonValue } from '../src/contract/json.ts';
import type { Block } from './anthropic-draft.ts';
import { objectsIn, textOf } from './json-values.ts';

export type PlacedThinking = { block: Block; textBefore: number; callsBefore: number };

export function showThinking({ block, textBefore, callsBefore }: PlacedThinking): JsonObject {
  if (textBefore === 0 && callsBefore === 0) return block;
  return { ...block, content_offset: textBefore, tool_call_offset: callsBefore };
}

const isForeign = ({ format }: JsonObject): boolean => typeof format === 'string' && !format.startsWith('anthropic');

/** Only Anthropic can sign; a block without its signature or data is refused there. */
function signedBlock(source: JsonObject): Block | null {
  if (isForeign(source)) return null;
  if (source.type === 'redacted_thinking') {
    return textOf(source.data) === '' ? null : { type: 'redacted_thinking', data: source.data };
  }
  if (source.type !== 'thinking' || textOf(source.signature) === '') return null;
  return { type: 'thinking', thinking: textOf(source.thinking), signature: source.signature };
}

function fromDetail(detail: JsonObject): JsonObject {
  if (isForeign(detail)) return {};
  if (detail.type === 'reasoning.encrypted') return { type: 'redacted_thinking', data: detail.data };
  return { type: 'thinking', thinking: detail.text, signature: detail.signature };
}

const offset = (value: JsonValue | undefined): number => (typeof value === 'number' && value > 0 ? value : 0);

/** What of the reasoning of an earlier answer can be sent back, in order; `unsigned` counts the blocks that cannot. */
export function readThinking(message: JsonObject): { placed: PlacedThinking[]; unsigned: number } {
  const own = objectsIn(message.thinking_blocks);
  const sources = own.length > 0 ? own : objectsIn(message.reasoning_details).map(fromDetail);
  const placed = sources.flatMap((source) => {
    const block = signedBlock(source);
    const textBefore = offset(source.content_offset);
    return block === null ? [] : [{ block, textBefore, callsBefore: offset(source.tool_call_offset) }];
  });
  return { placed, unsigned: own.length > 0 ? own.length - placed.length : 0 };
}
