/**
 * Token figures of OpenAI-shaped upstreams, made comparable. Vendors disagree on where cached tokens stand and on whether
 * reasoning counts as completion; what leaves here obeys `total = prompt + completion`. Spec: fidelity 11.
 */
import type { Usage } from '../src/contract/flow.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';

/** More tokens than any context holds: such a figure is a fault upstream, and an estimate is nearer to the truth. */
const absurdTokens = 100_000_000;

export function tokenCount(value: JsonValue | undefined): number | null {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < absurdTokens ? value : null;
}

function firstCount(...values: (JsonValue | undefined)[]): number {
  for (const value of values) {
    const figure = tokenCount(value);
    if (figure !== null) return figure;
  }
  return 0;
}

const member = (value: JsonValue | undefined): JsonObject => (isJsonObject(value) ? value : {});

/** The figures as the upstream wrote them; some vendors put them only into an object of their own. */
function usageFigures(body: JsonObject): JsonObject | null {
  if (isJsonObject(body.usage)) return body.usage;
  const nested = member(body.x_groq).usage;
  return isJsonObject(nested) ? nested : null;
}

export function normaliseUsage(figures: JsonObject): Usage | null {
  const promptTokens = tokenCount(figures.prompt_tokens);
  const visibleTokens = tokenCount(figures.completion_tokens);
  if (promptTokens === null || visibleTokens === null) return null;
  // A total above the sum holds output that the vendor left out of its completion figure: reasoning.
  const hiddenTokens = Math.max(0, firstCount(figures.total_tokens) - promptTokens - visibleTokens);
  const completionTokens = visibleTokens + hiddenTokens;
  const promptDetails = member(figures.prompt_tokens_details);
  const completionDetails = member(figures.completion_tokens_details);
  const namedReasoning = firstCount(completionDetails.reasoning_tokens, figures.reasoning_tokens);
  return {
    promptTokens,
    cachedTokens: firstCount(
      promptDetails.cached_tokens,
      figures.cached_tokens,
      figures.prompt_cache_hit_tokens,
      figures.num_cached_tokens,
    ),
    cacheWriteTokens: firstCount(promptDetails.cache_write_tokens, figures.cache_write_tokens),
    completionTokens,
    reasoningTokens: Math.min(completionTokens, namedReasoning > 0 ? namedReasoning : hiddenTokens),
  };
}

/** Reads a reply body or a stream chunk; null when there are no figures or none that can be believed. */
export function readUsage(body: JsonObject): Usage | null {
  const figures = usageFigures(body);
  return figures === null ? null : normaliseUsage(figures);
}

/** The `usage` member that the caller sees: the upstream's own, with the normalised figures in OpenAI's places. */
export function writeUsage(body: JsonObject, usage: Usage): JsonObject {
  const figures = usageFigures(body) ?? {};
  const promptDetails: JsonObject = { ...member(figures.prompt_tokens_details), cached_tokens: usage.cachedTokens };
  if (usage.cacheWriteTokens > 0) promptDetails.cache_write_tokens = usage.cacheWriteTokens;
  return {
    ...figures,
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: promptDetails,
    completion_tokens_details: {
      ...member(figures.completion_tokens_details),
      reasoning_tokens: usage.reasoningTokens,
    },
  };
}
