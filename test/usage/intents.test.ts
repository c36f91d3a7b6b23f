import t from 'tap';
import type { AuthStamp } from '../../src/contract/admission.ts';
import { usageRank } from '../../src/contract/flow.ts';
import { deleteUsageIntent, insertUsageIntent } from '../../src/store/usage-intents.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { issueKey } from '../../src/auth/key-issue.ts';
import { settleOldIntents } from '../../src/usage/intents.ts';
import { silentLog, testBothKinds } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

const totalMs = 1_800_000;
const marginMs = 300_000;
const nowMs = 1_700_010_000_000;

testBothKinds(t, async (t, { db }) => {
  const { keyId } = await issueKey(db, {
    email: 'intent@example.com',
    tier: 'share',
    name: 'intent',
    pepper: 'a-pepper',
    limits: { requestsPerMinute: null, tokensPerMinute: null, concurrency: null },
    nowMs,
  });
  const { keyVersion, accountVersion } = await db
    .selectFrom('api_keys')
    .innerJoin('accounts', 'accounts.id', 'api_keys.account_id')
    .select(['key_version as keyVersion', 'auth_version as accountVersion'])
    .where('api_keys.id', '=', keyId)
    .executeTakeFirstOrThrow();
  const stamp: AuthStamp = { keyId, keyVersion, accountVersion };
  const orphan = (startedAtMs: number, model = 'large') =>
    usageRecord({ startedAtMs, model, rank: usageRank.orphan, status: 'orphaned', usageSource: 'estimated' });
  const sweep = (): Promise<number> => settleOldIntents(db, { nowMs, totalMs, log: silentLog, batchRows: 2 });
  const waiting = async (): Promise<number> => (await db.selectFrom('usage_intents').select('record').execute()).length;
  const ranks = async (): Promise<string[]> =>
    (await db.selectFrom('usage_events').select(['rank', 'status']).orderBy('rank').execute()).map(
      ({ rank, status }) => `${rank} ${status}`,
    );

  t.test('is written for the key as it is now, and for no other', async (t) => {
    const record = orphan(nowMs);
    t.equal(await insertUsageIntent(db, record, { ...stamp, keyVersion: keyVersion + 1 }), 'stale_auth');
    t.equal(await insertUsageIntent(db, record, { ...stamp, accountVersion: accountVersion + 1 }), 'stale_auth');
    t.equal(await waiting(), 0);
    t.equal(await insertUsageIntent(db, record, stamp), 'written');
    await t.rejects(insertUsageIntent(db, record, stamp), 'a request has one');
    await deleteUsageIntent(db, record);
    t.equal(await waiting(), 0);
  });

  t.test('becomes an orphan when it is old and has no row of any rank', async (t) => {
    const oldMs = nowMs - totalMs - marginMs - 1;
    const young = orphan(oldMs + 1);
    const lost = [orphan(oldMs), orphan(oldMs - 5, 'a\0b \ud800'), orphan(oldMs - 6)];
    const never = orphan(oldMs - 1);
    const done = orphan(oldMs - 2);
    for (const record of [young, ...lost, never, done]) await insertUsageIntent(db, record, stamp);
    await insertUsageEvents(db, [
      { ...never, rank: usageRank.void, status: 'not_dispatched' },
      { ...done, rank: usageRank.final, status: 'ok' },
    ]);
    t.equal(await sweep(), lost.length);
    t.same(await ranks(), ['0 not_dispatched', '1 orphaned', '1 orphaned', '1 orphaned', '3 ok']);
    t.equal(await waiting(), 1, 'what may still run is left alone');
    t.equal(await sweep(), 0);
    const [first] = lost;
    await insertUsageEvents(db, [{ ...first, rank: usageRank.final, status: 'ok' } as typeof done]);
    t.same(await ranks(), ['0 not_dispatched', '1 orphaned', '1 orphaned', '3 ok', '3 ok'], 'a late row still wins');
  });
});
