import { randomBytes } from 'node:crypto';
import t from 'tap';
import { createUuidV7 } from '../../src/platform/uuid.ts';
import { insertAccount } from '../../src/store/accounts.ts';
import {
  findKeyByPublicId,
  insertKey,
  listKeys,
  type NewKey,
  setKeyHash,
  setKeyStatus,
} from '../../src/store/api-keys.ts';
import { testBothKinds } from '../support/database.ts';

const atMs = Date.UTC(2026, 0, 2, 3, 4, 5, 6);
const accountId = createUuidV7(atMs);

function newKey(publicId: string, changes: Partial<NewKey> = {}): NewKey {
  return {
    id: createUuidV7(atMs),
    publicId,
    accountId,
    createdBy: null,
    name: 'build server',
    secretHash: randomBytes(32),
    pepperId: '0a0b0c0d',
    prefix: `sk-tg-${publicId}`,
    last4: 'wxyz',
    limits: { requestsPerMinute: 60, tokensPerMinute: null, concurrency: 2 },
    allowedModels: null,
    scopes: [],
    expiresAtMs: null,
    createdAtMs: atMs,
    ...changes,
  };
}

testBothKinds(t, async (t, { db }) => {
  await insertAccount(db, { id: accountId, name: 'Operations', tier: 'pro', createdAtMs: atMs });

  t.test('finds a key with its account when the public id is right', async (t) => {
    const key = newKey('AAAAAAAAAAAA', { allowedModels: ['small', 'acme/*'], expiresAtMs: atMs + 1 });
    t.equal(await insertKey(db, key), true);
    const found = await findKeyByPublicId(db, 'AAAAAAAAAAAA');
    t.ok(found !== null && Buffer.from(found.secretHash).equals(key.secretHash));
    t.match(found, {
      id: key.id,
      publicId: 'AAAAAAAAAAAA',
      accountId,
      pepperId: '0a0b0c0d',
      status: 'active',
      keyVersion: 1,
      limits: { requestsPerMinute: 60, tokensPerMinute: null, concurrency: 2 },
      allowedModels: ['small', 'acme/*'],
      expiresAtMs: atMs + 1,
      tier: 'pro',
      accountStatus: 'active',
      accountVersion: 1,
    });
    t.equal(await findKeyByPublicId(db, 'aaaaaaaaaaaa'), null, 'capitals count');
    t.equal(await findKeyByPublicId(db, "' or true --"), null);
  });

  t.test('keeps what a key does not have', async (t) => {
    await insertKey(db, newKey('BBBBBBBBBBBB'));
    t.match(await findKeyByPublicId(db, 'BBBBBBBBBBBB'), { allowedModels: null, expiresAtMs: null });
  });

  t.test('leaves the first key alone when the public id is taken', async (t) => {
    const first = newKey('CCCCCCCCCCCC');
    await insertKey(db, first);
    t.equal(await insertKey(db, newKey('CCCCCCCCCCCC', { name: 'another' })), false);
    t.equal((await findKeyByPublicId(db, 'CCCCCCCCCCCC'))?.id, first.id);
  });

  t.test('refuses a hash that is not whole', async (t) => {
    await t.rejects(insertKey(db, newKey('DDDDDDDDDDDD', { secretHash: new Uint8Array(31) })), { code: '23514' });
  });

  t.test('raises the version with each change, and never takes a revocation back', async (t) => {
    await insertKey(db, newKey('EEEEEEEEEEEE'));
    const change = async (status: 'active' | 'disabled' | 'revoked'): Promise<number | undefined> =>
      (await setKeyStatus(db, 'EEEEEEEEEEEE', { status, atMs }))?.keyVersion;
    t.equal(await change('disabled'), 2);
    t.match(await findKeyByPublicId(db, 'EEEEEEEEEEEE'), { status: 'disabled', keyVersion: 2 });
    t.equal(await change('active'), 3);
    t.equal(await change('revoked'), 4);
    t.equal(await change('active'), undefined);
    t.match(await findKeyByPublicId(db, 'EEEEEEEEEEEE'), { status: 'revoked', keyVersion: 4 });
    const { revoked_at } = await db
      .selectFrom('api_keys')
      .select('revoked_at')
      .where('public_id', '=', 'EEEEEEEEEEEE')
      .executeTakeFirstOrThrow();
    t.equal(revoked_at?.getTime(), atMs);
    t.equal(await setKeyStatus(db, 'nobody', { status: 'revoked', atMs }), null);
  });

  t.test('takes another hash when the pepper changed', async (t) => {
    await insertKey(db, newKey('FFFFFFFFFFFF'));
    const secretHash = randomBytes(32);
    await setKeyHash(db, 'FFFFFFFFFFFF', { secretHash, pepperId: 'ffffffff' });
    const found = await findKeyByPublicId(db, 'FFFFFFFFFFFF');
    t.match(found, { pepperId: 'ffffffff', keyVersion: 2 });
    t.ok(found !== null && secretHash.equals(found.secretHash));
  });

  t.test('lists the keys that begin so, newest first, and takes no sign for a wildcard', async (t) => {
    await insertKey(db, newKey('ZZ1111111111', { createdAtMs: atMs + 1_000 }));
    await insertKey(db, newKey('ZZ2222222222', { createdAtMs: atMs + 2_000 }));
    const publicIds = async (start?: string): Promise<string[]> =>
      (await listKeys(db, start)).map(({ publicId }) => publicId);
    t.same(await publicIds('ZZ'), ['ZZ2222222222', 'ZZ1111111111']);
    t.same(await publicIds('ZZ1'), ['ZZ1111111111']);
    t.same(await publicIds('Z_'), []);
    t.same(await publicIds('%'), []);
    t.equal((await publicIds()).length, 7);
    const [key] = await listKeys(db, 'ZZ1');
    t.strictSame(
      { ...key, id: null },
      {
        id: null,
        publicId: 'ZZ1111111111',
        accountId,
        accountName: 'Operations',
        tier: 'pro',
        name: 'build server',
        prefix: 'sk-tg-ZZ1111111111',
        last4: 'wxyz',
        status: 'active',
        limits: { requestsPerMinute: 60, tokensPerMinute: null, concurrency: 2 },
        allowedModels: null,
        expiresAt: null,
        createdAt: new Date(atMs + 1_000),
        lastUsedAt: null,
      },
      'and nothing of the hash',
    );
  });
});
