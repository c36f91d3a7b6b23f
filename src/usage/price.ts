/** What tokens cost, exactly: whole pico-USD (1e-12), never a fraction in binary. */
import { formatUsd } from '../store/decimal-usd.ts';
import type { Price, Usage } from '../contract/flow.ts';
import { ratesFor } from '../contract/price.ts';

/**
 * Whole pico-USD. Every token is priced once: cached and written tokens are part of the prompt (a provider may report
 * both for the same tokens), audio is part of what is left, and reasoning part of the completion.
 */
export function costPicoUsd(usage: Usage, price: Price | null): number {
  if (price === null) return 0;
  const rates = ratesFor(price, usage.promptTokens);
  return inputPicoUsd(usage, rates) + outputPicoUsd(usage, rates);
}

function inputPicoUsd(usage: Usage, rates: Price): number {
  const cached = Math.min(usage.cachedTokens, usage.promptTokens);
  const written = Math.min(usage.cacheWriteTokens, usage.promptTokens - cached);
  const long = Math.min(usage.longCacheWriteTokens ?? 0, written);
  const fresh = usage.promptTokens - cached - written;
  const heard = Math.min(usage.audioPromptTokens ?? 0, fresh);
  return (
    (fresh - heard) * rates.input +
    heard * (rates.audioInput ?? rates.input) +
    cached * rates.cachedInput +
    (written - long) * rates.cacheWrite +
    long * (rates.longCacheWrite ?? rates.cacheWrite)
  );
}

function outputPicoUsd(usage: Usage, rates: Price): number {
  const reasoning = Math.min(usage.reasoningTokens, usage.completionTokens);
  const said = usage.completionTokens - reasoning;
  const spoken = Math.min(usage.audioCompletionTokens ?? 0, said);
  return (said - spoken) * rates.output + spoken * (rates.audioOutput ?? rates.output) + reasoning * rates.reasoning;
}

/** For people: `0.0000195`, and `0` for nothing. */
export function shortUsd(picoUsd: number): string {
  const exact = formatUsd(picoUsd);
  let end = exact.length;
  while (exact.charCodeAt(end - 1) === zero) end -= 1;
  return exact.slice(0, exact.charCodeAt(end - 1) === point ? end - 1 : end);
}

const zero = 0x30;
const point = 0x2e;
