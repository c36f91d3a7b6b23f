import { randomUUID } from 'node:crypto';
import t from 'tap';
import { periodStartMs, spentNanoUsd } from '../../src/store/budgets.ts';
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
});
