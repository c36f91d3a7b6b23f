import t from 'tap';
import { chargeableRoute, planAdmission } from '../../src/admission/limits.ts';
import type { MoneyLimits } from '../../src/contract/budgets.ts';
import { GatewayError } from '../../src/contract/errors.ts';
import type { Principal, Route, Target } from '../../src/contract/flow.ts';
import type { TierOptions } from '../../src/contract/tier-options.ts';

const none: MoneyLimits = { requestsPerMinute: null, tokensPerMinute: null, concurrency: null };

function principal(accountLimits: Partial<MoneyLimits>, keyLimits: Partial<MoneyLimits> = {}): Principal {
  return {
    accountId: 'a1',
    keyId: 'k1',
    tier: { id: 'pro', priceUsd: '49', limits: { ...none, ...accountLimits }, historyDays: 30, models: '*' },
    keyLimits: { ...none, ...keyLimits },
    keyModels: '*',
    authVersion: { account: 1, key: 1 },
  };
}

t.test('makes a check for every limit of the account and of the key when all are set', (t) => {
  const limits = { requestsPerMinute: 100, tokensPerMinute: 40_000, concurrency: 10 };
  const keyLimits = { requestsPerMinute: 20, tokensPerMinute: 8_000, concurrency: 2 };
  t.same(planAdmission(principal(limits, keyLimits), { inputTokens: 500, outputTokens: 300, prices: [null] }), {
    buckets: [
      { rule: 'requests', scope: 'account:a1', capacity: 100, refillPerMinute: 100, cost: 1 },
      { rule: 'tokens', scope: 'account:a1', capacity: 40_000, refillPerMinute: 40_000, cost: 800 },
      { rule: 'requests', scope: 'key:k1', capacity: 20, refillPerMinute: 20, cost: 1 },
      { rule: 'tokens', scope: 'key:k1', capacity: 8_000, refillPerMinute: 8_000, cost: 800 },
    ],
    concurrency: [
      { scope: 'account:a1', limit: 10 },
      { scope: 'key:k1', limit: 2 },
    ],
    budgets: [],
    reservedTokens: 800,
  });
  t.end();
});

t.test('makes no check when nothing is limited, and one that refuses when a limit is 0', (t) => {
  const free = planAdmission(principal({}), { inputTokens: 7, outputTokens: 1_000_000, prices: [null] });
  t.same(free, { buckets: [], concurrency: [], budgets: [], reservedTokens: 1_000_007 });
  const shut = planAdmission(principal({ requestsPerMinute: 0, concurrency: 0 }), {
    inputTokens: 1,
    outputTokens: 1,
    prices: [null],
  });
  t.equal(shut.buckets[0]?.capacity, 0);
  t.same(shut.concurrency, [{ scope: 'account:a1', limit: 0 }]);
  t.end();
});

t.test('reserves at most a quarter of the tightest token bucket when the output estimate is huge', (t) => {
  const limited = principal({ tokensPerMinute: 40_000 }, { tokensPerMinute: 10_000 });
  t.equal(planAdmission(limited, { inputTokens: 100, outputTokens: 128_000, prices: [null] }).reservedTokens, 2_500);
  t.end();
});

t.test('reserves the whole input when that is more than the quarter', (t) => {
  const limited = principal({ tokensPerMinute: 10_000 });
  t.equal(planAdmission(limited, { inputTokens: 6_000, outputTokens: 4_000, prices: [null] }).reservedTokens, 6_000);
  t.equal(planAdmission(limited, { inputTokens: 10_001, outputTokens: 0, prices: [null] }).reservedTokens, 10_001);
  t.end();
});

t.test('reserves whole tokens when the estimate has a fraction', (t) => {
  t.equal(planAdmission(principal({}), { inputTokens: 10.2, outputTokens: 1.5, prices: [null] }).reservedTokens, 13);
  t.end();
});

const price = { input: 2_500_000, cachedInput: 0, cacheWrite: 0, output: 10_000_000, reasoning: 0 };

t.test('holds the price of both estimates against every budget of the account and of the key', (t) => {
  const caller = principal({ budgets: { daily: 5, total: 7 } }, { budgets: { monthly: 0 } });
  t.same(planAdmission(caller, { inputTokens: 10, outputTokens: 3, prices: [price] }).budgets, [
    { scope: 'account:a1', period: 'daily', limitNanoUsd: 5, costNanoUsd: 55_000 },
    { scope: 'account:a1', period: 'total', limitNanoUsd: 7, costNanoUsd: 55_000 },
    { scope: 'key:k1', period: 'monthly', limitNanoUsd: 0, costNanoUsd: 55_000 },
  ]);
  t.end();
});

t.test('a prompt above the step of a price holds what the dearer step costs, input and output', (t) => {
  const caller = principal({ budgets: { daily: 5 } });
  const dearer = { ...price, input: 5_000_000, output: 15_000_000 };
  const stepped = { ...price, above: { promptTokens: 10, price: dearer } };
  const held = (inputTokens: number): number | undefined =>
    planAdmission(caller, { inputTokens, outputTokens: 3, prices: [stepped] }).budgets[0]?.costNanoUsd;
  t.equal(held(10), 55_000);
  t.equal(held(11), 100_000);
  t.end();
});

