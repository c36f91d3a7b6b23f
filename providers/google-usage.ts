/**
 * Gemini's token figures. What its own tools read is counted apart from the prompt, and thoughts apart from the answer; a
 * stream repeats the figures, and the last ones stand. Spec: fidelity 11.
 */
import type { Usage } from '../src/contract/flow.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { objectsIn } from './json-values.ts';
import { tokenCount } from './openai-usage.ts';

const countOf = (value: JsonValue | undefined): number => tokenCount(value) ?? 0;

const audioIn = (details: JsonValue | undefined): number =>
  objectsIn(details).reduce(
    (sum, { modality, tokenCount: count }) => sum + (modality === 'AUDIO' ? countOf(count) : 0),
    0,
  );

/** null when there are no figures or none that can be believed. */
export function normaliseUsage(figures: JsonObject): Usage | null {
  const asked = tokenCount(figures.promptTokenCount);
  if (asked === null) return null;
  const promptTokens = asked + countOf(figures.toolUsePromptTokenCount);
  const thoughts = countOf(figures.thoughtsTokenCount);
  const told = countOf(figures.candidatesTokenCount) + thoughts;
  // A total above the sum holds output that has no figure of its own.
  const completionTokens = Math.max(told, countOf(figures.totalTokenCount) - promptTokens);
  const audioPromptTokens = Math.min(promptTokens, audioIn(figures.promptTokensDetails));
  const audioCompletionTokens = Math.min(completionTokens, audioIn(figures.candidatesTokensDetails));
  return {
    promptTokens,
    cachedTokens: countOf(figures.cachedContentTokenCount),
    cacheWriteTokens: 0,
    completionTokens,
    reasoningTokens: thoughts,
    ...(audioPromptTokens > 0 ? { audioPromptTokens } : {}),
    ...(audioCompletionTokens > 0 ? { audioCompletionTokens } : {}),
  };
}

export const readUsage = ({ usageMetadata }: JsonObject): Usage | null =>
  isJsonObject(usageMetadata) ? normaliseUsage(usageMetadata) : null;

const serviceTiers: ReadonlyMap<unknown, string> = new Map([
  ['standard', 'default'],
  ['flex', 'flex'],
  ['priority', 'priority'],
  ['ON_DEMAND_FLEX', 'flex'],
  ['ON_DEMAND_PRIORITY', 'priority'],
]);

/** The tier that served, in OpenAI's words; nothing where there is none. */
export function shownServiceTier({ usageMetadata }: JsonObject): JsonObject {
  if (!isJsonObject(usageMetadata)) return {};
  const name = serviceTiers.get(usageMetadata.serviceTier) ?? serviceTiers.get(usageMetadata.trafficType);
  return name === undefined ? {} : { service_tier: name };
}
