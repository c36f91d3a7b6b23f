/** Money: what a request is refused for, what it costs in the end, and where the sums begin. Each on either engine. */
import { randomUUID } from 'node:crypto';
import t, { type Test } from 'tap';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { post, redisOf, startGateway, type GatewayOptions } from '../support/gateway.ts';
import { estimateInputTokens } from '../../src/usage/estimate.ts';
import { completion, sendJson, startUpstream } from '../support/upstream.ts';
import { usageRecord } from '../support/usage-record.ts';

const tiers = `
tiers:
  plus: { models: "*" }
  daily: { models: "*", budget: { daily: 0.01 } }
  nothing: { models: "*", budget: { monthly: 0 } }
`;
const body = { model: 'openai/gpt-4o', messages: [{ role: 'user', content: 'hi' }], max_tokens: 100 };
/** What a request is held for: 100 tokens of output at 10 USD a million and its input, by the estimate, at 2.50. */
function heldNanoUsd(request: object): number {
  return Math.ceil((estimateInputTokens(Buffer.from(JSON.stringify(request))) * 2_500_000 + 100 * 10_000_000) / 1000);
}

async function check(t: Test, options: GatewayOptions): Promise<void> {
  const held: (() => void)[] = [];
  const upstream = await startUpstream(t, async (request, response) => {
    if (request.body['user'] === 'wait') await new Promise<void>((resolve) => held.push(resolve));
    sendJson(response, completion('hello'));
  });
  const waitForHeld = async (count: number): Promise<void> => {
    while (held.length < count) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  const releaseAll = (): void => {
    for (const release of held.splice(0)) release();
  };
  const gateway = await startGateway(t, {
    yaml: tiers,
    ...options,
    environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url },
  });
  const ask = (token: string, more: object = {}): Promise<Response> => post(gateway, token, { ...body, ...more });
  const spend = (key: { accountId: string; keyId: string }, usd: number, startedAtMs = Date.now()) =>
    insertUsageEvents(gateway.database.db, [
      usageRecord({ requestId: randomUUID(), startedAtMs, ...key, costPicoUsd: usd * 1e12 }),
    ]);

  await t.test('begins with what the rows say, and refuses when it is used up', async (t) => {
    const key = await gateway.createKey('daily');
    await spend(key, 0.01);
    const refused = await ask(key.token);
    t.equal(refused.status, 429);
    t.equal(refused.headers.get('x-should-retry'), 'false');
    t.ok(Number(refused.headers.get('retry-after')) > 0, 'it resets at midnight');
    t.match(await refused.json(), {
      error: { type: 'insufficient_quota', code: 'insufficient_quota', message: /account is used up/ },
    });
    t.equal((await gateway.rows(0)).filter(({ key_id: id }) => id === key.keyId).length, 1, 'no row for a refusal');
  });

  await t.test('does not count what was spent in an earlier period, or by another key', async (t) => {
    const key = await gateway.createKey('daily', { limits: { budgets: { total: 5_000_000 } } });
    await spend(key, 9, Date.now() - 86_400_000);
    const late = await ask(key.token);
    t.equal(late.status, 429, 'the total of the key knows no period');
    t.equal(late.headers.get('retry-after'), null);
    t.match(await late.json(), { error: { message: /API key is used up.*does not reset/ } });
    const other = await gateway.createKey('daily', { limits: { budgets: { total: 5_000_000 } } });
    await spend({ accountId: other.accountId, keyId: randomUUID() }, 0.006);
    t.equal((await ask(other.token)).status, 200);
  });

  await t.test('holds the price of a running request, and gives back what it did not cost', async (t) => {
    const price = heldNanoUsd({ ...body, user: 'wait' });
    const key = await gateway.createKey('plus', { limits: { budgets: { daily: Math.round(price * 1.5) } } });
    const running = ask(key.token, { user: 'wait' });
    await waitForHeld(1);
    t.equal((await ask(key.token)).status, 429, 'two do not fit at a time');
    releaseAll();
    const reply = await running;
    t.equal(reply.status, 200);
    const row = await gateway.row(reply.headers.get('x-request-id'));
    t.ok(Number(row?.['cost_usd']) * 1e9 < price / 10);
    t.equal((await ask(key.token)).status, 200, 'one after the other they do');
  });

  await t.test('refuses everything under a budget of nothing, and what has no price', async (t) => {
    const none = await ask((await gateway.createKey('nothing')).token);
    t.equal(none.status, 429);
    t.equal(none.headers.get('x-should-retry'), 'false');
    const unpriced = await ask((await gateway.createKey('daily')).token, { model: 'openai/gpt-of-tomorrow' });
    t.equal(unpriced.status, 400);
    t.match(await unpriced.json(), { error: { code: 'model_not_priced', param: 'model' } });
    t.equal((await ask((await gateway.createKey('plus')).token, { model: 'openai/gpt-of-tomorrow' })).status, 200);
  });

  await t.test('lets exactly as many of fifty racing requests through as the budget holds', async (t) => {
    const price = heldNanoUsd({ ...body, user: 'wait' });
    const key = await gateway.createKey('plus', { limits: { budgets: { total: 21 * price - 1 } } });
    const statuses: number[] = [];
    const racing = Array.from({ length: 50 }, async () => {
      const reply = await ask(key.token, { user: 'wait' });
      statuses.push(reply.status);
    });
    while (statuses.length < 30) await new Promise((resolve) => setTimeout(resolve, 10));
    t.same(new Set(statuses), new Set([429]));
    await waitForHeld(20);
    releaseAll();
    await Promise.all(racing);
    t.equal(statuses.filter((status) => status === 200).length, 20);
  });

  await t.test(
    'finds the sums of the engine equal to the rows after all that, and mends one that is not',
    async (t) => {
      const { app, database } = gateway;
      const drifts = async () =>
        (await app.metrics.budgetDrift.get()).values.map(({ labels, value }) => ({ labels, value }));
      const reconcile = () => app.reconcileBudgets(database.db, AbortSignal.timeout(60_000));
      await reconcile();
      t.same(await drifts(), []);
      const key = await gateway.createKey('daily');
      t.equal((await ask(key.token)).status, 200);
      await spend(key, 0.25);
      await reconcile();
      t.same(await drifts(), [{ labels: { more: 'rows' }, value: 0.25 }]);
      t.equal((await ask(key.token)).status, 429, 'the row that nobody had charged counts now');
    },
  );
}

