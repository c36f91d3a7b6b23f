/**
 * From who asks and how much they may need to the checks that the engine decides on. Pure and cheap.
 * A limit of null makes no check; a limit of 0 makes one that always refuses. Spec: reliability 2.4 "Reservation".
 */
import type { AdmitRequest, BucketCheck, ConcurrencyCheck } from '../contract/admission.ts';
import type { Limits, Principal } from '../contract/flow.ts';

export type TokenEstimate = { inputTokens: number; outputTokens: number };

export type AdmissionPlan = Pick<AdmitRequest, 'buckets' | 'concurrency'> & {
  /** What the token buckets are debited until the true usage is known. */
  reservedTokens: number;
};

export function planAdmission(principal: Principal, estimate: TokenEstimate): AdmissionPlan {
  const accountLimits = principal.tier.limits;
  const keyLimits = principal.keyLimits;
  const reservedTokens = reserveTokens(estimate, accountLimits.tokensPerMinute, keyLimits.tokensPerMinute);
  const buckets: BucketCheck[] = [];
  const concurrency: ConcurrencyCheck[] = [];
  addChecks(`account:${principal.accountId}`, accountLimits);
  addChecks(`key:${principal.keyId}`, keyLimits);
  return { buckets, concurrency, reservedTokens };

  function addChecks(scope: string, limits: Limits): void {
    addBucket('requests', scope, limits.requestsPerMinute, 1);
    addBucket('tokens', scope, limits.tokensPerMinute, reservedTokens);
    if (limits.concurrency !== null) concurrency.push({ scope, limit: limits.concurrency });
  }

  function addBucket(rule: BucketCheck['rule'], scope: string, perMinute: number | null, cost: number): void {
    if (perMinute !== null) buckets.push({ rule, scope, capacity: perMinute, refillPerMinute: perMinute, cost });
  }
}

/**
 * Callers that always send the largest `max_tokens` would starve at one percent of real use, so one request may hold
 * at most a quarter of the tightest bucket. It is never less than the input: that much is spent for certain.
 */
function reserveTokens(estimate: TokenEstimate, accountLimit: number | null, keyLimit: number | null): number {
  const inputTokens = Math.ceil(estimate.inputTokens);
  const wanted = inputTokens + Math.ceil(estimate.outputTokens);
  const tightest = Math.min(accountLimit ?? Infinity, keyLimit ?? Infinity);
  return Math.max(inputTokens, Math.min(wanted, Math.floor(tightest / 4)));
}
