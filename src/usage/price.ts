/** What tokens cost, exactly: whole pico-USD (1e-12), never a fraction in binary. */
import { formatUsd } from '../store/decimal-usd.ts';
import type { Price, Usage } from '../contract/flow.ts';

/** Whole pico-USD. Cached and written tokens are part of the prompt; a provider may report both for the same tokens. */
export function costPicoUsd(usage: Usage, price: Price | null): number {
  if (price === null) return 0;
  const cached = Math.min(usage.cachedTokens, usage.promptTokens);
  const written = Math.min(usage.cacheWriteTokens, usage.promptTokens - cached);
  const fresh = usage.promptTokens - cached - written;
  const reasoning = Math.min(usage.reasoningTokens, usage.completionTokens);
  const spoken = usage.completionTokens - reasoning;
  return (
    fresh * price.input +
    cached * price.cachedInput +
    written * price.cacheWrite +
    spoken * price.output +
    reasoning * price.reasoning
  );
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
