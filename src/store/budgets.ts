/** What an account or one of its keys has spent in a period of the calendar, by the rows of the ledger. */
import { sql } from 'kysely';
import type { BudgetPeriod } from '../contract/admission.ts';
import type { Store } from './schema.ts';

export type SpendingQuery = { accountId: string; scope: string; period: BudgetPeriod };

const keyScope = 'key:';
const daysPerWeek = 7;

/** Whole nano-USD, rounded up. A scope is `account:<id>` or `key:<id>`. */
export async function spentNanoUsd(
  db: Store,
  { accountId, scope, period }: SpendingQuery,
  nowMs: number,
): Promise<number> {
  const keyId = scope.startsWith(keyScope) ? scope.slice(keyScope.length) : null;
  const start = new Date(periodStartMs(period, nowMs) ?? 0);
  // Where retention has dropped the rows, their hourly sums are what is left of them.
  const { rows } = await sql<{ spent: string }>`
    with kept as (select rows_kept_from as since from usage_upkeep),
    costs as (
      select sum(cost_usd) as usd from usage_events, kept
      where account_id = ${accountId} and started_at >= greatest(${start}::timestamptz, kept.since)
        and (${keyId}::uuid is null or key_id = ${keyId}::uuid)
      union all
      select sum(cost_usd) from usage_rollups_hour, kept
      where account_id = ${accountId} and hour >= ${start}::timestamptz and hour < kept.since
        and (${keyId}::uuid is null or key_id = ${keyId}::uuid)
    )
    select ceil(coalesce(sum(usd), 0) * 1000000000)::text as spent from costs
  `.execute(db);
  return Number(rows[0]?.spent ?? Number.NaN);
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
