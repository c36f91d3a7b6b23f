/** Why an answer ended, in OpenAI's words. Spec: fidelity 2.3, the table below the rules. */
import type { JsonValue } from '../src/contract/json.ts';

export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'content_filter' | 'function_call';

const words: ReadonlyMap<string, FinishReason> = new Map<string, FinishReason>([
  ['length', 'length'],
  ['max_tokens', 'length'],
  ['model_length', 'length'],
  ['model_context_window_exceeded', 'length'],
  ['incomplete', 'length'],
  ['tool_calls', 'tool_calls'],
  ['tool_call', 'tool_calls'],
  ['tool_use', 'tool_calls'],
  ['function_call', 'tool_calls'],
  ['content_filter', 'content_filter'],
  ['content_filtered', 'content_filter'],
  ['guardrail_intervened', 'content_filter'],
  ['refusal', 'content_filter'],
  ['safety', 'content_filter'],
  ['recitation', 'content_filter'],
  ['blocklist', 'content_filter'],
  ['prohibited_content', 'content_filter'],
  ['spii', 'content_filter'],
  ['language', 'content_filter'],
  ['model_armor', 'content_filter'],
]);

/** These say that the answer failed; as a finish they would be taken for success. */
export function isErrorFinish(reason: JsonValue | undefined, hasOutput: boolean): boolean {
  if (typeof reason !== 'string') return false;
  if (/^(?:error|insufficient_system_resource)$/i.test(reason)) return true;
  return !hasOutput && /^malformed_/i.test(reason);
}

/** null: the upstream gave none yet (absent, null or empty). Unknown words are a plain stop. */
export function mapFinish(reason: JsonValue | undefined): FinishReason | null {
  if (typeof reason !== 'string' || reason === '') return null;
  const word = reason.toLowerCase();
  return words.get(word) ?? (word.startsWith('image_') ? 'content_filter' : 'stop');
}
