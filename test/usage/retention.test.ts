import { randomUUID } from 'node:crypto';
import { type Kysely, sql } from 'kysely';
import t from 'tap';
import { insertAuditEntry } from '../../src/store/audit-log.ts';
import { addRejections } from '../../src/store/rejections.ts';
import type { StoreSchema } from '../../src/store/schema.ts';
import { insertUsageDeadLetters } from '../../src/store/usage-dead-letters.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { ensureUsagePartitions, listUsagePartitions } from '../../src/store/usage-partitions.ts';
import { applyRetention, type RetentionOptions } from '../../src/usage/retention.ts';
import { createTestDatabase, silentLog, testBothKinds } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

const dayMs = 86_400_000;
const log = silentLog;
const today = Date.UTC(2024, 4, 10);
const nowMs = today + dayMs / 2;

const keeping = (days: number | null): RetentionOptions['keep'] => ({
  usageDays: days,
  rejectionsDays: days,
  auditDays: days,
  deadLettersDays: days,
});
const nothing = { partitions: [], strayRows: 0, rejections: 0, auditEntries: 0, deadLetters: 0, isComplete: true };

async function insertOld(db: Kysely<StoreSchema>, ages: readonly number[]): Promise<void> {
  for (const age of ages) {
    const at = new Date(today - age * dayMs);
    await insertAuditEntry(db, {
      id: randomUUID(),
      atMs: at.getTime(),
      actorKind: 'cli',
      actorId: null,
      accountId: null,
      action: 'key.create',
      targetKind: 'key',
      targetId: String(age),
    });
    const streamId = `stream ${age}`;
    await insertUsageDeadLetters(db, [{ streamId, requestId: null, payload: '', error: '' }]);
    await sql`update usage_dlq set at = ${at} where stream_id = ${streamId}`.execute(db);
  }
}

async function daysOf(db: Kysely<StoreSchema>): Promise<string[]> {
  const { rows } = await sql<{ day: string }>`
    select distinct to_char(started_at at time zone 'UTC', 'MM-DD') as day from usage_events order by 1
  `.execute(db);
  return rows.map(({ day }) => day);
}

async function rolledUpRequests(db: Kysely<StoreSchema>): Promise<number> {
  const { rows } = await sql<{ requests: number }>`
    select coalesce(sum(requests), 0)::int as requests from usage_rollups_hour
  `.execute(db);
  return rows[0]?.requests ?? 0;
}

testBothKinds(t, async (t, { db }) => {
  t.test('drops days and strays that are too old, and keeps their sums', async (t) => {
    await ensureUsagePartitions(db, { fromMs: today - 4 * dayMs, days: 5, log });
    const ages = [0, 1, 2, 3, 4, 20, 20, 20];
    await insertUsageEvents(
      db,
      ages.map((age) => usageRecord({ startedAtMs: today - age * dayMs })),
    );
    await addRejections(
      db,
      'one',
      [1, 2, 3].map((age) => ({
        minuteMs: today - age * dayMs,
        accountId: null,
        keyId: null,
        reason: 'unknown',
        status: 401,
        count: 1,
      })),
    );
    await insertOld(db, [1, 2, 3, 4, 5]);
    const result = await applyRetention(db, { nowMs, keep: keeping(2), batchRows: 2, log });
    t.same(result, {
      partitions: ['usage_events_20240506', 'usage_events_20240507'],
      strayRows: 3,
      rejections: 1,
      auditEntries: 3,
      deadLetters: 3,
      isComplete: true,
    });
    const { rows: kept } = await sql<{ target: string }>`
      select target_id as target from audit_log union all select stream_id from usage_dlq order by 1
    `.execute(db);
    t.same(
      kept.map(({ target }) => target),
      ['1', '2', 'stream 1', 'stream 2'],
    );
    t.same(await daysOf(db), ['05-08', '05-09', '05-10']);
    t.equal(await rolledUpRequests(db), ages.length, 'what was not yet summed is summed before it goes');
    t.ok((await listUsagePartitions(db)).includes('usage_events_default'));
  });

  t.test('does nothing more at a second run, and keeps the sums when a row comes too late', async (t) => {
    const late = { startedAtMs: today - 4 * dayMs };
    await insertUsageEvents(db, [usageRecord(late), usageRecord(late)]);
    const before = await rolledUpRequests(db);
    const result = await applyRetention(db, { nowMs, keep: keeping(2), log });
    t.same(result, { ...nothing, strayRows: 2 });
    t.equal(await rolledUpRequests(db), before);
  });

  t.test('keeps everything when there is no limit', async (t) => {
    const result = await applyRetention(db, { nowMs: nowMs + 900 * dayMs, keep: keeping(null), log });
    t.same(result, nothing);
    t.same(await daysOf(db), ['05-08', '05-09', '05-10']);
  });

  t.test('keeps each kind for its own time', async (t) => {
    await insertOld(db, [30]);
    const keep = { ...keeping(null), auditDays: 31, deadLettersDays: 29 };
    t.same(await applyRetention(db, { nowMs, keep, log }), { ...nothing, deadLetters: 1 });
  });

  t.test('refuses a number of days that would drop today', async (t) => {
    for (const keepDays of [0, -1, 1.5, Number.NaN])
      await t.rejects(applyRetention(db, { nowMs, keep: keeping(keepDays), log }), RangeError);
  });

  t.test('believes the clock of the database when its own is ahead', async (t) => {
    const recent = usageRecord({ startedAtMs: Date.now() - dayMs });
    await insertUsageEvents(db, [recent]);
    await applyRetention(db, { nowMs: Date.now() + 1_000 * dayMs, keep: keeping(7), log });
    const rows = await db.selectFrom('usage_events').select('request_id').execute();
    t.same(rows, [{ request_id: recent.requestId }]);
  });

  t.test('deletes nothing after it was told to stop', async (t) => {
    await insertUsageEvents(db, [usageRecord({ startedAtMs: today - 9 * dayMs })]);
    const options = { nowMs, keep: keeping(2), log, signal: AbortSignal.abort() };
    t.match(await applyRetention(db, options), { strayRows: 0, isComplete: false });
    t.same((await daysOf(db)).slice(0, 1), ['05-01']);
  });
});

t.test('drops no row that another replica is about to sum', async (t) => {
  const { db } = await createTestDatabase(t);
  await ensureUsagePartitions(db, { fromMs: today, days: 1, log });
  await insertUsageEvents(db, [usageRecord({ startedAtMs: today })]);
  const { promise: end, resolve } = Promise.withResolvers<void>();
  const { promise: held, resolve: hold } = Promise.withResolvers<void>();
  const other = db.transaction().execute(async (trx) => {
    await sql`select pg_advisory_xact_lock(7813570216405512311)`.execute(trx);
    hold();
    await end;
  });
  await held;
  t.match(await applyRetention(db, { nowMs: nowMs + 9 * dayMs, keep: keeping(2), log }), { isComplete: false });
  t.same(await daysOf(db), ['05-10']);
  resolve();
  await other;
});
