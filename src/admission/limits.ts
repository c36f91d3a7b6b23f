/**
 * From who asks and how much they may need to the checks that the engine decides on. Pure and cheap.
 * A limit of null makes no check; a limit of 0 makes one that always refuses. What cannot be priced cannot be held
 * against a budget, so under one it is refused. Spec: reliability 2.4 "Reservation", A3.3.
 */
import type { AdmitRequest, BucketCheck, BudgetCheck, ConcurrencyCheck } from '../contract/admission.ts';
import { budgetPeriods, type MoneyLimits } from '../contract/budgets.ts';
import { gatewayError } from '../contract/errors.ts';
import type { Price, Principal } from '../contract/flow.ts';

export type AdmissionEstimate = {
  inputTokens: number;
  outputTokens: number;
  /** Of the first target; null when the catalogue does not know it. */
  price: Price | null;
};

type Checks = Required<Pick<AdmitRequest, 'buckets' | 'concurrency' | 'budgets'>>;

export type AdmissionPlan = Checks & {
  /** What the token buckets are debited until the true usage is known. */
  reservedTokens: number;
};

export function planAdmission(principal: Principal, estimate: AdmissionEstimate): AdmissionPlan {
  const reservedTokens = reserveTokens(
    estimate,
    principal.tier.limits.tokensPerMinute,
    principal.keyLimits.tokensPerMinute,
  );
  return { ...limitChecks(principal, { reservedTokens, costNanoUsd: () => priceOf(estimate) }), reservedTokens };
}

type Costs = {
  reservedTokens: number;
  /** Asked only when there is a budget. */
  costNanoUsd: () => number;
};

/** What the engine is asked of a caller; with costs of nothing it only looks. */
export function limitChecks({ accountId, keyId, tier, keyLimits }: Principal, costs: Costs): Checks {
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
    for (const period of budgetPeriods) {
      const limitNanoUsd = limits.budgets[period];
      if (limitNanoUsd !== undefined) budgets.push({ scope, period, limitNanoUsd, costNanoUsd: costs.costNanoUsd() });
    }
  }

  function addBucket(rule: BucketCheck['rule'], scope: string, perMinute: number | null, cost: number): void {
    if (perMinute !== null) buckets.push({ rule, scope, capacity: perMinute, refillPerMinute: perMinute, cost });
  }
}

const picoPerNano = 1000;

/** Both estimates are upper bounds and so is their price: what is too much comes back at settlement. */
function priceOf({ inputTokens, outputTokens, price }: AdmissionEstimate): number {
  if (price === null) {
    throw gatewayError('invalidRequest', {
      code: 'model_not_priced',
      param: 'model',
      message:
        'This model has no price here, and a budget applies to this API key or its account. ' +
        'Choose a model that GET /v1/models lists with its pricing, or ask the operator to add a price.',
    });
  }
  const picoUsd =
    Math.ceil(inputTokens) * price.input + Math.ceil(outputTokens) * Math.max(price.output, price.reasoning);
  return Math.ceil(picoUsd / picoPerNano);
}

/**
 * Callers that always send the largest `max_tokens` would starve at one percent of real use, so one request may hold
 * at most a quarter of the tightest bucket. It is never less than the input: that much is spent for certain.
 */
function reserveTokens(estimate: AdmissionEstimate, accountLimit: number | null, keyLimit: number | null): number {
  const inputTokens = Math.ceil(estimate.inputTokens);
  const wanted = inputTokens + Math.ceil(estimate.outputTokens);
  const tightest = Math.min(accountLimit ?? Infinity, keyLimit ?? Infinity);
  return Math.max(inputTokens, Math.min(wanted, Math.floor(tightest / 4)));
}
