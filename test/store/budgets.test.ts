import { randomUUID } from 'node:crypto';
import t from 'tap';
import { periodStartMs, spentBoundsNanoUsd, spentNanoUsd } from '../../src/store/budgets.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { testBothKinds } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

const iso = (atMs: number | null): string | null => (atMs === null ? null : new Date(atMs).toISOString());

t.test('begins every period at midnight in UTC, a week on Monday', (t) => {
  const wednesday = Date.UTC(2026, 3, 1, 0, 30);
  t.equal(iso(periodStartMs('daily', wednesday)), '2026-04-01T00:00:00.000Z');
  t.equal(iso(periodStartMs('weekly', wednesday)), '2026-03-30T00:00:00.000Z');
  t.equal(iso(periodStartMs('monthly', wednesday)), '2026-04-01T00:00:00.000Z');
  t.equal(periodStartMs('total', wednesday), null);
  t.equal(iso(periodStartMs('weekly', Date.UTC(2026, 2, 29, 23, 59, 59, 999))), '2026-03-23T00:00:00.000Z', 'a Sunday');
  t.equal(iso(periodStartMs('weekly', Date.UTC(2026, 2, 30))), '2026-03-30T00:00:00.000Z', 'a Monday');
  t.equal(iso(periodStartMs('monthly', Date.UTC(2028, 1, 29, 12))), '2028-02-01T00:00:00.000Z');
  t.end();
});

testBothKinds(t, async (t, { db }) => {
  const nowMs = Date.UTC(2026, 3, 1, 12);
  const [accountId, keyId, otherKeyId] = [randomUUID(), randomUUID(), randomUUID()];
  const spend = (atMs: number, costPicoUsd: number, more: { keyId?: string; accountId?: string } = {}) =>
    usageRecord({ requestId: randomUUID(), startedAtMs: atMs, accountId, keyId, costPicoUsd, ...more });
  const account = `account:${accountId}`;

  t.equal(await spentNanoUsd(db, { accountId, scope: account, period: 'total' }, nowMs), 0, 'nothing yet');
  await insertUsageEvents(db, [
    spend(nowMs, 1_000_000_000_001),
    spend(Date.UTC(2026, 3, 1), 2_000_000_000_000, { keyId: otherKeyId }),
    spend(Date.UTC(2026, 3, 1) - 1, 4_000_000_000_000),
    spend(Date.UTC(2026, 2, 29), 8_000_000_000_000),
    spend(nowMs, 16_000_000_000_000, { accountId: randomUUID() }),
  ]);
  t.equal(await spentNanoUsd(db, { accountId, scope: account, period: 'daily' }, nowMs), 3_000_000_001, 'rounded up');
  t.equal(await spentNanoUsd(db, { accountId, scope: account, period: 'monthly' }, nowMs), 3_000_000_001);
  t.equal(await spentNanoUsd(db, { accountId, scope: account, period: 'weekly' }, nowMs), 7_000_000_001);
  t.equal(await spentNanoUsd(db, { accountId, scope: account, period: 'total' }, nowMs), 15_000_000_001);
  t.equal(await spentNanoUsd(db, { accountId, scope: `key:${otherKeyId}`, period: 'total' }, nowMs), 2_000_000_000);

  const daily = { accountId, scope: account, period: 'daily' } as const;
  t.same(
    await spentBoundsNanoUsd(db, daily, nowMs),
    { leastNanoUsd: 1_000_000_001, mostNanoUsd: 7_000_000_001 },
    'rows of midnight may belong to either day',
  );
  t.same(await spentBoundsNanoUsd(db, { ...daily, period: 'total' }, nowMs), {
    leastNanoUsd: 15_000_000_001,
    mostNanoUsd: 15_000_000_001,
  });
  const small = { accountId: randomUUID(), startedAtMs: nowMs, costPicoUsd: 1 };
  await insertUsageEvents(db, [usageRecord(small), usageRecord(small)]);
  t.equal(
    await spentNanoUsd(db, { ...small, scope: `account:${small.accountId}`, period: 'total' }, nowMs),
    2,
    'each row is rounded up, as each was charged',
  );

  await db
    .insertInto('usage_rollups_hour')
    .values(rollup(Date.UTC(2026, 2, 29), '8.5'))
    .execute();
  await db
    .updateTable('usage_upkeep')
    .set({ rows_kept_from: new Date(Date.UTC(2026, 2, 30)) })
    .execute();
  const total = { accountId, scope: account, period: 'total' } as const;
  t.equal(await spentNanoUsd(db, total, nowMs), 15_500_000_001, 'sums stand in for rows that retention dropped');
  t.equal(await spentNanoUsd(db, { ...total, scope: `key:${otherKeyId}` }, nowMs), 2_000_000_000);
  t.equal(await spentNanoUsd(db, { ...total, period: 'monthly' }, nowMs), 3_000_000_001);

  function rollup(hourMs: number, costUsd: string) {
    const none = { requests: 1, prompt_tokens: 0, cached_tokens: 0, cache_write_tokens: 0, completion_tokens: 0 };
    return {
      ...none,
      hour: new Date(hourMs),
      account_id: accountId,
      key_id: keyId,
      model: 'm',
      provider: 'p',
      status: 'ok' as const,
      reasoning_tokens: 0,
      cost_usd: costUsd,
    };
  }
});