t.test('rounds a price up to whole nano-USD, and takes the dearer of answer and reasoning', (t) => {
  const caller = principal({ budgets: { daily: 5 } });
  const odd = { ...price, input: 1, output: 2, reasoning: 1_000 };
  t.equal(planAdmission(caller, { inputTokens: 1, outputTokens: 0, prices: [odd] }).budgets[0]?.costNanoUsd, 1);
  t.equal(planAdmission(caller, { inputTokens: 0, outputTokens: 3, prices: [odd] }).budgets[0]?.costNanoUsd, 3);
  t.equal(planAdmission(caller, { inputTokens: 0, outputTokens: 0, prices: [odd] }).budgets[0]?.costNanoUsd, 0);
  t.end();
});

t.test('refuses a model without a price under a budget, and only there', (t) => {
  const unpriced = { inputTokens: 1, outputTokens: 1, prices: [null] };
  t.same(planAdmission(principal({}), unpriced).budgets, []);
  try {
    planAdmission(principal({}, { budgets: { total: 5 } }), unpriced);
    t.fail('a request that nobody can price went through');
  } catch (error) {
    t.ok(error instanceof GatewayError);
    t.match(error, { status: 400, code: 'model_not_priced', param: 'model' });
  }
  t.end();
});

const withOptions = (caller: Principal, options: TierOptions): Principal => ({
  ...caller,
  tier: { ...caller.tier, ...options },
});

t.test('reserves no more than the cap of the tier, and never more than a bucket because of it', (t) => {
  const limited = principal({ tokensPerMinute: 10_000 });
  const reserved = (options: TierOptions, inputTokens = 100, outputTokens = 128_000): number =>
    planAdmission(withOptions(limited, options), { inputTokens, outputTokens, prices: [null] }).reservedTokens;
  t.equal(reserved({ reservationCapTokens: 4_096 }), 4_096);
  t.equal(reserved({ reservationCapTokens: 50_000 }), 10_000, 'the whole bucket, so that a full one admits it');
  t.equal(reserved({ reservationCapTokens: 50 }), 100, 'the input all the same');
  t.equal(reserved({ reservationCapTokens: 50_000 }, 10_001), 10_001, 'an input that cannot fit');
  t.equal(reserved({ reservationCapTokens: null }), 128_100, 'without a cap the full estimate counts');
  t.equal(reserved({}), 2_500);
  const unlimited = withOptions(principal({}), { reservationCapTokens: 4_096 });
  t.equal(planAdmission(unlimited, { inputTokens: 1, outputTokens: 9_000, prices: [] }).reservedTokens, 4_096);
  t.end();
});

t.test('holds the price of the dearest target, because any of them may answer', (t) => {
  const caller = principal({ budgets: { daily: 5 } });
  const cheap = { ...price, input: 1_000_000, output: 1_000_000 };
  const dear = { ...price, input: 4_000_000, output: 20_000_000 };
  const held = (prices: readonly (typeof price | null)[]) =>
    planAdmission(caller, { inputTokens: 10, outputTokens: 3, prices }).budgets[0]?.costNanoUsd;
  t.equal(held([cheap, dear, null]), 100_000);
  t.equal(held([dear, cheap]), 100_000);
  t.end();
});

const target = (id: string, modelPrice: typeof price | null): Target => ({
  providerId: 'acme',
  upstreamModel: id,
  model: {
    id: `acme/${id}`,
    providerId: 'acme',
    upstreamModel: id,
    name: id,
    contextTokens: 1,
    maxOutputTokens: 1,
    inputModalities: [],
    outputModalities: [],
    supportedParameters: [],
    price: modelPrice,
    created: 0,
  },
});

t.test('passes over targets without a price under a budget that refuses, and only there', (t) => {
  const unknown: Target = { providerId: 'house', upstreamModel: 'x', model: null };
  const route: Route = { publicModel: 'm', targets: [target('a', null), target('b', price), unknown] };
  const names = (caller: Principal): string[] =>
    chargeableRoute(route, caller).targets.map(({ upstreamModel }) => upstreamModel);
  const bounded = principal({ budgets: { daily: 5 } });
  t.same(names(bounded), ['b']);
  t.same(names(principal({}, { budgets: { total: 5 } })), ['b']);
  t.same(names(principal({})), ['a', 'b', 'x']);
  t.same(names(withOptions(bounded, { shadow: ['budget'] })), ['a', 'b', 'x']);
  t.same(chargeableRoute({ publicModel: 'm', targets: [unknown] }, bounded).targets, [unknown]);
  t.end();
});

t.test('holds nothing of a budget in shadow when nobody knows the price, and refuses under one of the key', (t) => {
  const caller = withOptions(principal({ budgets: { daily: 5 } }), { shadow: ['budget'] });
  const unpriced = { inputTokens: 1, outputTokens: 1, prices: [null] };
  t.same(planAdmission(caller, unpriced).budgets, []);
  const both = { ...caller, keyLimits: { ...none, budgets: { daily: 5 } } };
  t.throws(() => planAdmission(both, unpriced), { code: 'model_not_priced' });
  t.end();
});
