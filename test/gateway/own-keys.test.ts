import t from 'tap';
import { createSealer, credentialContext } from '../../src/auth/sealed-text.ts';
import { putProviderCredential } from '../../src/store/provider-credentials.ts';
import { post, secret, startGateway, type TestGateway } from '../support/gateway.ts';
import { completion, sendJson, startUpstream } from '../support/upstream.ts';

const body = { model: 'openai/gpt-4o-mini', messages: [{ role: 'user', content: 'hi' }] };

async function bring(gateway: TestGateway, accountId: string, key: string): Promise<void> {
  const sealed = createSealer(secret).seal(key, credentialContext(accountId, 'openai'));
  const credential = { accountId, provider: 'openai', sealed, last4: key.slice(-4), atMs: Date.now() };
  await putProviderCredential(gateway.database.db, credential);
}

t.test('an account that brought a key is served with it, and others with ours', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('x')));
  const gateway = await startGateway(t, {
    yaml: `providers: { openai: { key: ours, own_keys: true, base_url: "${upstream.url}", allow_private: true } }`,
  });
  const [theirs, plain] = [await gateway.createKey(), await gateway.createKey()];
  await bring(gateway, theirs.accountId, 'their-own-key');
  for (const { token } of [theirs, plain, theirs]) t.equal((await post(gateway, token, body)).status, 200);
  t.same(
    upstream.requests.map(({ headers }) => headers.authorization),
    ['Bearer their-own-key', 'Bearer ours', 'Bearer their-own-key'],
  );
  t.notMatch(JSON.stringify(gateway.logLines()), /their-own-key|"ours"/);
});

t.test('a provider without a key of ours serves those who bring one, and says so to the rest', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('x')));
  const gateway = await startGateway(t, {
    yaml: `providers: { openai: { own_keys: true, base_url: "${upstream.url}", allow_private: true } }`,
  });
  const [theirs, plain] = [await gateway.createKey(), await gateway.createKey()];
  await bring(gateway, theirs.accountId, 'their-own-key');
  t.equal((await post(gateway, theirs.token, body)).status, 200);
  const refused = await post(gateway, plain.token, body);
  t.equal(refused.status, 403);
  t.match(await refused.json(), { error: { type: 'permission_error', message: /must bring its own/ } });
  t.equal(upstream.requests.length, 1);
  const rows = await gateway.rows(2);
  t.match(
    rows.find(({ http_status: status }) => status === 403),
    { status: 'not_dispatched', rank: 0 },
  );
  t.match(await (await fetch(`${gateway.url}/metrics`)).text(), /tollgate_open_leases 0/, 'no slot is held');
});

t.test('a key sealed under another secret is trouble of ours and is told without its text', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('x')));
  const gateway = await startGateway(t, {
    yaml: `providers: { openai: { key: ours, own_keys: true, base_url: "${upstream.url}", allow_private: true } }`,
  });
  const { token, accountId } = await gateway.createKey();
  const sealed = createSealer('another secret of thirty-two chars').seal(
    'lost',
    credentialContext(accountId, 'openai'),
  );
  const credential = { accountId, provider: 'openai', sealed, last4: 'lost', atMs: Date.now() };
  await putProviderCredential(gateway.database.db, credential);
  const response = await post(gateway, token, body);
  t.equal(response.status, 500);
  t.notMatch(await response.text(), /sealed|lost|SECRET/);
  t.equal(upstream.requests.length, 0);
});

t.test(
  'sealed text that was copied to another account does not open there, although it was opened before',
  async (t) => {
    const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('x')));
    const gateway = await startGateway(t, {
      yaml: `providers: { openai: { key: ours, own_keys: true, base_url: "${upstream.url}", allow_private: true } }`,
    });
    const [owner, thief] = [await gateway.createKey(), await gateway.createKey()];
    const sealed = createSealer(secret).seal('their-own-key', credentialContext(owner.accountId, 'openai'));
    for (const { accountId } of [owner, thief]) {
      const credential = { accountId, provider: 'openai', sealed, last4: '-key', atMs: Date.now() };
      await putProviderCredential(gateway.database.db, credential);
    }
    t.equal((await post(gateway, owner.token, body)).status, 200);
    t.equal((await post(gateway, thief.token, body)).status, 500);
    t.equal(upstream.requests.length, 1);
  },
);
