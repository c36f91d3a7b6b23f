/** The six `x-ratelimit-*` headers, as OpenAI's server prints them. Spec: fidelity 3.1 and 3.2. */
import type { BucketState } from '../contract/admission.ts';

/** Of each kind the tightest bucket speaks; a kind without a bucket has no headers. */
export function rateLimitHeaders(buckets: readonly BucketState[]): Record<string, string> {
  const requests = findTightest(buckets, 'requests');
  const tokens = findTightest(buckets, 'tokens');
  const headers: Record<string, string> = {};
  if (requests !== undefined) {
    headers['x-ratelimit-limit-requests'] = String(requests.limit);
    headers['x-ratelimit-remaining-requests'] = String(requests.remaining);
    headers['x-ratelimit-reset-requests'] = formatGoDuration(timeUntilFullMs(requests));
  }
  if (tokens !== undefined) {
    headers['x-ratelimit-limit-tokens'] = String(tokens.limit);
    headers['x-ratelimit-remaining-tokens'] = String(tokens.remaining);
    headers['x-ratelimit-reset-tokens'] = formatGoDuration(timeUntilFullMs(tokens));
  }
  return headers;
}

/** Whole milliseconds printed like Go's `time.Duration.String()`: `0s`, `120ms`, `1.798s`, `6m0s`, `1h0m0s`. */
export function formatGoDuration(durationMs: number): string {
  const wholeMs = durationMs > 0 ? Math.floor(durationMs) : 0;
  if (wholeMs === 0) return '0s';
  if (wholeMs < 1000) return `${wholeMs}ms`;
  const seconds = `${(wholeMs % 60_000) / 1000}s`;
  if (wholeMs < 60_000) return seconds;
  const minutes = `${Math.floor(wholeMs / 60_000) % 60}m${seconds}`;
  return wholeMs < 3_600_000 ? minutes : `${Math.floor(wholeMs / 3_600_000)}h${minutes}`;
}

function findTightest(buckets: readonly BucketState[], rule: BucketState['rule']): BucketState | undefined {
  let tightest: BucketState | undefined;
  for (const bucket of buckets) {
    if (bucket.rule !== rule) continue;
    if (tightest === undefined || shareLeft(bucket) < shareLeft(tightest)) tightest = bucket;
  }
  return tightest;
}

const shareLeft = (bucket: BucketState): number => (bucket.limit === 0 ? -1 : bucket.remaining / bucket.limit);

/** Multiplied before it is divided: both factors are whole, so the product is exact and only the quotient rounds. */
function timeUntilFullMs(bucket: BucketState): number {
  return bucket.limit === 0 ? 0 : ((bucket.limit - bucket.remaining) * bucket.windowMs) / bucket.limit;
}
