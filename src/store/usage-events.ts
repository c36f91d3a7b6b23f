/**
 * The ledger's one door: a batch of usage records in, at most one row per request out. A record may come twice, late, or
 * out of order; the row only ever improves, because a record of lower or equal rank never touches it.
 * Fails as a whole: the caller keeps the batch and tries again. Spec: reliability 2.2 and 2.4 DRAIN, performance 3.5.
 */
import { type RawBuilder, sql } from 'kysely';
import type { UsageRecord } from '../contract/flow.ts';
import { formatUsd } from './decimal-usd.ts';
import type { Store, UsageEventsTable } from './schema.ts';

type Column = {
  name: keyof UsageEventsTable;
  type: 'uuid' | 'timestamptz' | 'int2' | 'int4' | 'bool' | 'text' | 'numeric' | 'jsonb';
  value: (record: UsageRecord) => string | number | boolean | null;
};

const keyColumns = ['request_id', 'started_at'] as const;

const columns: readonly Column[] = [
  { name: 'request_id', type: 'uuid', value: (record) => record.requestId },
  { name: 'started_at', type: 'timestamptz', value: (record) => new Date(record.startedAtMs).toISOString() },
  { name: 'rank', type: 'int2', value: (record) => record.rank },
  { name: 'account_id', type: 'uuid', value: (record) => record.accountId },
  { name: 'key_id', type: 'uuid', value: (record) => record.keyId },
  { name: 'tier', type: 'text', value: (record) => cleanText(record.tier) },
  { name: 'endpoint', type: 'text', value: (record) => cleanText(record.endpoint) },
  { name: 'model', type: 'text', value: (record) => cleanText(record.model) },
  { name: 'provider', type: 'text', value: (record) => optionalText(record.provider) },
  { name: 'upstream_model', type: 'text', value: (record) => optionalText(record.upstreamModel) },
  { name: 'stream', type: 'bool', value: (record) => record.stream },
  { name: 'status', type: 'text', value: (record) => record.status },
  { name: 'http_status', type: 'int4', value: (record) => boundedInteger(record.httpStatus) },
  { name: 'error_code', type: 'text', value: (record) => optionalText(record.errorCode) },
  { name: 'usage_source', type: 'text', value: (record) => record.usageSource },
  { name: 'prompt_tokens', type: 'int4', value: (record) => boundedInteger(record.usage.promptTokens) },
  { name: 'cached_tokens', type: 'int4', value: (record) => boundedInteger(record.usage.cachedTokens) },
  { name: 'cache_write_tokens', type: 'int4', value: (record) => boundedInteger(record.usage.cacheWriteTokens) },
  { name: 'completion_tokens', type: 'int4', value: (record) => boundedInteger(record.usage.completionTokens) },
  { name: 'reasoning_tokens', type: 'int4', value: (record) => boundedInteger(record.usage.reasoningTokens) },
  { name: 'cost_usd', type: 'numeric', value: (record) => formatUsd(record.costPicoUsd) },
  { name: 'ttft_ms', type: 'int4', value: ({ ttftMs }) => (ttftMs === null ? null : boundedInteger(ttftMs)) },
  { name: 'duration_ms', type: 'int4', value: (record) => boundedInteger(record.durationMs) },
  { name: 'attempts', type: 'jsonb', value: (record) => JSON.stringify(record.attempts, cleanMember) },
];

export async function insertUsageEvents(db: Store, records: readonly UsageRecord[]): Promise<void> {
  if (records.length === 0) return;
  const rows = keepHighestRank(records);
  const names = sql.join(columns.map(({ name }) => sql.ref(name)));
  // Ordered, so that two writers with the same ids lock them in the same order and cannot deadlock.
  await sql`
    insert into usage_events (${names})
    select ${sql.join(columns.map(selected))}
    from unnest(${sql.join(columns.map((column) => parameter(column, rows)))}) as incoming (${names})
    order by request_id
    on conflict (${sql.join(keyColumns.map((name) => sql.ref(name)))}) do update
    set ${sql.join(columns.filter(isImprovable).map(assignment))}, inserted_at = excluded.inserted_at
    where excluded.rank > usage_events.rank
  `.execute(db);
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

function isImprovable({ name }: Column): boolean {
  return !keyColumns.some((key) => key === name);
}

function assignment({ name }: Column): RawBuilder<unknown> {
  return sql`${sql.ref(name)} = excluded.${sql.ref(name)}`;
}

/** JSON travels as text: the drivers disagree on how an array of JSON is written. */
function parameter({ type, value }: Column, rows: readonly UsageRecord[]): RawBuilder<unknown> {
  return sql`${rows.map(value)}::${sql.id(type === 'jsonb' ? 'text' : type)}[]`;
}

function selected({ name, type }: Column): RawBuilder<unknown> {
  return type === 'jsonb' ? sql`${sql.ref(name)}::jsonb` : sql.ref(name);
}

/** Postgres takes neither NUL nor half a surrogate pair, and one such character would hold up the whole batch. */
function cleanText(text: string): string {
  return text.replaceAll('\0', '\uFFFD').toWellFormed();
}

function optionalText(text: string | null): string | null {
  return text === null ? null : cleanText(text);
}

function cleanMember(_: string, value: unknown): unknown {
  return typeof value === 'string' ? cleanText(value) : value;
}

/** Counts come from upstreams; a nonsensical one must not keep the row out of the ledger. */
function boundedInteger(value: number): number {
  return Math.min(Math.max(Math.round(value) || 0, 0), 0x7fff_ffff);
}
