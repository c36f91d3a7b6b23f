/**
 * `GET /v1/key`: who am I, what may I use and what is left of it. Looks without consuming, so it does not count against
 * any limit; instead it is throttled by itself. Spec: operations 3.
 */
import type { FastifyInstance } from 'fastify';
import { rateLimitHeaders } from '../../admission/rate-limit-headers.ts';
import type { BucketState, BudgetState, LimitsView } from '../../contract/admission.ts';
import { gatewayError, retryAfterHeaders } from '../../contract/errors.ts';
import type { Principal } from '../../contract/flow.ts';
import type { AdmissionGate } from '../../gateway/admission-gate.ts';
import type { KeySpending } from '../../store/key-spending.ts';
import type { Callers } from './caller.ts';
import { createKeyThrottle } from './key-throttle.ts';

export type KeyRouteOptions = {
  callers: Callers;
  gate: AdmissionGate;
  findSpending: (principal: Principal) => Promise<KeySpending | null>;
};

const callsPerSecond = 5;
const retryMs = 1000;
const nanoPerUsd = 1e9;

export function registerKey(app: FastifyInstance, { callers, gate, findSpending }: KeyRouteOptions): void {
  const throttle = createKeyThrottle({ perSecond: callsPerSecond, nowMs: () => performance.now() });
  app.get('/key', async (request, reply) => {
    const principal = await callers.verify(request);
    refuseHurry(throttle.waitMs(principal.keyId));
    const [view, spending] = await Promise.all([gate.look(principal), findSpending(principal)]).catch(refuseUnknown);
    if (view === null || spending === null) return refuseUnknown(null);
    void reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
    return { data: describe(principal, spending, view) };
  });
}

function refuseHurry(waitMs: number): void {
  if (waitMs === 0) return;
  throw gatewayError('requestsLimited', {
    message: `GET /v1/key answers ${callsPerSecond} times a second for one API key. Please try again in ${Math.ceil(waitMs)}ms.`,
    headers: retryAfterHeaders(waitMs),
  });
}

function refuseUnknown(cause: unknown): never {
  throw gatewayError('limitsUnavailable', {
    message: 'The limits and the usage of this key cannot be read right now. Please try again in 1s.',
    headers: retryAfterHeaders(retryMs),
    cause,
  });
}

function describe(principal: Principal, spending: KeySpending, view: LimitsView): Record<string, unknown> {
  const { keyId, tier } = principal;
  const tightest = view.budgets.toSorted((one, other) => one.remainingNanoUsd - other.remainingNanoUsd)[0];
  return {
    id: keyId,
    label: spending.name,
    tier: tier.id,
    limit: tightest === undefined ? null : usd(tightest.limitNanoUsd),
    limit_remaining: tightest === undefined ? null : usd(tightest.remainingNanoUsd),
    limit_reset: tightest === undefined || tightest.period === 'total' ? null : tightest.period,
    budgets: view.budgets.map(describeBudget),
    usage: Number(spending.totalUsd),
    usage_daily: Number(spending.dailyUsd),
    usage_monthly: Number(spending.monthlyUsd),
    is_free_tier: Number(tier.priceUsd) === 0,
    expires_at: spending.expiresAt?.toISOString() ?? null,
    rate_limit: describeRates(view),
  };
}

function describeBudget({ scope, period, limitNanoUsd, remainingNanoUsd, resetsAtMs }: BudgetState): object {
  return {
    scope: ownerOf(scope),
    period,
    limit: usd(limitNanoUsd),
    remaining: usd(remainingNanoUsd),
    resets_at: resetsAtMs === null ? null : new Date(resetsAtMs).toISOString(),
  };
}

/** The figures of the `x-ratelimit-*` headers, of each kind where the least is left. null: not limited. */
function describeRates(view: LimitsView): object {
  const buckets = view.buckets.toSorted((one, other) => one.remaining - other.remaining);
  const leastOf = (rule: BucketState['rule']): BucketState[] =>
    buckets.filter((bucket) => bucket.rule === rule).slice(0, 1);
  const headers = rateLimitHeaders([...leastOf('requests'), ...leastOf('tokens')]);
  const [slots] = view.concurrency.toSorted((one, other) => one.limit - one.used - (other.limit - other.used));
  const figure = (name: string): number | null => (headers[name] === undefined ? null : Number(headers[name]));
  return {
    requests: figure('x-ratelimit-limit-requests'),
    tokens: figure('x-ratelimit-limit-tokens'),
    concurrent: slots?.limit ?? null,
    remaining: {
      requests: figure('x-ratelimit-remaining-requests'),
      tokens: figure('x-ratelimit-remaining-tokens'),
      concurrent: slots === undefined ? null : Math.max(0, slots.limit - slots.used),
    },
    reset: {
      requests: headers['x-ratelimit-reset-requests'] ?? null,
      tokens: headers['x-ratelimit-reset-tokens'] ?? null,
    },
  };
}

const usd = (nanoUsd: number): number => nanoUsd / nanoPerUsd;
const ownerOf = (scope: string): string => scope.slice(0, scope.indexOf(':'));
