import t from 'tap';
import { createUuidV7 } from '../../src/platform/uuid.ts';
import { findOwnedAccount, insertAccount, insertMember, setAccountTier } from '../../src/store/accounts.ts';
import { listTiers, upsertTiers } from '../../src/store/tiers.ts';
import { findUserByEmail, listUsers, lockOrInsertUser, type UserRow } from '../../src/store/users.ts';
import type { Store } from '../../src/store/schema.ts';
import type { Tier } from '../../src/contract/flow.ts';
import { testBothKinds } from '../support/database.ts';

const atMs = Date.UTC(2026, 0, 2);

async function addUser(db: Store, email: string): Promise<UserRow> {
  const { user } = await lockOrInsertUser(db, {
    id: createUuidV7(atMs),
    email,
    displayName: email,
    createdAtMs: atMs,
  });
  return user;
}

async function addAccount(db: Store, userId: string, { name, createdAtMs }: { name: string; createdAtMs: number }) {
  const accountId = createUuidV7(createdAtMs);
  await insertAccount(db, { id: accountId, name, tier: 'free', createdAtMs });
  await insertMember(db, { accountId, userId, role: 'owner', createdAtMs });
  return accountId;
}

testBothKinds(t, async (t, { db }) => {
  t.test('takes one address for one person, whatever its capitals', async (t) => {
    const first = await addUser(db, 'Ada@Example.com');
    t.equal(first.email, 'ada@example.com');
    const again = await lockOrInsertUser(db, {
      id: createUuidV7(atMs),
      email: ' ADA@example.com ',
      displayName: 'another name',
      createdAtMs: atMs,
    });
    t.equal(again.isNew, false);
    t.same(again.user, first);
    t.same(await findUserByEmail(db, 'ADA@EXAMPLE.COM'), first);
    t.equal(await findUserByEmail(db, 'nobody@example.com'), null);
  });

  t.test('finds the oldest account that a user owns', async (t) => {
    const user = await addUser(db, 'owner@example.com');
    t.equal(await findOwnedAccount(db, user.id), null);
    await addAccount(db, user.id, { name: 'later', createdAtMs: atMs + 1_000 });
    const oldest = await addAccount(db, user.id, { name: 'first', createdAtMs: atMs });
    t.strictSame(await findOwnedAccount(db, user.id), {
      id: oldest,
      name: 'first',
      tier: 'free',
      authVersion: 1,
      status: 'active',
      createdAt: new Date(atMs),
    });
    const guest = await addUser(db, 'guest@example.com');
    await insertMember(db, { accountId: oldest, userId: guest.id, role: 'viewer', createdAtMs: atMs });
    t.equal(await findOwnedAccount(db, guest.id), null, 'a viewer owns nothing');
  });

  t.test('raises the version of the account when its tier changes', async (t) => {
    const user = await addUser(db, 'tier@example.com');
    const accountId = await addAccount(db, user.id, { name: 'x', createdAtMs: atMs });
    t.equal(await setAccountTier(db, accountId, 'plus'), 2);
    t.match(await findOwnedAccount(db, user.id), { tier: 'plus', authVersion: 2 });
  });

  t.test('lists each user with each account, and those without any', async (t) => {
    const listed = (await listUsers(db)).map(({ email, account }) => [email, account?.name, account?.role]);
    t.same(listed, [
      ['ada@example.com', undefined, undefined],
      ['guest@example.com', 'first', 'viewer'],
      ['owner@example.com', 'first', 'owner'],
      ['owner@example.com', 'later', 'owner'],
      ['tier@example.com', 'x', 'owner'],
    ]);
  });

  t.test('refuses roles and states that nobody knows', async (t) => {
    const user = await addUser(db, 'role@example.com');
    const accountId = await addAccount(db, user.id, { name: 'role', createdAtMs: atMs });
    await t.rejects(
      db
        .updateTable('members')
        .set({ role: 'king' as 'owner' })
        .where('account_id', '=', accountId)
        .execute(),
      { code: '23514' },
    );
    await t.rejects(
      db
        .updateTable('accounts')
        .set({ status: 'x' as 'active' })
        .where('id', '=', accountId)
        .execute(),
      { code: '23514' },
    );
    await t.rejects(db.updateTable('users').set({ email: 'Capital@example.com' }).where('id', '=', user.id).execute(), {
      code: '23514',
    });
  });

  t.test('keeps the configured tiers as they were last written', async (t) => {
    const limits = { requestsPerMinute: 10, tokensPerMinute: null, concurrency: 2 };
    const free: Tier = { id: 'free', priceUsd: '0', limits, historyDays: 7, models: ['small'] };
    await upsertTiers(db, [], atMs);
    t.same(await listTiers(db), []);
    await upsertTiers(db, [free, { ...free, id: 'pro' }], atMs);
    const raised = { ...free, priceUsd: '1' };
    await upsertTiers(db, [raised], atMs + 1);
    t.strictSame(await listTiers(db), [raised, { ...free, id: 'pro' }]);
  });
});
