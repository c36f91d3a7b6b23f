/** `GET /v1/key`: what a key learns of itself, on either engine. */
import t, { type Test } from 'tap';
import { createKeyThrottle } from '../../src/http/v1/key-throttle.ts';
import { post, redisOf, startGateway, type GatewayOptions, type TestGateway } from '../support/gateway.ts';
import { completion, sendJson, startUpstream } from '../support/upstream.ts';

const tiers = `
tiers:
  free:  { price: 0, rpm: 10, tpm: 20k, concurrency: 2, models: "*" }
  plus:  { price: 99, models: "*", budget: { daily: 5, monthly: 100 } }
`;
const messages = [{ role: 'user', content: 'hi' }];

async function readKey(
  gateway: TestGateway,
  token: string,
): Promise<{ status: number; body: unknown; headers: Headers }> {
  const response = await fetch(`${gateway.url}/v1/key`, { headers: { authorization: `Bearer ${token}` } });
  return { status: response.status, body: await response.json(), headers: response.headers };
}

async function check(t: Test, options: GatewayOptions): Promise<void> {
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('hello')));
  const gateway = await startGateway(t, {
    yaml: tiers,
    ...options,
    environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url },
  });

  await t.test('tells the limits of a key and its account, and what is left of them', async (t) => {
    const { token, keyId } = await gateway.createKey('free', { limits: { requestsPerMinute: 4 } });
    const { status, body, headers } = await readKey(gateway, token);
    t.equal(status, 200);
    t.equal(headers.get('cache-control'), 'no-store');
    t.same(body, {
      data: {
        id: keyId,
        label: 'test',
        tier: 'free',
        limit: null,
        limit_remaining: null,
        limit_reset: null,
        budgets: [],
        usage: 0,
        usage_daily: 0,
        usage_monthly: 0,
        is_free_tier: true,
        expires_at: null,
        rate_limit: {
          requests: 4,
          tokens: 20_000,
          concurrent: 2,
          remaining: { requests: 4, tokens: 20_000, concurrent: 2 },
          reset: { requests: '0s', tokens: '0s' },
        },
      },
    });
    t.equal((await post(gateway, token, { model: 'openai/gpt-4o', messages })).status, 200);
    t.match((await readKey(gateway, token)).body, {
      data: { rate_limit: { remaining: { requests: 3, concurrent: 2 } } },
    });
  });

  await t.test('tells what was spent, and of several budgets the one that ends first', async (t) => {
    const { token } = await gateway.createKey('plus', { limits: { budgets: { total: 2_000_000_000 } } });
    const reply = await post(gateway, token, { model: 'openai/gpt-4o', messages });
    t.equal(reply.status, 200);
    const row = await gateway.row(reply.headers.get('x-request-id'));
    const cost = Number(row?.['cost_usd']);
    t.ok(cost > 0, 'it has cost something');
    const { body } = await readKey(gateway, token);
    t.match(body, {
      data: {
        limit: 2,
        limit_reset: null,
        usage: cost,
        usage_daily: cost,
        usage_monthly: cost,
        is_free_tier: false,
        budgets: [
          { scope: 'account', period: 'daily', limit: 5, resets_at: /T00:00:00\.000Z$/ },
          { scope: 'account', period: 'monthly', limit: 100, resets_at: /-01T00:00:00\.000Z$/ },
          { scope: 'key', period: 'total', limit: 2, resets_at: null },
        ],
      },
    });
    const { limit_remaining: left } = (body as { data: { limit_remaining: number } }).data;
    t.ok(Math.abs(2 - cost - left) < 2e-9, `${left} is left of 2 after ${cost}`);
  });

  await t.test('knows the budgets of a key that was never used', async (t) => {
    const { token } = await gateway.createKey('plus');
    t.match((await readKey(gateway, token)).body, {
      data: { limit: 5, limit_remaining: 5, limit_reset: 'daily', usage: 0 },
    });
  });
}

t.test('in the process', async (t) => check(t, {}));
t.test('in Redis', async (t) => check(t, { redis: redisOf(t) }));

t.test('answers no stranger, and counts against no limit', async (t) => {
  const gateway = await startGateway(t, { yaml: 'tiers:\n  plus: { rpm: 1, models: "*" }\n' });
  const { token } = await gateway.createKey();
  t.equal((await readKey(gateway, `${token}x`)).status, 401);
  for (let call = 0; call < 3; call += 1) t.equal((await readKey(gateway, token)).status, 200);
});

t.test('lets five calls a second through, tells the wait truly, and takes nothing for a refusal', (t) => {
  let nowMs = 1_000;
  const throttle = createKeyThrottle({ perSecond: 5, nowMs: () => nowMs });
  for (let call = 0; call < 5; call += 1) t.equal(throttle.waitMs('a'), 0);
  t.equal(throttle.waitMs('a'), 200);
  t.equal(throttle.waitMs('b'), 0, 'another key');
  nowMs += 199;
  t.equal(throttle.waitMs('a'), 1);
  nowMs += 1;
  t.equal(throttle.waitMs('a'), 0);
  t.equal(throttle.waitMs('a'), 200);
  nowMs += 60_000;
  for (let call = 0; call < 5; call += 1) t.equal(throttle.waitMs('a'), 0, 'never more than a second is saved up');
  t.equal(throttle.waitMs('a'), 200);
  t.end();
});

t.test('says 429 with the time to wait when a key asks too often', async (t) => {
  const gateway = await startGateway(t, {});
  const { token } = await gateway.createKey();
  const replies = await Promise.all(Array.from({ length: 40 }, () => readKey(gateway, token)));
  const refused = replies.find(({ status }) => status === 429);
  t.match(refused?.body, { error: { type: 'requests', code: 'rate_limit_exceeded', message: /5 times a second/ } });
  t.equal(refused?.headers.get('retry-after'), '1');
});
