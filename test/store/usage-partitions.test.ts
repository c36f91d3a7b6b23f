import { type Kysely, sql } from 'kysely';
import t from 'tap';
import type { StoreSchema } from '../../src/store/schema.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import {
  deleteStrayUsageEvents,
  dropUsagePartitions,
  ensureUsagePartitions,
  listUsagePartitions,
} from '../../src/store/usage-partitions.ts';
import { createTestDatabase, silentLog, testBothKinds } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

const dayMs = 86_400_000;
const log = silentLog;

async function partitionOf(db: Kysely<StoreSchema>, requestId: string): Promise<string | undefined> {
  const { rows } = await sql<{ name: string }>`
    select tableoid::regclass::text as name from usage_events where request_id = ${requestId}
  `.execute(db);
  return rows[0]?.name;
}

testBothKinds(t, async (t, { db }) => {
  t.test('makes the days that are missing, and each only once', async (t) => {
    const fromMs = Date.UTC(2024, 1, 28, 23, 59, 59, 999);
    const first = await ensureUsagePartitions(db, { fromMs, days: 3, log });
    t.strictSame(first, {
      created: ['usage_events_20240228', 'usage_events_20240229', 'usage_events_20240301'],
      skipped: [],
    });
    const second = await ensureUsagePartitions(db, { fromMs: fromMs + dayMs, days: 3, log });
    t.strictSame(second, { created: ['usage_events_20240302'], skipped: [] });
    t.equal((await listUsagePartitions(db)).length, 5);
  });

  t.test('puts each row into the partition of its day in UTC', async (t) => {
    const lastMoment = usageRecord({ startedAtMs: Date.UTC(2024, 1, 29) - 1 });
    const firstMoment = usageRecord({ startedAtMs: Date.UTC(2024, 1, 29) });
    const stray = usageRecord({ startedAtMs: Date.UTC(2031, 5, 1) });
    await insertUsageEvents(db, [stray, firstMoment, lastMoment]);
    t.equal(await partitionOf(db, lastMoment.requestId), 'usage_events_20240228');
    t.equal(await partitionOf(db, firstMoment.requestId), 'usage_events_20240229');
    t.equal(await partitionOf(db, stray.requestId), 'usage_events_default', 'a day that nobody made loses nothing');
  });

  t.test('lets the row improve when it is in a partition', async (t) => {
    const record = usageRecord({ startedAtMs: Date.UTC(2024, 2, 1), rank: 1, status: 'orphaned' });
    await insertUsageEvents(db, [record]);
    await insertUsageEvents(db, [{ ...record, rank: 3, status: 'ok' }]);
    const rows = await db
      .selectFrom('usage_events')
      .select('status')
      .where('request_id', '=', record.requestId)
      .execute();
    t.same(rows, [{ status: 'ok' }]);
  });

  t.test('warns and goes on when the rows of a day are in the default partition already', async (t) => {
    const record = usageRecord({ startedAtMs: Date.UTC(2025, 5, 2, 12) });
    await insertUsageEvents(db, [record]);
    const warnings: object[] = [];
    const outcome = await ensureUsagePartitions(db, {
      fromMs: Date.UTC(2025, 5, 1),
      days: 3,
      log: { warn: (details) => void warnings.push(details) },
    });
    t.strictSame(outcome, {
      created: ['usage_events_20250601', 'usage_events_20250603'],
      skipped: ['usage_events_20250602'],
    });
    t.strictSame(warnings, [{ partition: 'usage_events_20250602' }]);
    t.equal(await partitionOf(db, record.requestId), 'usage_events_default');
    t.notOk((await listUsagePartitions(db)).includes('usage_events_20250602'));
  });

  t.test('makes each day once when two processes do it at the same time', async (t) => {
    const options = { fromMs: Date.UTC(2026, 0, 1), days: 4, log };
    const outcomes = await Promise.all([ensureUsagePartitions(db, options), ensureUsagePartitions(db, options)]);
    t.equal(outcomes.flatMap(({ created }) => created).length, 4);
  });

  t.test('drops the days that have ended, whole, and never the default partition', async (t) => {
    const beforeMs = Date.UTC(2026, 0, 3);
    const outcome = await dropUsagePartitions(db, { beforeMs: beforeMs + dayMs - 1, log });
    t.strictSame(outcome.dropped.slice(-2), ['usage_events_20260101', 'usage_events_20260102']);
    t.same(await listUsagePartitions(db), ['usage_events_20260103', 'usage_events_20260104', 'usage_events_default']);
    t.same(await dropUsagePartitions(db, { beforeMs, log }), { dropped: [], postponed: [] });
  });

  t.test('deletes strays a batch at a time, and no younger ones', async (t) => {
    await sql`truncate usage_events`.execute(db);
    const beforeMs = Date.UTC(2020, 0, 1);
    await insertUsageEvents(
      db,
      [1, 2, 3, 0].map((age) => usageRecord({ startedAtMs: beforeMs - age * dayMs })),
    );
    const limits = { beforeMs, batchRows: 2 };
    t.equal(await deleteStrayUsageEvents(db, limits), 2);
    t.equal(await deleteStrayUsageEvents(db, limits), 1);
    t.equal(await deleteStrayUsageEvents(db, limits), 0);
    t.equal((await db.selectFrom('usage_events').select('request_id').execute()).length, 1);
  });
});

t.test('leaves a day for the next run when somebody is reading the table', async (t) => {
  const { db } = await createTestDatabase(t);
  await ensureUsagePartitions(db, { fromMs: Date.UTC(2024, 0, 1), days: 2, log });
  const { promise: end, resolve } = Promise.withResolvers<void>();
  const { promise: held, resolve: hold } = Promise.withResolvers<void>();
  const reader = db.transaction().execute(async (trx) => {
    await trx.selectFrom('usage_events').select('request_id').execute();
    hold();
    await end;
  });
  await held;
  const warnings: object[] = [];
  const outcome = await dropUsagePartitions(db, {
    beforeMs: Date.UTC(2024, 0, 2),
    log: { warn: (details) => void warnings.push(details) },
  });
  t.same(outcome, { dropped: [], postponed: ['usage_events_20240101'] });
  t.same(warnings, [{ partition: 'usage_events_20240101' }]);
  resolve();
  await reader;
  t.same((await dropUsagePartitions(db, { beforeMs: Date.UTC(2024, 0, 2), log })).dropped, ['usage_events_20240101']);
});

t.test('names what else went wrong when it is not a row in the way', async (t) => {
  const { db } = await createTestDatabase(t, { migrated: false });
  await t.rejects(ensureUsagePartitions(db, { fromMs: 0, days: 1, log }), { code: '42P01' });
});
