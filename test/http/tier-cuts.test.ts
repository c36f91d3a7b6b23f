/** What a tier cuts while it runs, on either engine: a stream past its reservation, a request of a key that was revoked. */
import t, { type Test } from 'tap';
import { changeAccountTier, changeKeyStatus } from '../../src/auth/auth-change.ts';
import { post, redisOf, startGateway, type GatewayOptions, type TestKey } from '../support/gateway.ts';
import { chunk, completion, endMarker, openStream, sendJson, startUpstream } from '../support/upstream.ts';

const yaml = `
tiers:
  plain: { tpm: 1m, models: "*" }
  capped: { tpm: 1m, models: "*", hard_cap: true }
  money: { budget: { total: 100 }, models: "*", hard_cap: true }
  watched: { tpm: 1m, models: "*", hard_cap: true, shadow: [tpm] }
  revoked: { models: "*", hard_revoke: true }
  revoked2: { models: "*", hard_revoke: true }
`;
const messages = [{ role: 'user', content: 'hi' }];
const words = 300;
const body = { model: 'openai/gpt-4o-mini', messages, stream: true, max_tokens: 50 };

async function check(t: Test, options: GatewayOptions): Promise<void> {
  const releases: (() => void)[] = [];
  const held = async (count: number): Promise<void> => {
    while (releases.length < count) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  const upstream = await startUpstream(t, async (request, response) => {
    const isStream = request.body['stream'] === true;
    if (isStream) {
      openStream(response);
      response.write(chunk({ role: 'assistant', content: '' }));
    }
    if (request.body['user'] === 'hold') await new Promise<void>((resolve) => releases.push(resolve));
    if (!isStream) {
      sendJson(response, completion('hello'));
      return;
    }
    for (let sent = 0; sent < words && !response.destroyed; sent += 1) {
      response.write(chunk({ content: 'x' }));
      if (sent % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    response.end(chunk({}, 'stop') + endMarker);
  });
  const gateway = await startGateway(t, {
    yaml,
    heartbeatMs: 50,
    ...options,
    environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url },
  });
  const ask = (key: TestKey, more: object = {}): Promise<Response> => post(gateway, key.token, { ...body, ...more });
  const rowOf = (response: Response) => gateway.row(response.headers.get('x-request-id'));

  for (const tier of ['capped', 'money']) {
    await t.test(`a stream that passes its reservation is cut: ${tier}`, async (t) => {
      const response = await ask(await gateway.createKey(tier));
      const text = await response.text();
      t.match(text, /"code":"reservation_exceeded"/);
      t.notMatch(text, /\[DONE\]/);
      const row = await rowOf(response);
      t.match(row, {
        status: 'capped',
        error_code: 'reservation_exceeded',
        http_status: 200,
        rank: 2,
        usage_source: 'estimated',
      });
      const tokens = Number(row?.['completion_tokens']);
      t.ok(tokens > 50 && tokens < words, `${tokens} tokens`);
      // The last word may share its piece with one more event.
      t.ok(Math.abs((text.match(/"content":"x"/g) ?? []).length - tokens) <= 1, 'the row says what was delivered');
    });
  }

  await t.test(
    'a stream inside its reservation is not, nor one whose limit is in shadow or has no hard cap',
    async (t) => {
      for (const [tier, more] of [
        ['capped', { max_tokens: 1000 }],
        ['money', { max_tokens: 1000 }],
        ['watched', {}],
        ['plain', {}],
      ] as const) {
        const response = await ask(await gateway.createKey(tier), more);
        t.match(await response.text(), /\[DONE\]/, tier);
        t.match(await rowOf(response), { status: 'ok' }, tier);
      }
    },
  );

  await t.test('what runs for a revoked key is cut, streams in-band', async (t) => {
    const key = await gateway.createKey('revoked');
    releases.length = 0;
    const response = await ask(key, { user: 'hold' });
    const unary = ask(key, { user: 'hold', stream: false });
    await held(2);
    await setStatus(key, 'revoked');
    const text = await response.text();
    t.match(text, /data: \{"error":.*was revoked.*"code":"invalid_api_key"/);
    t.notMatch(text, /\[DONE\]/);
    t.match(await rowOf(response), { status: 'revoked', http_status: 200, error_code: 'invalid_api_key', rank: 2 });
    const refused = await unary;
    t.equal(refused.status, 401);
    t.match(await refused.json(), { error: { code: 'invalid_api_key' } });
    for (const release of releases) release();
  });

  await t.test('a change of tier cuts nothing, and a key that is disabled after it is cut', async (t) => {
    const key = await gateway.createKey('revoked');
    releases.length = 0;
    const [first, second] = [await ask(key, { user: 'hold' }), await ask(key, { user: 'hold' })];
    await held(2);
    await changeAccountTier(gateway.database.db, key.accountId, { tier: 'revoked2', nowMs: Date.now() });
    // The outbox tells in order: when this other key is known to be gone, so is the tier.
    const other = await gateway.createKey('revoked');
    await setStatus(other, 'disabled');
    while ((await ask(other)).status !== 401) await new Promise((resolve) => setTimeout(resolve, 20));
    await new Promise((resolve) => setTimeout(resolve, 300));
    releases[0]?.();
    t.match(await first.text(), /\[DONE\]/);
    await setStatus(key, 'disabled');
    t.match(await second.text(), /is disabled/);
    t.match(await rowOf(second), { status: 'revoked' });
    for (const release of releases) release();
  });

  await t.test('what runs for an account that was suspended is cut', async (t) => {
    const key = await gateway.createKey('revoked');
    releases.length = 0;
    const response = await ask(key, { user: 'hold' });
    await held(1);
    const { db } = gateway.database;
    await db.updateTable('accounts').set({ status: 'suspended' }).where('id', '=', key.accountId).execute();
    // Raises the version of the account, as whoever suspends it must.
    await changeAccountTier(db, key.accountId, { tier: 'revoked', nowMs: Date.now() });
    t.match(await response.text(), /"code":"invalid_api_key"/);
    t.match(await rowOf(response), { status: 'revoked' });
    for (const release of releases) release();
  });

  await t.test('without hard_revoke a running stream ends', async (t) => {
    const key = await gateway.createKey('plain');
    releases.length = 0;
    const response = await ask(key, { user: 'hold' });
    await held(1);
    await setStatus(key, 'revoked');
    while ((await ask(key)).status !== 401) await new Promise((resolve) => setTimeout(resolve, 20));
    await new Promise((resolve) => setTimeout(resolve, 200));
    for (const release of releases) release();
    t.match(await response.text(), /\[DONE\]/);
    t.match(await rowOf(response), { status: 'ok' });
  });

  /** The outbox tells the engine. */
  async function setStatus(key: TestKey, status: 'revoked' | 'disabled'): Promise<void> {
    await changeKeyStatus(gateway.database.db, key.token.slice(6, 18), { status, nowMs: Date.now() });
  }
}

t.test('in the process', async (t) => check(t, {}));
t.test('in Redis', async (t) => check(t, { redis: redisOf(t) }));
