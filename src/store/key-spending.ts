/** What one key has cost so far, for its holder. Hours that are summed already are not summed again. */
import { sql } from 'kysely';
import type { Store } from './schema.ts';
import { periodStartMs } from './budgets.ts';

export type KeySpending = {
  name: string;
  expiresAt: Date | null;
  /** USD as exact decimals; days and months in UTC. */
  totalUsd: string;
  dailyUsd: string;
  monthlyUsd: string;
};

/** null: there is no such key. */
export async function findKeySpending(
  db: Store,
  { accountId, keyId }: { accountId: string; keyId: string },
  nowMs: number,
): Promise<KeySpending | null> {
  const [day, month] = [periodStartMs('daily', nowMs), periodStartMs('monthly', nowMs)].map((ms) => new Date(ms ?? 0));
  const { rows } = await sql<KeySpending>`
    with summed as (select closed_until as until from usage_upkeep),
    costs as (
      select hour as at, cost_usd from usage_rollups_hour, summed
      where account_id = ${accountId} and key_id = ${keyId} and hour < summed.until
      union all
      select started_at, cost_usd from usage_events, summed
      where account_id = ${accountId} and key_id = ${keyId} and started_at >= summed.until
    ),
    spent as (
      select
        coalesce(sum(cost_usd), 0)::text as total,
        coalesce(sum(cost_usd) filter (where at >= ${day}::timestamptz), 0)::text as daily,
        coalesce(sum(cost_usd) filter (where at >= ${month}::timestamptz), 0)::text as monthly
      from costs
    )
    select
      api_keys.name, api_keys.expires_at as "expiresAt",
      spent.total as "totalUsd", spent.daily as "dailyUsd", spent.monthly as "monthlyUsd"
    from api_keys, spent
    where api_keys.id = ${keyId}
  `.execute(db);
  return rows[0] ?? null;
}
