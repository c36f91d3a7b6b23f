/** What an account or one of its keys has spent in a period of the calendar, by the rows of the ledger. */
import { sql } from 'kysely';
import type { BudgetName, BudgetPeriod } from '../contract/admission.ts';
import type { Store } from './schema.ts';

/** A scope is `account:<id>` or `key:<id>`. */
export type SpendingQuery = BudgetName & { accountId: string };

/** Both included. */
export type SpendingBounds = { leastNanoUsd: number; mostNanoUsd: number };

const keyScope = 'key:';
const daysPerWeek = 7;
/** How far apart the clocks of a gateway, which dates the rows, and of the engine, which counts them, may be. */
const clockSkewMs = 600_000;

/** Whole nano-USD of the period that `atMs` is in; each row is rounded up, as the engine charges it. */
export async function spentNanoUsd(db: Store, query: SpendingQuery, atMs: number): Promise<number> {
  const [spent = Number.NaN] = await sumSince(db, query, [periodStartMs(query.period, atMs) ?? 0]);
  return spent;
}

/** A row from the turn of the period belongs to the one or to the other, depending on whose clock is asked. */
export async function spentBoundsNanoUsd(db: Store, query: SpendingQuery, atMs: number): Promise<SpendingBounds> {
  const startMs = periodStartMs(query.period, atMs);
  const starts = startMs === null ? [0, 0] : [startMs + clockSkewMs, startMs - clockSkewMs];
  const [leastNanoUsd = Number.NaN, mostNanoUsd = Number.NaN] = await sumSince(db, query, starts);
  return { leastNanoUsd, mostNanoUsd };
}

async function sumSince(
  db: Store,
  { accountId, scope }: SpendingQuery,
  startsMs: readonly number[],
): Promise<readonly number[]> {
  const keyId = scope.startsWith(keyScope) ? scope.slice(keyScope.length) : null;
  const earliest = new Date(Math.min(...startsMs));
  const sums = startsMs.map(
    (startMs) => sql`ceil(coalesce(sum(nano_usd) filter (where at >= ${new Date(startMs)}::timestamptz), 0))::text`,
  );
  // Where retention has dropped the rows, their hourly sums are what is left of them.
  const { rows } = await sql<{ sums: readonly string[] }>`
    with kept as (select rows_kept_from as since from usage_upkeep),
    costs as (
      select started_at as at, ceil(cost_usd * 1000000000) as nano_usd from usage_events, kept
      where account_id = ${accountId} and started_at >= greatest(${earliest}::timestamptz, kept.since)
        and (${keyId}::uuid is null or key_id = ${keyId}::uuid)
      union all
      select hour, cost_usd * 1000000000 from usage_rollups_hour, kept
      where account_id = ${accountId} and hour >= ${earliest}::timestamptz and hour < kept.since
        and (${keyId}::uuid is null or key_id = ${keyId}::uuid)
    )
    select array[${sql.join(sums)}] as sums from costs
  `.execute(db);
  return (rows[0]?.sums ?? []).map(Number);
}

/** In UTC; a week begins on Monday. null: `total` has no beginning. */
export function periodStartMs(period: BudgetPeriod, nowMs: number): number | null {
  const now = new Date(nowMs);
  const [year, month, day] = [now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()];
  switch (period) {
    case 'daily':
      return Date.UTC(year, month, day);
    case 'weekly':
      return Date.UTC(year, month, day - ((now.getUTCDay() + daysPerWeek - 1) % daysPerWeek));
    case 'monthly':
      return Date.UTC(year, month, 1);
    case 'total':
      return null;
  }
}
