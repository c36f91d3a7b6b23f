import * as fc from 'fast-check';
import { type Kysely, sql } from 'kysely';
import t from 'tap';
import type { UsageRank, UsageRecord } from '../../src/contract/flow.ts';
import type { StoreSchema } from '../../src/store/schema.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { rollUpClosedHours } from '../../src/usage/rollups.ts';
import { createTestDatabase, testBothKinds } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

const hourMs = 3_600_000;
const start = Date.UTC(2024, 4, 1, 22);
const nowMs = start + 4 * hourMs;

/** By everything that a roll-up tells apart; numeric stays text. */
async function sumsOf(db: Kysely<StoreSchema>, table: 'rows' | 'rollups'): Promise<object[]> {
  const dimensions = sql`hour, key_id, model, provider, status`;
  const source =
    table === 'rollups'
      ? sql`usage_rollups_hour`
      : sql`(
          select *, 1 as requests, date_trunc('hour', started_at, 'UTC') as hour
          from (select request_id, started_at, key_id, model, coalesce(provider, '') as provider, status, prompt_tokens,
            cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens, cost_usd from usage_events) as event
        ) as event`;
  const { rows } = await sql<object>`
    select ${dimensions}, sum(requests)::text as requests, sum(prompt_tokens)::text as prompt_tokens,
      sum(cached_tokens)::text as cached_tokens, sum(cache_write_tokens)::text as cache_write_tokens,
      sum(completion_tokens)::text as completion_tokens, sum(reasoning_tokens)::text as reasoning_tokens,
      sum(cost_usd)::text as cost_usd
    from ${source} group by ${dimensions} order by ${dimensions}
  `.execute(db);
  return rows;
}

type Step = { request: number; rank: UsageRank; cost: number; tokens: number };

const step: fc.Arbitrary<Step | 'roll up'> = fc.oneof(
  { weight: 3, arbitrary: fc.constant('roll up' as const) },
  {
    weight: 10,
    arbitrary: fc.record({
      request: fc.nat(11),
      rank: fc.constantFrom<UsageRank>(0, 1, 2, 3),
      cost: fc.nat(Number.MAX_SAFE_INTEGER),
      tokens: fc.nat(0x7fff_ffff),
    }),
  },
);

const statusOf = { 0: 'not_dispatched', 1: 'orphaned', 2: 'client_abort', 3: 'ok' } as const;

function createRequests(): UsageRecord[] {
  return Array.from({ length: 12 }, (_, index) =>
    usageRecord({
      startedAtMs: start + (index % 4) * hourMs + index,
      model: index % 3 === 0 ? 'small' : 'large',
      provider: index % 5 === 0 ? null : 'acme',
    }),
  );
}

function recordOf(requests: readonly UsageRecord[], { request, rank, cost, tokens }: Step): UsageRecord {
  const base = requests[request] ?? usageRecord();
  return {
    ...base,
    rank,
    status: statusOf[rank],
    costPicoUsd: cost,
    usage: { ...base.usage, promptTokens: tokens, completionTokens: tokens },
  };
}

testBothKinds(t, async (t, { db, kind }) => {
  t.test('equals the sum of the rows after any history of inserts, better records and repeats', async (t) => {
    const property = fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 30 }), async (steps) => {
      await sql`truncate usage_events, usage_rollups_hour`.execute(db);
      const requests = createRequests();
      for (const entry of steps) {
        if (entry === 'roll up') await rollUpClosedHours(db, { nowMs: start + 2 * hourMs });
        else await insertUsageEvents(db, [recordOf(requests, entry)]);
      }
      const { isComplete } = await rollUpClosedHours(db, { nowMs });
      t.ok(isComplete);
      t.same(await sumsOf(db, 'rollups'), await sumsOf(db, 'rows'));
    });
    await fc.assert(property, { numRuns: kind === 'pglite' ? 5 : 15 });
  });

  t.test('leaves the hour alone that still runs', async (t) => {
    await sql`truncate usage_events, usage_rollups_hour`.execute(db);
    await insertUsageEvents(db, [usageRecord({ startedAtMs: nowMs }), usageRecord({ startedAtMs: nowMs - 1 })]);
    t.same(await rollUpClosedHours(db, { nowMs: nowMs + hourMs - 1 }), { hours: 1, isComplete: true });
    t.equal((await sumsOf(db, 'rollups')).length, 1);
    t.same(await rollUpClosedHours(db, { nowMs: nowMs + hourMs }), { hours: 2, isComplete: true });
    t.same(await sumsOf(db, 'rollups'), await sumsOf(db, 'rows'));
  });

  t.test('begins again where it was when it is stopped between two hours', async (t) => {
    await sql`truncate usage_events, usage_rollups_hour`.execute(db);
    await sql`update usage_upkeep set seen_until = 'epoch', closed_until = 'epoch'`.execute(db);
    await insertUsageEvents(db, createRequests());
    await sql`update usage_events set inserted_at = now() - interval '2 days'`.execute(db);
    const stopped = await rollUpClosedHours(db, { nowMs, signal: AbortSignal.abort() });
    t.same(stopped, { hours: 0, isComplete: false });
    t.same(await rollUpClosedHours(db, { nowMs }), { hours: 4, isComplete: true });
    t.same(await sumsOf(db, 'rollups'), await sumsOf(db, 'rows'));
    t.same(await rollUpClosedHours(db, { nowMs }), { hours: 0, isComplete: true }, 'and nothing is done twice');
  });
});

t.test('gives the hours to the replica that is at them, and looks at them again later', async (t) => {
  const { db } = await createTestDatabase(t);
  await insertUsageEvents(db, createRequests());
  const { promise: end, resolve } = Promise.withResolvers<void>();
  const { promise: held, resolve: hold } = Promise.withResolvers<void>();
  const other = db.transaction().execute(async (trx) => {
    await sql`select pg_advisory_xact_lock(7813570216405512311)`.execute(trx);
    hold();
    await end;
  });
  await held;
  t.same(await rollUpClosedHours(db, { nowMs }), { hours: 0, isComplete: false });
  resolve();
  await other;
  t.same(await rollUpClosedHours(db, { nowMs }), { hours: 4, isComplete: true });
});

t.test('keeps the sums right when many replicas roll up and write at once', async (t) => {
  const { db } = await createTestDatabase(t);
  const requests = createRequests();
  const write = async (rank: UsageRank): Promise<void> => {
    for (const [request] of requests.entries())
      await insertUsageEvents(db, [recordOf(requests, { request, rank, cost: rank, tokens: rank })]);
  };
  const rollUp = async (): Promise<void> => {
    for (let turn = 0; turn < 5; turn += 1) await rollUpClosedHours(db, { nowMs });
  };
  await Promise.all([write(1), write(3), rollUp(), rollUp()]);
  t.ok((await rollUpClosedHours(db, { nowMs })).isComplete);
  t.same(await sumsOf(db, 'rollups'), await sumsOf(db, 'rows'));
});