t.test('passes over a fallback without a price, and holds the dearest of the others', async (t) => {
  const house = await startUpstream(t, (_request, response) => sendJson(response, completion('for nothing')));
  const failing = await startUpstream(t, (_request, response) => sendJson(response, { error: { message: 'no' } }, 503));
  const gateway = await startGateway(t, {
    yaml: `${tiers}
providers: { house: { dialect: openai-exact, base_url: "${house.url}", allow_private: true } }
models: { mixed: [openai/gpt-4o-mini, house/free-model, openai/gpt-4o] }
`,
    environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: failing.url },
  });
  const request = { ...body, model: 'mixed' };
  const bounded = await gateway.createKey('plus', { limits: { budgets: { total: heldNanoUsd(request) - 1 } } });
  t.equal((await post(gateway, bounded.token, request)).status, 429, 'the cheap one alone would have fitted');
  const wide = await gateway.createKey('plus', { limits: { budgets: { total: heldNanoUsd(request) } } });
  t.equal((await post(gateway, wide.token, request)).status, 503);
  t.same([failing.requests.length, house.requests.length], [2, 0]);
  const free = await gateway.createKey('plus');
  t.equal((await post(gateway, free.token, request)).status, 200);
  t.equal(house.requests.length, 1);
});

t.test('in the process', async (t) => check(t, {}));
t.test('in Redis', async (t) => check(t, { redis: redisOf(t) }));
