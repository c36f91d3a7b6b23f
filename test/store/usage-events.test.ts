import { type Kysely, sql } from 'kysely';
import t from 'tap';
import { type UsageRecord, type UsageStatus, usageRank } from '../../src/contract/flow.ts';
import { openDatabase } from '../../src/platform/postgres.ts';
import type { StoreSchema } from '../../src/store/schema.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { silentLog, testBothKinds } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

type Row = { rank: number; status: string; cost_usd: string; completion_tokens: number };

async function rowsOf(db: Kysely<StoreSchema>, { requestId }: UsageRecord): Promise<Row[]> {
  return db
    .selectFrom('usage_events')
    .select(['rank', 'status', 'cost_usd', 'completion_tokens'])
    .where('request_id', '=', requestId)
    .execute();
}

/** The four records that one request may leave behind, worst first. */
function history(): [UsageRecord, UsageRecord, UsageRecord, UsageRecord] {
  const first = usageRecord({ rank: usageRank.void, status: 'not_dispatched', costPicoUsd: 0 });
  return [
    first,
    { ...first, rank: usageRank.orphan, status: 'orphaned', costPicoUsd: 1_000_000_000_000 },
    { ...first, rank: usageRank.partial, status: 'client_abort', costPicoUsd: 2_000_000_000_000 },
    { ...first, rank: usageRank.final, status: 'ok', costPicoUsd: 3_000_000_000_000 },
  ];
}

