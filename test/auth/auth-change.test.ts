/** A change, its outbox row and who hears of it. */
import { randomUUID } from 'node:crypto';
import t, { type Test } from 'tap';
import {
  changeAccountTier,
  changeKeyStatus,
  publishAuthChange,
  tellAuthChange,
  type RaiseAuthVersion,
} from '../../src/auth/auth-change.ts';
import { ensureKey } from '../../src/auth/key-issue.ts';
import { generateApiKey } from '../../src/auth/api-key.ts';
import { createOutboxWorker } from '../../src/auth/outbox-worker.ts';
import { findKeyByPublicId, type KeyRow } from '../../src/store/api-keys.ts';
import { tellAuthChanges } from '../../src/store/auth-outbox.ts';
import { createTestDatabase, silentLog, testBothKinds, type TestDatabase } from '../support/database.ts';

const nowMs = Date.UTC(2026, 0, 2, 12);

type Heard = { accountId: string; account?: number; key?: { id: string; version: number } };

/** An engine as far as it hears of versions; it can be away. */
function createEar(): { heard: Heard[]; raise: RaiseAuthVersion; isAway: boolean } {
  const ear = {
    heard: [] as Heard[],
    isAway: false,
    async raise(accountId: string, versions: Omit<Heard, 'accountId'>): Promise<boolean> {
      if (!ear.isAway) ear.heard.push({ accountId, ...versions });
      return !ear.isAway;
    },
  };
  return ear;
}

async function makeKey({ db }: TestDatabase): Promise<KeyRow> {
  const { token, publicId } = generateApiKey();
  const email = `${randomUUID()}@example.com`;
  await ensureKey(db, { token, email, tier: 'pro', name: 'x', pepper: 'pepper', nowMs });
  const key = await findKeyByPublicId(db, publicId);
  if (key === null) throw new Error('the key is not there');
  return key;
}

const waiting = async ({ db }: TestDatabase): Promise<number> =>
  (await db.selectFrom('auth_outbox').select('id').execute()).length;

testBothKinds(t, async (t: Test, database) => {
  const { db } = database;

  t.test('raises a version with its outbox row, or neither', async (t) => {
    const key = await makeKey(database);
    const change = await changeKeyStatus(db, key.publicId, { status: 'disabled', nowMs });
    t.match(change, { accountId: key.accountId, accountVersion: null, key: { id: key.id, version: 2 } });
    t.equal(await waiting(database), 1);
    const failed = db.transaction().execute(async (trx) => {
      await changeAccountTier(trx, key.accountId, { tier: 'free', nowMs });
      throw new Error('no');
    });
    await t.rejects(failed);
    t.equal(await waiting(database), 1);
    t.match(await findKeyByPublicId(db, key.publicId), { status: 'disabled', keyVersion: 2, accountVersion: 1 });
    t.equal(await changeKeyStatus(db, 'nobody', { status: 'revoked', nowMs }), null);
    t.equal(await waiting(database), 1, 'nothing changed, nothing to tell');
    await db.deleteFrom('auth_outbox').execute();
  });

  t.test('takes the row away once the engine has heard, and leaves it when it has not', async (t) => {
    const key = await makeKey(database);
    const ear = createEar();
    const revoked = await changeKeyStatus(db, key.publicId, { status: 'revoked', nowMs });
    const moved = await changeAccountTier(db, key.accountId, { tier: 'free', nowMs });
    if (revoked === null) throw new Error('not revoked');
    ear.isAway = true;
    t.equal(await publishAuthChange(db, revoked, ear), 'pending');
    t.equal(await waiting(database), 2);
    ear.isAway = false;
    t.equal(await publishAuthChange(db, moved, ear), 'done');
    t.equal(await waiting(database), 1);
    t.same(ear.heard, [{ accountId: key.accountId, account: 2 }]);
    t.same(await tellAuthChanges(db, { limit: 10, tell: (change) => tellAuthChange(change, ear.raise) }), {
      told: 1,
      isStuck: false,
    });
    t.same(ear.heard[1], { accountId: key.accountId, key: { id: key.id, version: 2 } });
    t.equal(await waiting(database), 0);
  });

  t.test('tells the oldest first, and stops where it is not heard', async (t) => {
    const keys = [await makeKey(database), await makeKey(database), await makeKey(database)];
    for (const [index, { publicId }] of keys.entries()) {
      await changeKeyStatus(db, publicId, { status: 'revoked', nowMs: nowMs + index });
    }
    const asked: (string | undefined)[] = [];
    const tell = async ({ key }: { key: { id: string } | null }): Promise<boolean> => {
      asked.push(key?.id);
      return asked.length < 2;
    };
    t.same(await tellAuthChanges(db, { limit: 10, tell }), { told: 1, isStuck: true });
    t.same(asked, [keys[0]?.id, keys[1]?.id]);
    t.equal(await waiting(database), 2);
    t.same(await tellAuthChanges(db, { limit: 1, tell: async () => true }), { told: 1, isStuck: false });
    await db.deleteFrom('auth_outbox').execute();
  });
});

t.test('leaves alone what another replica is telling', async (t) => {
  const database = await createTestDatabase(t);
  const { db } = database;
  const key = await makeKey(database);
  await changeKeyStatus(db, key.publicId, { status: 'revoked', nowMs });
  const other = async (): Promise<boolean> => {
    t.same(await tellAuthChanges(db, { limit: 10, tell: async () => true }), { told: 0, isStuck: false });
    return true;
  };
  t.same(await tellAuthChanges(db, { limit: 10, tell: other }), { told: 1, isStuck: false });
});

t.test('takes an engine that throws for one that has not heard', async (t) => {
  const change = { id: randomUUID(), accountId: randomUUID(), accountVersion: 2, key: null };
  t.equal(await tellAuthChange(change, async () => Promise.reject(new Error('gone'))), false);
});

t.test('goes on telling after trouble, and complains once', async (t) => {
  const warnings: object[] = [];
  const answers = [
    async () => Promise.reject(new Error('the store is down')),
    async () => ({ told: 0, isStuck: true }),
    async () => ({ told: 2, isStuck: false }),
    async () => ({ told: 0, isStuck: true }),
  ];
  const worker = createOutboxWorker({
    tell: async () => answers.shift()?.() ?? { told: 0, isStuck: false },
    log: { ...silentLog, warn: (details) => void warnings.push(details) },
    intervalMs: 3_600_000,
  });
  await worker.round();
  await worker.round();
  t.equal(warnings.length, 1);
  await worker.round();
  await worker.round();
  t.equal(warnings.length, 2);
  await worker.close();
});

t.test('runs one round at a time, and ends the last one before it is closed', async (t) => {
  let running = 0;
  let release = (): void => {};
  const worker = createOutboxWorker({
    async tell() {
      running += 1;
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      running -= 1;
      return { told: 0, isStuck: false };
    },
    log: silentLog,
    intervalMs: 3_600_000,
  });
  const first = worker.round();
  t.equal(worker.round(), first);
  t.equal(running, 1);
  const closing = worker.close();
  release();
  await closing;
  t.equal(running, 0);
});
