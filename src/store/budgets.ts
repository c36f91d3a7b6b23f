/** What an account or one of its keys has spent in a period of the calendar, by the rows of the ledger. */
import { sql } from 'kysely';
import type { BudgetPeriod } from '../contract/admission.ts';
import type { Store } from './schema.ts';

export type SpendingQuery = { accountId: string; scope: string; period: BudgetPeriod };

const keyScope = 'key:';
const daysPerWeek = 7;

/** Whole nano-USD, rounded up. A scope is `account:<id>` or `key:<id>`. */
export async function spentNanoUsd(db: Store, query: SpendingQuery, nowMs: number): Promise<number> {
  const startMs = periodStartMs(query.period, nowMs);
  // Cast to text in the query: one driver gives numeric as text, and a sum of none is null.
  let rows = db
    .selectFrom('usage_events')
    .select(sql<string>`ceil(coalesce(sum(cost_usd), 0) * 1000000000)::text`.as('spent'))
    .where('account_id', '=', query.accountId);
  if (startMs !== null) rows = rows.where('started_at', '>=', new Date(startMs));
  if (query.scope.startsWith(keyScope)) rows = rows.where('key_id', '=', query.scope.slice(keyScope.length));
  const { spent } = await rows.executeTakeFirstOrThrow();
  return Number(spent);
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
