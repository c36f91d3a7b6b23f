/** What a failed attempt means for the next target, and what the caller is told about trying again. Spec: fidelity 3.5. */
import type { IncomingHttpHeaders } from 'node:http';
import { retryAfterHeaders, type ErrorName, type GatewayError } from '../contract/errors.ts';
import type { AttemptResult } from './exchange.ts';

const failsElsewhereToo: ReadonlySet<ErrorName> = new Set([
  'invalidRequest',
  'upstreamRejected',
  'unsupportedParameter',
  'invalidValue',
  'contextLengthExceeded',
  'contentFilter',
  'unprocessable',
  'clientClosed',
  'draining',
  'internal',
]);

const neverHeals: ReadonlySet<ErrorName> = new Set(['upstreamAuthentication', 'upstreamBadReply']);
const isBusy: ReadonlySet<ErrorName> = new Set(['upstreamRateLimited', 'upstreamOverloaded', 'upstreamServerError']);

/** Only before the first byte, never for a caller that has gone, never when time itself ran out. */
export function isWorthAnotherTarget(result: AttemptResult): boolean {
  if (result.error === null || result.hasStarted) return false;
  if (result.ending !== 'upstream_failed' && result.ending !== 'upstream_timeout') return false;
  return !failsElsewhereToo.has(result.error.kind);
}

/** The provider's own `x-should-retry` is never handed on; its wait is, when an SDK would obey it. */
export function withRetryAdvice(error: GatewayError, upstream: IncomingHttpHeaders): GatewayError {
  if (neverHeals.has(error.kind)) return error.withHeaders({ 'x-should-retry': 'false' });
  if (!isBusy.has(error.kind)) return error;
  const waitMs = readRetryAfterMs(upstream);
  return error.withHeaders(
    waitMs === null || waitMs > 60_000 ? { 'x-should-retry': 'false' } : retryAfterHeaders(waitMs),
  );
}

function readRetryAfterMs(headers: IncomingHttpHeaders): number | null {
  const exact = Number(headers['retry-after-ms'] ?? Number.NaN);
  if (Number.isFinite(exact) && exact >= 0) return exact;
  const seconds = Number(headers['retry-after'] ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null;
}
