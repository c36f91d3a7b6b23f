/**
 * From who asks and how much they may need to the checks that the engine decides on. Pure and cheap.
 * A limit of null makes no check; a limit of 0 makes one that always refuses. What cannot be priced cannot be held
 * against a budget: under one it is passed over, and refused when nothing else is left. Spec: reliability 2.4
 * "Reservation", A3.3.
 */
import type { AdmitRequest, BucketCheck, BudgetCheck, ConcurrencyCheck } from '../contract/admission.ts';
import { budgetPeriods, type MoneyLimits } from '../contract/budgets.ts';
import { gatewayError, type GatewayError } from '../contract/errors.ts';
import type { Price, Principal, Route } from '../contract/flow.ts';
import { ratesFor } from '../contract/price.ts';
import { isShadowed, withoutShadow } from './shadow.ts';

export type AdmissionEstimate = {
  inputTokens: number;
  outputTokens: number;
  /** Of each target that may answer; null where the catalogue knows none. */
  prices: readonly (Price | null)[];
};

type Checks = Required<Pick<AdmitRequest, 'buckets' | 'concurrency' | 'budgets'>>;

export type AdmissionPlan = Checks & {
  /** What the token buckets are debited until the true usage is known. */
  reservedTokens: number;
};

export function planAdmission(principal: Principal, estimate: AdmissionEstimate): AdmissionPlan {
  const reservedTokens = reserveTokens(estimate, principal);
  const costs = { reservedTokens, costNanoUsd: () => dearestNanoUsd(estimate) };
  return { ...limitChecks(principal, costs), reservedTokens };
}

/**
 * Without the targets that have no price when the caller has a budget that refuses. The route of a model that has none
 * at all stays as it is, and its plan is refused.
 */
export function chargeableRoute(route: Route, principal: Principal): Route {
  const { tier, keyLimits } = withoutShadow(principal);
  if (tier.limits.budgets === undefined && keyLimits.budgets === undefined) return route;
  const [first, ...others] = route.targets.filter(({ model }) => model !== null && model.price !== null);
  return first === undefined ? route : { ...route, targets: [first, ...others] };
}

type Costs = {
  reservedTokens: number;
  /** Asked only when there is a budget. null: nobody can say. */
  costNanoUsd: () => number | null;
};

/** What the engine is asked of a caller; with costs of nothing it only looks. */
export function limitChecks(principal: Principal, costs: Costs): Checks {
  const { accountId, keyId, tier, keyLimits } = principal;
  const buckets: BucketCheck[] = [];
  const concurrency: ConcurrencyCheck[] = [];
  const budgets: BudgetCheck[] = [];
  addChecks(`account:${accountId}`, tier.limits);
  addChecks(`key:${keyId}`, keyLimits);
  return { buckets, concurrency, budgets };

  function addChecks(scope: string, limits: MoneyLimits): void {
    addBucket('requests', scope, limits.requestsPerMinute, 1);
    addBucket('tokens', scope, limits.tokensPerMinute, costs.reservedTokens);
    if (limits.concurrency !== null) concurrency.push({ scope, limit: limits.concurrency });
    if (limits.budgets === undefined) return;
    const costNanoUsd = costs.costNanoUsd();
    for (const period of budgetPeriods) {
      const limitNanoUsd = limits.budgets[period];
      if (limitNanoUsd === undefined) continue;
      if (costNanoUsd !== null) budgets.push({ scope, period, limitNanoUsd, costNanoUsd });
      else if (!isShadowed(principal, { rule: 'budget', scope })) throw unpriced();
    }
  }

  function addBucket(rule: BucketCheck['rule'], scope: string, perMinute: number | null, cost: number): void {
    if (perMinute !== null) buckets.push({ rule, scope, capacity: perMinute, refillPerMinute: perMinute, cost });
  }
}

const picoPerNano = 1000;

/**
 * Both estimates are upper bounds and so is their price at the dearest target: which of them answers is not known yet,
 * and what is too much comes back at settlement. null: no target has a price.
 */
function dearestNanoUsd({ inputTokens, outputTokens, prices }: AdmissionEstimate): number | null {
  let dearest: number | null = null;
  for (const price of prices) {
    if (price === null) continue;
    const { input, output, reasoning } = ratesFor(price, Math.ceil(inputTokens));
    const picoUsd = Math.ceil(inputTokens) * input + Math.ceil(outputTokens) * Math.max(output, reasoning);
    dearest = Math.max(dearest ?? 0, Math.ceil(picoUsd / picoPerNano));
  }
  return dearest;
}

function unpriced(): GatewayError {
  return gatewayError('invalidRequest', {
    code: 'model_not_priced',
    param: 'model',
    message:
      'This model has no price here, and a budget applies to this API key or its account. ' +
      'Choose a model that GET /v1/models lists with its pricing, or ask the operator to add a price.',
  });
}

/**
 * Callers that always send the largest `max_tokens` would starve at one percent of real use, so one request may hold
 * only so much: a quarter of the tightest bucket unless the tier says otherwise, and never more than a full bucket
 * because of a cap that is larger. It is never less than the input: that much is spent for certain.
 */
function reserveTokens(estimate: AdmissionEstimate, { tier, keyLimits }: Principal): number {
  const inputTokens = Math.ceil(estimate.inputTokens);
  const wanted = inputTokens + Math.ceil(estimate.outputTokens);
  const tightest = Math.min(tier.limits.tokensPerMinute ?? Infinity, keyLimits.tokensPerMinute ?? Infinity);
  const { reservationCapTokens: cap = Math.floor(tightest / 4) } = tier;
  return Math.max(inputTokens, cap === null ? wanted : Math.min(wanted, cap, tightest));
}
