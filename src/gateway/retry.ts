/** What a failed attempt means for the next target, and what the caller is told about trying again. Spec: fidelity 3.5. */
import type { IncomingHttpHeaders } from 'node:http';
import { retryAfterHeaders, type ErrorName, type GatewayError } from '../contract/errors.ts';
import type { AttemptResult } from './attempt.ts';

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

/** The provider's own `x-should-retry` is never handed on; its wait, in a header or found by the adapter, is when an SDK would obey it. */
export function withRetryAdvice(
  error: GatewayError,
  upstream: IncomingHttpHeaders,
  { nowMs = Date.now(), isDispatched = true }: { nowMs?: number; isDispatched?: boolean } = {},
): GatewayError {
  if (neverHeals.has(error.kind)) return error.withHeaders({ 'x-should-retry': 'false' });
  // What left and was not answered in time may have been billed, and so may two more by an SDK.
  const isUnknown = error.kind === 'upstreamTimeout' && isDispatched;
  if (!isBusy.has(error.kind) && !isUnknown) return error;
  const waitMs = readRetryAfterMs({ ...upstream, ...error.headers }, nowMs);
  return error.withHeaders(
    waitMs === null || waitMs > 60_000 ? { 'x-should-retry': 'false' } : retryAfterHeaders(waitMs),
  );
}

const number = /^\d+(?:\.\d+)?$/;

/** `retry-after` is a number of seconds or an HTTP date. */
function readRetryAfterMs(headers: IncomingHttpHeaders, nowMs: number): number | null {
  const exact = headers['retry-after-ms'];
  if (typeof exact === 'string' && number.test(exact)) return Number(exact);
  const wait = headers['retry-after'];
  if (wait === undefined) return null;
  if (number.test(wait)) return Number(wait) * 1000;
  const dateMs = wait.endsWith(' GMT') ? Date.parse(wait) : Number.NaN;
  return Number.isNaN(dateMs) ? null : Math.max(0, dateMs - nowMs);
}
