/**
 * The ledger's one door: a batch of usage records in, at most one row per request out. A record may come twice, late, or
 * out of order; the row only ever improves, because a record of lower or equal rank never touches it.
 * Fails as a whole: the caller keeps the batch and tries again. Spec: reliability 2.2 and 2.4 DRAIN, performance 3.5.
 */
import { type RawBuilder, sql } from 'kysely';
import type { Usage, UsageRecord } from '../contract/flow.ts';
import { formatUsd } from './decimal-usd.ts';
import type { Store, UsageEventsTable } from './schema.ts';

type Row = Record<keyof Omit<UsageEventsTable, 'inserted_at'>, unknown>;

/** In the order of `rowOf`, with the types that the server reads them as. */
export const columnTypes: Readonly<Record<keyof Row, string>> = {
  request_id: 'uuid',
  started_at: 'timestamptz',
  rank: 'int2',
  account_id: 'uuid',
  key_id: 'uuid',
  tier: 'text',
  endpoint: 'text',
  model: 'text',
  provider: 'text',
  upstream_model: 'text',
  stream: 'bool',
  status: 'text',
  http_status: 'int4',
  error_code: 'text',
  usage_source: 'text',
  prompt_tokens: 'int4',
  cached_tokens: 'int4',
  cache_write_tokens: 'int4',
  completion_tokens: 'int4',
  reasoning_tokens: 'int4',
  long_cache_write_tokens: 'int4',
  audio_prompt_tokens: 'int4',
  audio_completion_tokens: 'int4',
  price_version: 'text',
  cost_usd: 'numeric',
  ttft_ms: 'int4',
  duration_ms: 'int4',
  attempts: 'jsonb',
};

const columns = Object.entries(columnTypes);
const keyColumns: readonly string[] = ['request_id', 'started_at'];

/**
 * One JSON text for the whole batch: one native `JSON.stringify` costs this process about half of what an escaped array
 * per column (`unnest`) does, and the server takes the same time for both.
 */
export async function insertUsageEvents(db: Store, records: readonly UsageRecord[]): Promise<void> {
  if (records.length === 0) return;
  const rows = keepHighestRank(records).map(rowOf);
  const names = sql.join(columns.map(([name]) => sql.ref(name)));
  // Ordered, so that two writers with the same ids lock them in the same order and cannot deadlock.
  await sql`
    insert into usage_events (${names})
    select ${names}
    from json_to_recordset(${JSON.stringify(rows)}::json) as incoming (${sql.join(columns.map(declaration))})
    order by request_id
    on conflict (${sql.join(keyColumns.map((name) => sql.ref(name)))}) do update
    set ${sql.join(columns.filter(isImprovable).map(assignment))}, inserted_at = excluded.inserted_at
    where excluded.rank > usage_events.rank
  `.execute(db);
}

/** Keys whose rows came or improved within this time, by the database's clock. */
export async function findRecentSpenders(
  db: Store,
  lookBackMs: number,
): Promise<readonly { accountId: string; keyId: string }[]> {
  return db
    .selectFrom('usage_events')
    .select(['account_id as accountId', 'key_id as keyId'])
    .distinct()
    .where('inserted_at', '>=', sql<Date>`now() - make_interval(secs => ${lookBackMs / 1000}::float8)`)
    .execute();
}

/** Rows whose tokens a provider counted, from one request id on, in their order. */
export async function listCountedRows(
  db: Store,
  { afterId, fromMs, limit }: { afterId: string; fromMs: number; limit: number },
): Promise<readonly { requestId: string; usage: Usage; priceVersion: string | null; costUsd: string }[]> {
  const rows = await db
    .selectFrom('usage_events')
    .select([
      'request_id',
      'price_version',
      'prompt_tokens',
      'cached_tokens',
      'cache_write_tokens',
      'completion_tokens',
      'reasoning_tokens',
      'long_cache_write_tokens',
      'audio_prompt_tokens',
      'audio_completion_tokens',
      sql<string>`cost_usd::text`.as('cost_usd'),
    ])
    .where('started_at', '>=', new Date(fromMs))
    .where('request_id', '>', afterId)
    .where('usage_source', '=', 'provider')
    .orderBy('request_id')
    .limit(limit)
    .execute();
  return rows.map((row) => ({
    requestId: row.request_id,
    priceVersion: row.price_version,
    costUsd: row.cost_usd,
    usage: {
      promptTokens: row.prompt_tokens,
      cachedTokens: row.cached_tokens,
      cacheWriteTokens: row.cache_write_tokens,
      completionTokens: row.completion_tokens,
      reasoningTokens: row.reasoning_tokens,
      longCacheWriteTokens: row.long_cache_write_tokens,
      audioPromptTokens: row.audio_prompt_tokens,
      audioCompletionTokens: row.audio_completion_tokens,
    },
  }));
}

