import t from 'tap';
import { outputCapTokens } from '../../src/gateway/output-cap.ts';
import type { Flow } from '../../src/gateway/flow.ts';
import type { Price, Target } from '../../src/contract/flow.ts';
import { likelyInputTokens } from '../../src/usage/estimate.ts';

const limits = { requestsPerMinute: null, tokensPerMinute: null, concurrency: null, budgets: { daily: 5 } };
const rates = { input: 1_000_000, cachedInput: 0, cacheWrite: 0, output: 2_000_000, reasoning: 0 };
const dear = { input: 2_000_000, cachedInput: 0, cacheWrite: 0, output: 4_000_000, reasoning: 0 };

function capOf(inputTokens: number, price: Price): number {
  const budget = { scope: 'account:a1', period: 'daily', limitNanoUsd: 1e9, costNanoUsd: 1_000_000 } as const;
  const flow = {
    principal: { accountId: 'a1', tier: { id: 'x', hardCap: true, limits } },
    plan: { buckets: [], concurrency: [], budgets: [budget], reservedTokens: 0 },
    inputTokens,
  } as unknown as Flow;
  return outputCapTokens(flow, { providerId: 'p', upstreamModel: 'm', model: { price } } as unknown as Target);
}

t.test('a stream is cut at what its budget holds by the price of its own step', (t) => {
  const promptTokens = likelyInputTokens(400);
  const stepped = { ...rates, above: { promptTokens: promptTokens - 1, price: dear } };
  t.equal(capOf(400, rates), (1e9 - promptTokens * 1_000_000) / 2_000_000);
  t.equal(capOf(400, stepped), (1e9 - promptTokens * 2_000_000) / 4_000_000);
  t.equal(capOf(400, { ...stepped, above: { promptTokens, price: dear } }), capOf(400, rates));
  t.end();
});
