/** What the caller reads when the engine says no. Spec: fidelity 3.3 and 3.5, reliability I5 and I6. */
import type { AdmitResult } from '../contract/admission.ts';
import { gatewayError, retryAfterHeaders, type GatewayError } from '../contract/errors.ts';
import { formatGoDuration, rateLimitHeaders } from './rate-limit-headers.ts';

export type Refusal = Exclude<AdmitResult, { outcome: 'admitted' }>;
type Rejection = Extract<AdmitResult, { outcome: 'rejected' }>;

const unavailableRetryMs = 1000;

export function refusalError(refusal: Refusal): GatewayError {
  switch (refusal.outcome) {
    case 'rejected':
      return rejectionError(refusal);
    case 'never':
      return gatewayError('requestExceedsLimit', {
        message:
          `This request can never fit the limit on ${ruleNames[refusal.rule]} of this ${ownerOf(refusal.scope)}: ` +
          `Limit ${refusal.limit}, Requested ${refusal.requested}. Send a shorter request.`,
      });
    case 'unavailable':
      return unavailableError(refusal.reason);
    case 'stale_auth':
      // It was read again and asked again; a key that changes faster than that is nobody's fault but must not pass.
      return gatewayError('authUnavailable', {
        message: 'The API key was changed a moment ago. Please try again in 1s.',
        headers: retryAfterHeaders(unavailableRetryMs),
      });
    case 'need_seed':
    case 'finished':
      // A settlement overtook the admission, as when a lost reply made the engine give the request up.
      return unavailableError('limits_unavailable');
  }
}

const ruleNames = { requests: 'requests per min (RPM)', tokens: 'tokens per min (TPM)' } as const;

function rejectionError(rejection: Rejection): GatewayError {
  const { rule, waitMs } = rejection;
  if (rule === 'budget') return budgetError(rejection);
  const owner = ownerOf(rejection.scope);
  const subject =
    rule === 'concurrency'
      ? `Too many requests of this ${owner} are running at the same time`
      : `Rate limit reached on ${ruleNames[rule]} of this ${owner}`;
  const numbers = `Limit ${rejection.limit}, Used ${rejection.used}, Requested ${rejection.requested}`;
  const advice = waitMs === null ? 'Waiting does not help.' : `Please try again in ${formatGoDuration(waitMs)}.`;
  return gatewayError(rule === 'tokens' ? 'tokensLimited' : 'requestsLimited', {
    message: `${subject}: ${numbers}. ${advice}`,
    headers: {
      ...rateLimitHeaders(rejection.buckets),
      ...(waitMs === null ? { 'x-should-retry': 'false' } : retryAfterHeaders(waitMs)),
    },
  });
}

const nanoPerUsd = 1e9;

/** Waiting a minute does not bring money back, so no client may retry by itself; the reset is told all the same. */
function budgetError(rejection: Rejection): GatewayError {
  const { waitMs } = rejection;
  const usd = (nanoUsd: number): string => `$${(nanoUsd / nanoPerUsd).toFixed(2)}`;
  const advice = waitMs === null ? 'It does not reset by itself.' : `It resets in ${formatGoDuration(waitMs)}.`;
  return gatewayError('quotaExceeded', {
    message:
      `The budget of this ${ownerOf(rejection.scope)} is used up: Limit ${usd(rejection.limit)}, ` +
      `Used ${usd(rejection.used)}, Requested ${usd(rejection.requested)}. ${advice}`,
    headers: {
      ...rateLimitHeaders(rejection.buckets),
      ...(waitMs === null ? {} : retryAfterHeaders(waitMs)),
      'x-should-retry': 'false',
    },
  });
}

type UnavailableReason = Extract<AdmitResult, { outcome: 'unavailable' }>['reason'];

const unavailableRows = {
  limits_unavailable: { name: 'limitsUnavailable', message: 'The limits of this key cannot be checked right now.' },
  store_full: { name: 'storeFull', message: 'The store of running requests is full.' },
  journal_full: { name: 'journalFull', message: 'The usage journal is full.' },
} as const;

function unavailableError(reason: UnavailableReason): GatewayError {
  const { name, message } = unavailableRows[reason];
  return gatewayError(name, {
    message: `${message} Please try again in ${formatGoDuration(unavailableRetryMs)}.`,
    headers: retryAfterHeaders(unavailableRetryMs),
  });
}

const ownerOf = (scope: string): string => (scope.startsWith('key:') ? 'API key' : 'account');