testBothKinds(t, async (t, { db }) => {
  t.test('keeps every field when a record goes in', async (t) => {
    const plain = usageRecord();
    const rare = { longCacheWriteTokens: 2, audioPromptTokens: 3, audioCompletionTokens: 4 };
    const record = { ...plain, usage: { ...plain.usage, ...rare }, priceVersion: 'v1' };
    await insertUsageEvents(db, [record]);
    const row = await db
      .selectFrom('usage_events')
      .selectAll()
      .where('request_id', '=', record.requestId)
      .executeTakeFirstOrThrow();
    t.ok(row.inserted_at instanceof Date);
    t.strictSame(
      { ...row, inserted_at: null },
      {
        request_id: record.requestId,
        started_at: new Date(record.startedAtMs),
        rank: 3,
        account_id: record.accountId,
        key_id: record.keyId,
        tier: 'pro',
        endpoint: 'chat',
        model: 'large',
        provider: 'acme',
        upstream_model: 'acme-large-1',
        stream: true,
        status: 'ok',
        http_status: 200,
        error_code: null,
        usage_source: 'provider',
        prompt_tokens: 100,
        cached_tokens: 40,
        cache_write_tokens: 5,
        completion_tokens: 20,
        reasoning_tokens: 7,
        long_cache_write_tokens: 2,
        audio_prompt_tokens: 3,
        audio_completion_tokens: 4,
        cost_usd: '1.234567890123',
        price_version: 'v1',
        ttft_ms: 180,
        duration_ms: 2100,
        attempts: record.attempts,
        inserted_at: null,
      },
    );
  });

  t.test('keeps the absence of what was never known', async (t) => {
    const record = usageRecord({ provider: null, upstreamModel: null, errorCode: 'x', ttftMs: null, attempts: [] });
    await insertUsageEvents(db, [record]);
    const row = await db
      .selectFrom('usage_events')
      .select(['provider', 'upstream_model', 'error_code', 'ttft_ms', 'attempts'])
      .where('request_id', '=', record.requestId)
      .executeTakeFirstOrThrow();
    t.strictSame(row, { provider: null, upstream_model: null, error_code: 'x', ttft_ms: null, attempts: [] });
  });

  t.test('only improves the row, in whatever order the records arrive', async (t) => {
    for (const order of permutations([0, 1, 2, 3])) {
      const records = history();
      let best = -1;
      for (const index of order) {
        const record = records[index] ?? records[0];
        await insertUsageEvents(db, [record]);
        best = Math.max(best, index);
        const rows = await rowsOf(db, record);
        t.match(rows, [{ rank: best, status: records[best]?.status ?? '', cost_usd: `${best}.000000000000` }]);
        t.equal(rows.length, 1);
      }
    }
  });

  t.test('leaves the row alone when a record of equal rank says something else', async (t) => {
    const first = usageRecord();
    await insertUsageEvents(db, [first]);
    await insertUsageEvents(db, [{ ...first, status: 'upstream_error', costPicoUsd: 5 }]);
    t.match(await rowsOf(db, first), [{ status: 'ok', cost_usd: '1.234567890123' }]);
  });

  t.test('takes the best of several records of one request in one batch', async (t) => {
    const [none, orphan, partial, final] = history();
    const upperCase = { ...partial, requestId: partial.requestId.toUpperCase() };
    await insertUsageEvents(db, [orphan, final, none, upperCase, { ...final, status: 'drained' }]);
    t.match(await rowsOf(db, final), [{ rank: 3, status: 'ok' }]);
  });

  t.test('takes two writers with the same rows in opposite order', async (t) => {
    const records = Array.from({ length: 100 }, () => usageRecord());
    await Promise.all([insertUsageEvents(db, records), insertUsageEvents(db, records.toReversed())]);
    const { rows } = await sql<{ count: number }>`
      select count(*)::int as count from usage_events where request_id = any(${records.map((r) => r.requestId)}::uuid[])
    `.execute(db);
    t.equal(rows[0]?.count, 100);
  });

  t.test('keeps costs to the last digit', async (t) => {
    const costs = [
      0,
      1,
      999_999_999_999,
      1_000_000_000_000,
      75_000_000,
      9_007_199_254_740_991,
      150_000 * 17 + 600_000 * 3,
    ];
    const records = costs.map((costPicoUsd) => usageRecord({ costPicoUsd }));
    await insertUsageEvents(db, records);
    const stored = await Promise.all(records.map((record) => rowsOf(db, record)));
    t.same(
      stored.map((rows) => rows[0]?.cost_usd),
      [
        '0.000000000000',
        '0.000000000001',
        '0.999999999999',
        '1.000000000000',
        '0.000075000000',
        '9007.199254740991',
        '0.000004350000',
      ],
    );
  });

  t.test('refuses a cost below zero, and takes the batch without it', async (t) => {
    const good = usageRecord();
    const bad = usageRecord({ costPicoUsd: -1 });
    await t.rejects(insertUsageEvents(db, [good, bad]), { code: '23514' });
    t.same(await rowsOf(db, good), [], 'a batch goes in whole or not at all');
    await t.rejects(insertUsageEvents(db, [good, usageRecord({ costPicoUsd: Number.NaN })]), RangeError);
    await insertUsageEvents(db, [good]);
    t.equal((await rowsOf(db, good)).length, 1);
  });

  t.test('cleans text that Postgres would refuse', async (t) => {
    const record = usageRecord({
      model: 'a\0b\ud800c',
      errorCode: '"quoted", {braced} \\ and NULL',
      upstreamModel: 'NULL',
      attempts: [{ provider: 'p\0', model: '\udfff', status: 0, errorCode: 'x\0', durationMs: 1 }],
    });
    await insertUsageEvents(db, [record]);
    const row = await db
      .selectFrom('usage_events')
      .select(['model', 'error_code', 'upstream_model', 'attempts'])
      .where('request_id', '=', record.requestId)
      .executeTakeFirstOrThrow();
    t.strictSame(row, {
      model: 'a\uFFFDb\uFFFDc',
      error_code: '"quoted", {braced} \\ and NULL',
      upstream_model: 'NULL',
      attempts: [{ provider: 'p\uFFFD', model: '\uFFFD', status: 0, errorCode: 'x\uFFFD', durationMs: 1 }],
    });
  });

  t.test('keeps the row when an upstream counts nonsense', async (t) => {
    const record = usageRecord({
      usage: {
        promptTokens: 1e15,
        cachedTokens: -5,
        cacheWriteTokens: Number.NaN,
        completionTokens: 1.6,
        reasoningTokens: 0,
      },
      durationMs: 12.4,
    });
    await insertUsageEvents(db, [record]);
    const row = await db
      .selectFrom('usage_events')
      .select(['prompt_tokens', 'cached_tokens', 'cache_write_tokens', 'completion_tokens', 'duration_ms'])
      .where('request_id', '=', record.requestId)
      .executeTakeFirstOrThrow();
    t.strictSame(row, {
      prompt_tokens: 2_147_483_647,
      cached_tokens: 0,
      cache_write_tokens: 0,
      completion_tokens: 2,
      duration_ms: 12,
    });
  });

  t.test('accepts every status of the contract', async (t) => {
    const known: Record<UsageStatus, true> = {
      ok: true,
      client_abort: true,
      upstream_error: true,
      unknown: true,
      orphaned: true,
      not_dispatched: true,
      client_stall: true,
      total_timeout: true,
      drained: true,
      revoked: true,
      capped: true,
      lease_lost: true,
    };
    const records = Object.keys(known).map((status) => usageRecord({ status: status as UsageStatus }));
    await insertUsageEvents(db, records);
    t.equal((await Promise.all(records.map((record) => rowsOf(db, record)))).flat().length, records.length);
    const unknown = usageRecord({ status: 'made up' as UsageStatus });
    await t.rejects(insertUsageEvents(db, [unknown]), { code: '23514' });
  });
});

t.test('asks nothing of the database when there is nothing to insert', async (t) => {
  const { db, close } = await openDatabase<StoreSchema>({
    url: 'postgres://127.0.0.1:1/none',
    dataDirectory: '',
    log: silentLog,
  });
  await insertUsageEvents(db, []);
  await t.rejects(insertUsageEvents(db, [usageRecord()]), { code: 'ECONNREFUSED' });
  await close();
});

function permutations(items: readonly number[]): number[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item) => permutations(items.filter((other) => other !== item)).map((rest) => [item, ...rest]));
}