/** A record as the row that it becomes, in the order of `columnTypes`. */
export function rowOf(record: UsageRecord): Row {
  const { usage } = record;
  return {
    request_id: record.requestId,
    started_at: new Date(record.startedAtMs).toISOString(),
    rank: record.rank,
    account_id: record.accountId,
    key_id: record.keyId,
    tier: cleanText(record.tier),
    endpoint: cleanText(record.endpoint),
    model: cleanText(record.model),
    provider: optionalText(record.provider),
    upstream_model: optionalText(record.upstreamModel),
    stream: record.stream,
    status: record.status,
    http_status: boundedInteger(record.httpStatus),
    error_code: optionalText(record.errorCode),
    usage_source: record.usageSource,
    prompt_tokens: boundedInteger(usage.promptTokens),
    cached_tokens: boundedInteger(usage.cachedTokens),
    cache_write_tokens: boundedInteger(usage.cacheWriteTokens),
    completion_tokens: boundedInteger(usage.completionTokens),
    reasoning_tokens: boundedInteger(usage.reasoningTokens),
    long_cache_write_tokens: boundedInteger(usage.longCacheWriteTokens ?? 0),
    audio_prompt_tokens: boundedInteger(usage.audioPromptTokens ?? 0),
    audio_completion_tokens: boundedInteger(usage.audioCompletionTokens ?? 0),
    price_version: optionalText(record.priceVersion ?? null),
    cost_usd: formatUsd(record.costPicoUsd),
    ttft_ms: record.ttftMs === null ? null : boundedInteger(record.ttftMs),
    duration_ms: boundedInteger(record.durationMs),
    attempts: record.attempts.map((attempt) => ({
      ...attempt,
      provider: cleanText(attempt.provider),
      model: cleanText(attempt.model),
      errorCode: optionalText(attempt.errorCode),
    })),
  };
}

/** One statement may not meet the same row twice. Of equal ranks the first one stays, as it would in two statements. */
function keepHighestRank(records: readonly UsageRecord[]): readonly UsageRecord[] {
  const best = new Map<string, UsageRecord>();
  for (const record of records) {
    const id = `${record.requestId.toLowerCase()} ${record.startedAtMs}`;
    const known = best.get(id);
    if (known === undefined || record.rank > known.rank) best.set(id, record);
  }
  return [...best.values()];
}

function isImprovable([name]: [string, string]): boolean {
  return !keyColumns.includes(name);
}

function assignment([name]: [string, string]): RawBuilder<unknown> {
  return sql`${sql.ref(name)} = excluded.${sql.ref(name)}`;
}

function declaration([name, type]: [string, string]): RawBuilder<unknown> {
  return sql`${sql.ref(name)} ${sql.id(type)}`;
}

/** Postgres takes neither NUL nor half a surrogate pair, and one such character would hold up the whole batch. */
function cleanText(text: string): string {
  return isPlain.test(text) ? text : text.replaceAll('\0', '\uFFFD').toWellFormed();
}

const isPlain = /^[\x20-\x7e]*$/;

function optionalText(text: string | null): string | null {
  return text === null ? null : cleanText(text);
}

/** Counts come from upstreams; a nonsensical one must not keep the row out of the ledger. */
function boundedInteger(value: number): number {
  return Math.min(Math.max(Math.round(value) || 0, 0), 0x7fff_ffff);
}
