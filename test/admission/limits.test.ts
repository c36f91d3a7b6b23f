import t from 'tap';
import { planAdmission } from '../../src/admission/limits.ts';
import type { MoneyLimits } from '../../src/contract/budgets.ts';
import { GatewayError } from '../../src/contract/errors.ts';
import type { Principal } from '../../src/contract/flow.ts';

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
  t.same(planAdmission(principal(limits, keyLimits), { inputTokens: 500, outputTokens: 300, price: null }), {
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
  const free = planAdmission(principal({}), { inputTokens: 7, outputTokens: 1_000_000, price: null });
  t.same(free, { buckets: [], concurrency: [], budgets: [], reservedTokens: 1_000_007 });
  const shut = planAdmission(principal({ requestsPerMinute: 0, concurrency: 0 }), {
    inputTokens: 1,
    outputTokens: 1,
    price: null,
  });
  t.equal(shut.buckets[0]?.capacity, 0);
  t.same(shut.concurrency, [{ scope: 'account:a1', limit: 0 }]);
  t.end();
});

t.test('reserves at most a quarter of the tightest token bucket when the output estimate is huge', (t) => {
  const limited = principal({ tokensPerMinute: 40_000 }, { tokensPerMinute: 10_000 });
  t.equal(planAdmission(limited, { inputTokens: 100, outputTokens: 128_000, price: null }).reservedTokens, 2_500);
  t.end();
});

t.test('reserves the whole input when that is more than the quarter', (t) => {
  const limited = principal({ tokensPerMinute: 10_000 });
  t.equal(planAdmission(limited, { inputTokens: 6_000, outputTokens: 4_000, price: null }).reservedTokens, 6_000);
  t.equal(planAdmission(limited, { inputTokens: 10_001, outputTokens: 0, price: null }).reservedTokens, 10_001);
  t.end();
});

t.test('reserves whole tokens when the estimate has a fraction', (t) => {
  t.equal(planAdmission(principal({}), { inputTokens: 10.2, outputTokens: 1.5, price: null }).reservedTokens, 13);
  t.end();
});

const price = { input: 2_500_000, cachedInput: 0, cacheWrite: 0, output: 10_000_000, reasoning: 0 };

t.test('holds the price of both estimates against every budget of the account and of the key', (t) => {
  const caller = principal({ budgets: { daily: 5, total: 7 } }, { budgets: { monthly: 0 } });
  t.same(planAdmission(caller, { inputTokens: 10, outputTokens: 3, price }).budgets, [
    { scope: 'account:a1', period: 'daily', limitNanoUsd: 5, costNanoUsd: 55_000 },
    { scope: 'account:a1', period: 'total', limitNanoUsd: 7, costNanoUsd: 55_000 },
    { scope: 'key:k1', period: 'monthly', limitNanoUsd: 0, costNanoUsd: 55_000 },
  ]);
  t.end();
});

t.test('rounds a price up to whole nano-USD, and takes the dearer of answer and reasoning', (t) => {
  const caller = principal({ budgets: { daily: 5 } });
  const odd = { ...price, input: 1, output: 2, reasoning: 1_000 };
  t.equal(planAdmission(caller, { inputTokens: 1, outputTokens: 0, price: odd }).budgets[0]?.costNanoUsd, 1);
  t.equal(planAdmission(caller, { inputTokens: 0, outputTokens: 3, price: odd }).budgets[0]?.costNanoUsd, 3);
  t.equal(planAdmission(caller, { inputTokens: 0, outputTokens: 0, price: odd }).budgets[0]?.costNanoUsd, 0);
  t.end();
});

t.test('refuses a model without a price under a budget, and only there', (t) => {
  const unpriced = { inputTokens: 1, outputTokens: 1, price: null };
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
