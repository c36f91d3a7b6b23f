/** A change of a key or a tier on one gateway is in force at the next request on another. */
import t from 'tap';
import { changeAccountTier, changeKeyStatus, publishAuthChange } from '../../src/auth/auth-change.ts';
import { raiseAuthVersionInRedis } from '../../src/admission/redis-auth-versions.ts';
import { openRedis } from '../../src/platform/redis.ts';
import { createTestDatabase, silentLog, type TestDatabase } from '../support/database.ts';
import { post, redisOf, startGateway, type TestGateway } from '../support/gateway.ts';

const body = { model: 'demo/echo', messages: [{ role: 'user', content: 'hi' }], demo: { delay_ms: 0 } };
const ask = (gateway: TestGateway, token: string): Promise<Response> => post(gateway, token, body);
const models = (gateway: TestGateway, token: string): Promise<Response> =>
  fetch(`${gateway.url}/v1/models`, { headers: { authorization: `Bearer ${token}` } });

const tiers = `
tiers:
  free: { rpm: 10, concurrency: 2, models: "*" }
  plus: { rpm: 5000, concurrency: 500, models: "*" }
  shut: { models: [] }
`;

t.test('two gateways on one Redis and one Postgres', async (t) => {
  const database = await createTestDatabase(t);
  const redis = redisOf(t);
  const one = await startGateway(t, { database, redis, yaml: tiers });
  const two = await startGateway(t, { database, redis, yaml: tiers });
  const connection = openRedis(redis.url, silentLog, { commandTimeoutMs: 5_000 });
  t.teardown(() => connection.disconnect());
  await new Promise<void>((resolve) => connection.once('ready', () => resolve()));
  const engine = {
    async raise(accountId: string, versions: Parameters<typeof raiseAuthVersionInRedis>[1]['versions']) {
      await raiseAuthVersionInRedis(connection, { accountId, versions }, { keyPrefix: redis.keyPrefix });
      return true;
    },
  };

  t.test('refuse a revoked key at the next request', async (t) => {
    const key = await one.createKey();
    for (const gateway of [one, two]) t.equal((await ask(gateway, key.token)).status, 200);
    const change = await changeKeyStatus(database.db, key.token.slice(6, 18), { status: 'revoked', nowMs: Date.now() });
    if (change === null) throw new Error('not revoked');
    t.equal(await publishAuthChange(database.db, change, engine), 'done');
    for (const gateway of [one, two]) {
      const refused = await ask(gateway, key.token);
      t.equal(refused.status, 401);
      t.match(await refused.json(), { error: { code: 'invalid_api_key', message: /was revoked/ } });
    }
  });

  t.test('refuse a disabled key on a route that admits nothing', async (t) => {
    const key = await one.createKey();
    for (const gateway of [one, two]) t.equal((await models(gateway, key.token)).status, 200);
    const change = await changeKeyStatus(database.db, key.token.slice(6, 18), {
      status: 'disabled',
      nowMs: Date.now(),
    });
    if (change === null) throw new Error('not disabled');
    await publishAuthChange(database.db, change, engine);
    for (const gateway of [one, two]) t.equal((await models(gateway, key.token)).status, 401);
  });

  t.test('apply a new tier at the next request, its limits and its models', async (t) => {
    const key = await one.createKey('plus');
    t.equal((await ask(two, key.token)).headers.get('x-ratelimit-limit-requests'), '5000');
    const freed = await changeAccountTier(database.db, key.accountId, { tier: 'free', nowMs: Date.now() });
    await publishAuthChange(database.db, freed, engine);
    t.equal((await ask(two, key.token)).headers.get('x-ratelimit-limit-requests'), '10');
    const shut = await changeAccountTier(database.db, key.accountId, { tier: 'shut', nowMs: Date.now() });
    await publishAuthChange(database.db, shut, engine);
    t.equal((await ask(two, key.token)).status, 404);
    t.same(await (await models(two, key.token)).json(), { object: 'list', data: [] });
  });

  t.test('are told by the outbox when nobody could tell them at once', async (t) => {
    const key = await one.createKey();
    t.equal((await ask(two, key.token)).status, 200);
    await changeKeyStatus(database.db, key.token.slice(6, 18), { status: 'revoked', nowMs: Date.now() });
    await untilTold(database);
    t.equal((await ask(two, key.token)).status, 401);
  });
});

t.test('one gateway without Redis reads a change from the outbox', async (t) => {
  const gateway = await startGateway(t, {});
  const key = await gateway.createKey();
  t.equal((await ask(gateway, key.token)).status, 200);
  await changeKeyStatus(gateway.database.db, key.token.slice(6, 18), { status: 'revoked', nowMs: Date.now() });
  await untilTold(gateway.database);
  t.equal((await ask(gateway, key.token)).status, 401);
});

async function untilTold({ db }: TestDatabase): Promise<void> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const waiting = await db.selectFrom('auth_outbox').select('id').execute();
    if (waiting.length === 0) return;
    if (performance.now() > deadline) throw new Error('the outbox is not emptied');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
