/**
 * Rules in shadow: they decide like any other, and what they would have refused runs all the same. Such a request is
 * asked for once more without the rule, so the rule goes on as if it had been refused: it holds no slot and takes
 * nothing from the bucket. Money alone is charged in any case, because what a budget has spent is the sum of its rows.
 * The engines know nothing of it. Spec: reliability 2.1.
 */
import type { AdmitRequest, AdmitResult, BucketState } from '../contract/admission.ts';
import type { MoneyLimits } from '../contract/budgets.ts';
import type { Principal } from '../contract/flow.ts';
import type { LimitRule } from '../contract/tier-options.ts';
import { largestMoneyNanoUsd } from './amount-bounds.ts';

type Owner = Pick<Principal, 'accountId' | 'tier'>;
type Check = { rule: LimitRule; scope: string };
type Refused = Extract<AdmitResult, { outcome: 'rejected' | 'never' }>;

/** A tier's own rules only: the limits of its keys are somebody's explicit wish. */
export function isShadowed({ accountId, tier }: Owner, { rule, scope }: Check): boolean {
  return tier.shadow !== undefined && tier.shadow.includes(rule) && scope === `account:${accountId}`;
}

export function isRefusedInShadow(owner: Owner, result: AdmitResult): result is Refused {
  return (result.outcome === 'rejected' || result.outcome === 'never') && isShadowed(owner, result);
}

/** The same question, without the rule that refused it. */
export function askWithout(request: AdmitRequest, { rule, scope }: Check): AdmitRequest {
  const { buckets, concurrency, budgets = [] } = request;
  return {
    ...request,
    buckets: buckets.filter((check) => check.rule !== rule || check.scope !== scope),
    concurrency: concurrency.filter((check) => rule !== 'concurrency' || check.scope !== scope),
    budgets: budgets.map((check) =>
      rule === 'budget' && check.scope === scope ? { ...check, limitNanoUsd: largestMoneyNanoUsd } : check,
    ),
  };
}

/** What a caller may be told of: a limit that refuses nobody is not theirs to heed. */
export function toldBuckets(owner: Owner, buckets: readonly BucketState[]): readonly BucketState[] {
  return owner.tier.shadow === undefined ? buckets : buckets.filter((bucket) => !isShadowed(owner, bucket));
}

/** The caller as if the rules in shadow did not exist. */
export function withoutShadow(principal: Principal): Principal {
  const { tier } = principal;
  const { shadow, limits } = tier;
  if (shadow === undefined) return principal;
  const { requestsPerMinute, tokensPerMinute, concurrency, budgets } = limits;
  const enforced: MoneyLimits = {
    requestsPerMinute: shadow.includes('requests') ? null : requestsPerMinute,
    tokensPerMinute: shadow.includes('tokens') ? null : tokensPerMinute,
    concurrency: shadow.includes('concurrency') ? null : concurrency,
    ...(budgets === undefined || shadow.includes('budget') ? {} : { budgets }),
  };
  return { ...principal, tier: { ...tier, limits: enforced } };
}
