/** Marks of the prompt cache: at most four in one request, and the last ones hold the longest prefix. Spec: fidelity 4.1. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { Block, MessagesDraft } from './anthropic-draft.ts';
import { objectsIn } from './json-values.ts';

const maximumMarks = 4;

/** The mark on a part, message or tool of the caller's, in Anthropic's own form or in OpenAI's. */
export function cacheMark(source: JsonObject): JsonObject | null {
  if (isJsonObject(source.cache_control)) return source.cache_control;
  return isJsonObject(source.prompt_cache_breakpoint) ? { type: 'ephemeral' } : null;
}

/** Thinking cannot carry a mark; the mark of a whole message goes to the last block that can. */
export function markLast(blocks: readonly Block[], mark: JsonObject | null): void {
  const last = blocks.findLast(({ type }) => type !== 'thinking' && type !== 'redacted_thinking');
  if (mark !== null && last !== undefined) last.cache_control ??= mark;
}

function marked(value: JsonValue | undefined): JsonObject[] {
  return objectsIn(value).filter((block) => isJsonObject(block.cache_control));
}

export function limitCacheMarks({ body, dropped }: MessagesDraft): void {
  // In the order of the prompt.
  const inMessages = objectsIn(body.messages).flatMap((message) => marked(message.content));
  const holders = [...marked(body.tools), ...marked(body.system), ...inMessages];
  const allowed = isJsonObject(body.cache_control) ? maximumMarks - 1 : maximumMarks;
  if (holders.length <= allowed) return;
  for (const holder of holders.slice(0, -allowed)) delete holder.cache_control;
  dropped.push(`cache_control(${holders.length}->${allowed})`);
}
