import { type Kysely, sql } from 'kysely';
import t from 'tap';
import type { StoreSchema } from '../../src/store/schema.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import {
  findStaleHours,
  markRolledUp,
  markRowsKeptFrom,
  readDatabaseTimeMs,
  rebuildUsageHour,
} from '../../src/store/usage-rollups.ts';
import { createTestDatabase, testBothKinds } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

const hourMs = 3_600_000;
const start = Date.UTC(2024, 4, 1, 10);

async function rollupsOf(db: Kysely<StoreSchema>, startMs: number): Promise<object[]> {
  const { rows } = await sql<object>`
    select account_id, model, provider, status, requests::int, prompt_tokens::int, cached_tokens::int,
      cache_write_tokens::int, completion_tokens::int, reasoning_tokens::int, cost_usd
    from usage_rollups_hour where hour = ${new Date(startMs)} order by model, provider, status
  `.execute(db);
  return rows;
}

const sums = {
  account_id: usageRecord().accountId,
  model: 'large',
  provider: 'acme',
  status: 'ok',
  requests: 1,
  prompt_tokens: 100,
  cached_tokens: 40,
  cache_write_tokens: 5,
  completion_tokens: 20,
  reasoning_tokens: 7,
  cost_usd: '1.234567890123',
};

testBothKinds(t, async (t, { db }) => {
  t.test('sums an hour by model, provider and status, its edges included', async (t) => {
    await insertUsageEvents(db, [
      usageRecord({ startedAtMs: start - 1, model: 'the hour before' }),
      usageRecord({ startedAtMs: start }),
      usageRecord({ startedAtMs: start + hourMs - 1 }),
      usageRecord({ startedAtMs: start + 1, status: 'client_abort' }),
      usageRecord({ startedAtMs: start + 2, provider: null, status: 'not_dispatched', rank: 0, costPicoUsd: 1 }),
      usageRecord({ startedAtMs: start + hourMs, model: 'the hour after' }),
    ]);
    t.equal(await rebuildUsageHour(db, start), 'rebuilt');
    t.strictSame(await rollupsOf(db, start), [
      { ...sums, provider: '', status: 'not_dispatched', cost_usd: '0.000000000001' },
      { ...sums, status: 'client_abort' },
      {
        ...sums,
        requests: 2,
        prompt_tokens: 200,
        cached_tokens: 80,
        cache_write_tokens: 10,
        completion_tokens: 40,
        reasoning_tokens: 14,
        cost_usd: '2.469135780246',
      },
    ]);
  });

  t.test('replaces what was there when a row has improved since', async (t) => {
    const startMs = start + 24 * hourMs;
    const record = usageRecord({ startedAtMs: startMs, rank: 1, status: 'orphaned' });
    await insertUsageEvents(db, [record]);
    await rebuildUsageHour(db, startMs);
    await rebuildUsageHour(db, startMs);
    t.match(await rollupsOf(db, startMs), [{ status: 'orphaned', requests: 1 }]);
    await insertUsageEvents(db, [{ ...record, rank: 3, status: 'ok', costPicoUsd: 5 }]);
    await rebuildUsageHour(db, startMs);
    t.strictSame(await rollupsOf(db, startMs), [{ ...sums, cost_usd: '0.000000000005' }]);
  });

  t.test('refuses a moment that is not the start of an hour', async (t) => {
    await t.rejects(rebuildUsageHour(db, start + 1), RangeError);
  });

  t.test('names hours that are over and new since the last run, and each only once', async (t) => {
    const today = Date.UTC(2024, 6, 1);
    const [early, late, open] = [today, today + 5 * hourMs, today + 6 * hourMs];
    await insertUsageEvents(db, [
      usageRecord({ startedAtMs: early }),
      usageRecord({ startedAtMs: late + 7 }),
      usageRecord({ startedAtMs: late + 8 }),
      usageRecord({ startedAtMs: open }),
    ]);
    const nowMs = open + hourMs - 1;
    const first = await findStaleHours(db, { nowMs, lookBackHours: 1 });
    t.same(first.hours.slice(-2), [early, late]);
    t.same(first.mark.closedUntil, new Date(open));

    await sql`update usage_events set inserted_at = now() - interval '3 hours'`.execute(db);
    await markRolledUp(db, first.mark);
    t.same((await findStaleHours(db, { nowMs, lookBackHours: 1 })).hours, [], 'nothing is new');
    t.ok(
      (await findStaleHours(db, { nowMs, lookBackHours: 4 })).hours.includes(late),
      'looks back as far as it is told',
    );
    t.same((await findStaleHours(db, { nowMs: nowMs + 1, lookBackHours: 1 })).hours, [open], 'an hour has ended');

    await insertUsageEvents(db, [usageRecord({ startedAtMs: early + 1 })]);
    t.same((await findStaleHours(db, { nowMs, lookBackHours: 1 })).hours, [early], 'a late row came');
  });

  t.test('sees a row that came after the database was set back', async (t) => {
    const startMs = Date.UTC(2024, 7, 1);
    const nowMs = startMs + hourMs;
    await markRolledUp(db, { seenUntil: new Date('2999-01-01'), closedUntil: new Date(nowMs) });
    await insertUsageEvents(db, [usageRecord({ startedAtMs: startMs })]);
    t.ok((await findStaleHours(db, { nowMs, lookBackHours: 1 })).hours.includes(startMs));
  });

  t.test('leaves the sums alone when their rows are gone', async (t) => {
    const startMs = Date.UTC(2024, 8, 1);
    await insertUsageEvents(db, [usageRecord({ startedAtMs: startMs })]);
    await rebuildUsageHour(db, startMs);
    await markRowsKeptFrom(db, startMs + 1);
    await markRowsKeptFrom(db, startMs);
    await db.deleteFrom('usage_events').execute();
    await insertUsageEvents(db, [usageRecord({ startedAtMs: startMs, model: 'too late' })]);
    t.equal(await rebuildUsageHour(db, startMs), 'expired');
    t.same(await rollupsOf(db, startMs), [sums]);
    t.notOk((await findStaleHours(db, { nowMs: startMs + 9 * hourMs, lookBackHours: 1 })).hours.includes(startMs));
  });

  t.test('tells the time of the database', async (t) => {
    const { rows } = await sql<{ now: Date }>`select now() as now`.execute(db);
    t.ok((await readDatabaseTimeMs(db)) >= (rows[0]?.now.getTime() ?? Number.POSITIVE_INFINITY));
  });
});

t.test('leaves the hour to the process that is at it', async (t) => {
  const { db } = await createTestDatabase(t);
  await insertUsageEvents(db, [usageRecord({ startedAtMs: start })]);
  const { promise: end, resolve } = Promise.withResolvers<void>();
  const { promise: held, resolve: hold } = Promise.withResolvers<void>();
  const other = db.transaction().execute(async (trx) => {
    await sql`select pg_advisory_xact_lock(7813570216405512311)`.execute(trx);
    hold();
    await end;
  });
  await held;
  t.equal(await rebuildUsageHour(db, start), 'busy');
  resolve();
  await other;
  t.equal(await rebuildUsageHour(db, start), 'rebuilt');
});
