/**
 * Anthropic's token figures. Its input leaves out what came from the cache, a stream counts up in several events, and a
 * reply of several rounds lists each of them. Spec: fidelity 11 and 4.6.
 */
import type { Usage } from '../src/contract/flow.ts';
import { isJsonObject, type JsonObject } from '../src/contract/json.ts';
import { objectsIn } from './json-values.ts';
import { tokenCount } from './openai-usage.ts';

const counted = ['input_tokens', 'output_tokens', 'cache_read_input_tokens', 'cache_creation_input_tokens'] as const;

/** The rounds that the caller's own model worked; an advisor is another model, and a fallback is already the sum. */
function sumRounds(figures: JsonObject): JsonObject {
  const rounds = objectsIn(figures.iterations);
  const own = rounds.filter(({ type }) => type !== 'advisor_message');
  if (own.length === 0 || rounds.some(({ type }) => type === 'fallback_message')) return {};
  return Object.fromEntries(
    counted.map((name) => [name, own.reduce((sum, round) => sum + (tokenCount(round[name]) ?? 0), 0)]),
  );
}

/** null when there are no figures or none that can be believed. */
export function normaliseUsage(written: JsonObject): Usage | null {
  const figures = { ...written, ...sumRounds(written) };
  const inputTokens = tokenCount(figures.input_tokens);
  const completionTokens = tokenCount(figures.output_tokens);
  if (inputTokens === null || completionTokens === null) return null;
  const cachedTokens = tokenCount(figures.cache_read_input_tokens) ?? 0;
  const cacheWriteTokens = tokenCount(figures.cache_creation_input_tokens) ?? 0;
  const written1h = isJsonObject(figures.cache_creation) ? figures.cache_creation.ephemeral_1h_input_tokens : 0;
  const longCacheWriteTokens = Math.min(cacheWriteTokens, tokenCount(written1h) ?? 0);
  const details = isJsonObject(figures.output_tokens_details) ? figures.output_tokens_details : {};
  return {
    promptTokens: inputTokens + cachedTokens + cacheWriteTokens,
    cachedTokens,
    cacheWriteTokens,
    completionTokens,
    reasoningTokens: Math.min(completionTokens, tokenCount(details.thinking_tokens) ?? 0),
    ...(longCacheWriteTokens > 0 ? { longCacheWriteTokens } : {}),
  };
}

/** A whole reply, or an event of a stream on its own. */
export function readUsage(body: JsonObject): Usage | null {
  const message = isJsonObject(body.message) ? body.message : body;
  return isJsonObject(message.usage) ? normaliseUsage(message.usage) : null;
}

/** The figures of a stream: each event may raise them, and what it leaves out or says to be null stands. */
export class UsageSum {
  #figures: JsonObject = {};

  add(figures: unknown): void {
    if (!isJsonObject(figures)) return;
    for (const [name, value] of Object.entries(figures)) if (value !== null) this.#figures[name] = value;
  }

  get serviceTier(): unknown {
    return this.#figures.service_tier;
  }

  usage(): Usage | null {
    return normaliseUsage(this.#figures);
  }
}
