import t from 'tap';
import { createApiKey, derivePepper, generateApiKey } from '../../src/auth/api-key.ts';
import { createKeyAuthenticator, type KeyAuthenticator } from '../../src/auth/key-authenticator.ts';
import { ensureKey, issueKey } from '../../src/auth/key-issue.ts';
import type { Tier } from '../../src/contract/flow.ts';
import { findKeyByPublicId, setKeyStatus } from '../../src/store/api-keys.ts';
import type { Store } from '../../src/store/schema.ts';
import { createTestDatabase, testBothKinds } from '../support/database.ts';

const nowMs = Date.UTC(2026, 0, 2);
const { pepper } = derivePepper('the secret of the tests');
const pro: Tier = {
  id: 'pro',
  priceUsd: '49',
  limits: { requestsPerMinute: 100, tokensPerMinute: null, concurrency: 10 },
  historyDays: 30,
  models: '*',
};
const request = { email: 'Ops@example.com', tier: 'pro', name: 'build', pepper, nowMs };

function authenticatorOver(db: Store, secret = 'the secret of the tests'): KeyAuthenticator {
  return createKeyAuthenticator({
    pepper: derivePepper(secret).pepper,
    clock: () => nowMs,
    tierOf: (id) => (id === 'pro' ? pro : undefined),
    findKey: async (publicId) => findKeyByPublicId(db, publicId),
  });
}

async function count(db: Store, table: 'users' | 'accounts' | 'api_keys' | 'audit_log'): Promise<number> {
  return (await db.selectFrom(table).select('id').execute()).length;
}

testBothKinds(t, async (t, { db }) => {
  t.test('makes the user, the account and a key that works at once', async (t) => {
    const limits = { requestsPerMinute: 5, tokensPerMinute: 1_000, concurrency: 1 };
    const issued = await issueKey(db, { ...request, limits, models: ['small'], actor: 'cli' });
    t.match(issued, { isNewUser: true, isNewAccount: true, user: { email: 'ops@example.com' } });
    const result = await authenticatorOver(db).authenticate(issued.token);
    t.match(result, {
      kind: 'valid',
      principal: {
        accountId: issued.account.id,
        keyId: issued.keyId,
        tier: pro,
        keyLimits: limits,
        keyModels: ['small'],
        authVersion: { account: 1, key: 1 },
      },
    });
    const entries = await db.selectFrom('audit_log').selectAll().execute();
    t.match(entries, [
      { actor_kind: 'cli', action: 'key.create', target_id: issued.publicId, account_id: issued.account.id },
    ]);
    t.notMatch(JSON.stringify(entries), issued.token.slice(19));
  });

  t.test('uses the account that is there', async (t) => {
    const second = await issueKey(db, { ...request, tier: null, name: 'second' });
    t.match(second, { isNewUser: false, isNewAccount: false, account: { tier: 'pro' } });
    t.equal(await count(db, 'accounts'), 1);
    t.equal(await count(db, 'api_keys'), 2);
  });

  t.test('makes nothing when a new account would have no tier', async (t) => {
    await t.rejects(issueKey(db, { ...request, email: 'new@example.com', tier: null }), {
      message: /a tier is needed/,
    });
    t.equal(await count(db, 'users'), 1);
  });

  t.test('makes one account when two keys are asked for at the same time', async (t) => {
    const before = await count(db, 'accounts');
    const both = await Promise.all([
      issueKey(db, { ...request, email: 'twice@example.com' }),
      issueKey(db, { ...request, email: 'twice@example.com' }),
    ]);
    t.equal(both[0].account.id, both[1].account.id);
    t.equal(await count(db, 'accounts'), before + 1);
  });

  t.test('makes a given key once, and leaves it as it is after', async (t) => {
    const { token, publicId } = generateApiKey();
    const given = { ...request, token, name: 'bootstrap' };
    t.same(await ensureKey(db, given), { isNew: true, publicId });
    const keys = await count(db, 'api_keys');
    t.same(await ensureKey(db, { ...given, email: 'other@example.com', tier: 'free' }), { isNew: false, publicId });
    t.equal(await count(db, 'api_keys'), keys);
    t.match(await authenticatorOver(db).authenticate(token), { kind: 'valid' });
    await setKeyStatus(db, publicId, { status: 'revoked', atMs: nowMs });
    await ensureKey(db, given);
    t.match(await authenticatorOver(db).authenticate(token), { kind: 'invalid', reason: 'revoked' });
  });

  t.test('makes a given key once when two processes start at the same time', async (t) => {
    const { token } = generateApiKey();
    const outcomes = await Promise.all([ensureKey(db, { ...request, token }), ensureKey(db, { ...request, token })]);
    t.equal(outcomes.filter(({ isNew }) => isNew).length, 1);
  });

  t.test('refuses a given key that is none, without repeating it', async (t) => {
    const { token } = generateApiKey();
    const wrong = `${token.slice(0, -1)}${token.endsWith('0') ? '1' : '0'}`;
    await t.rejects(ensureKey(db, { ...request, token: wrong }), {
      message: 'the key "build" cannot be used: its checksum is wrong',
    });
    await t.rejects(ensureKey(db, { ...request, token: 'hunter2' }), { message: /has not the form sk-tg-/ });
  });

  t.test('refuses a given key whose id belongs to another secret', async (t) => {
    const { token, publicId } = generateApiKey();
    await ensureKey(db, { ...request, token });
    const other = createApiKey(publicId, 'x'.repeat(43)).token;
    await t.rejects(ensureKey(db, { ...request, token: other }), { message: /exists with another secret/ });
    t.match(await authenticatorOver(db).authenticate(token), { kind: 'valid' });
  });

  t.test('hashes a given key anew when the secret was changed', async (t) => {
    const { token } = generateApiKey();
    await ensureKey(db, { ...request, token });
    const changed = authenticatorOver(db, 'another secret');
    t.match(await changed.authenticate(token), { kind: 'unknown' });
    await ensureKey(db, { ...request, token, pepper: derivePepper('another secret').pepper });
    t.match(await changed.authenticate(token), { kind: 'valid' });
  });
});

t.test('cannot know a key when the database is gone, and serves one that it knew', async (t) => {
  const { db, close } = await createTestDatabase(t);
  const { token } = await issueKey(db, request);
  const later = { nowMs };
  const authenticator = createKeyAuthenticator({
    pepper,
    clock: () => later.nowMs,
    tierOf: () => pro,
    findKey: async (publicId) => findKeyByPublicId(db, publicId),
  });
  t.match(await authenticator.authenticate(token), { kind: 'valid' });
  await close();
  later.nowMs += 60_000;
  t.match(await authenticator.authenticate(token), { kind: 'valid' });
  t.match(await authenticator.authenticate(generateApiKey().token), { kind: 'unknown' });
});
