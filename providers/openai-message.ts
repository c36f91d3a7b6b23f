/**
 * What one assistant message or delta says, freed of the forms that vendors put it in: reasoning under four names, content
 * as an array of blocks, empty members that crash typed clients. Spec: fidelity 2.3, rules 11 to 15.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';

export type MessageParts = {
  /** null: the message has no text member at all. */
  content: string | null;
  reasoning: string;
  toolCalls: readonly JsonObject[];
  /** Members that we have no business with. */
  rest: JsonObject;
};

/** Known noise: token ids and measurements that some servers add beside the text. */
export const commonNoise: readonly string[] = [
  'token_id',
  'token_ids',
  'prompt_token_ids',
  'prompt_text',
  'sla_metrics',
  'obfuscation',
];

const handled = new Set(['role', 'content', 'reasoning', 'reasoning_content', 'tool_calls', 'index']);

/** True for `{}`, `[]`, `""`, `0`, null and nests of them: what a server prints for a member that it did not fill. */
export function isHollow(value: JsonValue | undefined): boolean {
  if (value === null || value === undefined || value === '' || value === 0) return true;
  if (Array.isArray(value)) return value.length === 0;
  return isJsonObject(value) && Object.values(value).every(isHollow);
}

const hollowWhenEmpty = new Set(['refusal', 'function_call', 'audio', 'custom', 'reasoning_details']);

export function withoutNoise(source: JsonObject, noise: readonly string[], taken?: ReadonlySet<string>): JsonObject {
  const kept: JsonObject = {};
  for (const [key, value] of Object.entries(source)) {
    if (taken?.has(key) === true || noise.includes(key)) continue;
    // `refusal: null` is OpenAI's own form; only the invented empties go.
    if (hollowWhenEmpty.has(key) && value !== null && isHollow(value)) continue;
    kept[key] = value;
  }
  return kept;
}

function blockText(value: JsonValue | undefined): string {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return '';
  return value
    .filter(isJsonObject)
    .map((block) => blockText(block.text))
    .join('');
}

/** Splits an array of `thinking` and `text` blocks; other blocks have no place on this surface. */
function splitBlocks(blocks: readonly JsonValue[]): { content: string; reasoning: string } {
  const split = { content: '', reasoning: '' };
  for (const block of blocks) {
    if (typeof block === 'string') split.content += block;
    if (!isJsonObject(block)) continue;
    if (block.type === 'thinking') split.reasoning += blockText(block.thinking);
    else split.content += blockText(block.text);
  }
  return split;
}

const firstText = (...values: (JsonValue | undefined)[]): string =>
  values.find((value): value is string => typeof value === 'string' && value !== '') ?? '';

/** The signed form of reasoning stays as it is; here it is read only where the vendor gives no plain text beside it. */
function detailText(details: JsonValue | undefined): string {
  if (!Array.isArray(details)) return '';
  return details
    .filter(isJsonObject)
    .map((detail) => (detail.type === 'reasoning.text' ? blockText(detail.text) : ''))
    .join('');
}

export function readMessage(message: JsonObject, noise: readonly string[]): MessageParts {
  const { content } = message;
  const blocks = Array.isArray(content) ? splitBlocks(content) : null;
  return {
    content: blocks?.content ?? (typeof content === 'string' ? content : null),
    reasoning: firstText(
      message.reasoning_content,
      message.reasoning,
      blocks?.reasoning,
      detailText(message.reasoning_details),
    ),
    toolCalls: Array.isArray(message.tool_calls) ? message.tool_calls.filter(isJsonObject) : [],
    rest: withoutNoise(message, noise, handled),
  };
}
