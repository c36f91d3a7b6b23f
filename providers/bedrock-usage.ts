/** Converse's token figures: input leaves out what came from the cache and what went into it. Spec: fidelity 11. */
import type { Usage } from '../src/contract/flow.ts';
import { isJsonObject, type JsonObject } from '../src/contract/json.ts';
import { objectsIn } from './json-values.ts';
import { tokenCount } from './openai-usage.ts';

/** A whole reply, or the event `metadata`; null when there are no figures or none that can be believed. */
export function readUsage(body: JsonObject): Usage | null {
  if (!isJsonObject(body.usage)) return null;
  const { inputTokens, outputTokens, cacheReadInputTokens, cacheWriteInputTokens, cacheDetails } = body.usage;
  const freshTokens = tokenCount(inputTokens);
  const completionTokens = tokenCount(outputTokens);
  if (freshTokens === null || completionTokens === null) return null;
  const cachedTokens = tokenCount(cacheReadInputTokens) ?? 0;
  const cacheWriteTokens = tokenCount(cacheWriteInputTokens) ?? 0;
  const writtenForAnHour = objectsIn(cacheDetails)
    .filter(({ ttl }) => ttl === '1h')
    .reduce((sum, written) => sum + (tokenCount(written.inputTokens) ?? 0), 0);
  const longCacheWriteTokens = Math.min(cacheWriteTokens, writtenForAnHour);
  return {
    promptTokens: freshTokens + cachedTokens + cacheWriteTokens,
    cachedTokens,
    cacheWriteTokens,
    completionTokens,
    reasoningTokens: 0,
    ...(longCacheWriteTokens > 0 ? { longCacheWriteTokens } : {}),
  };
}
