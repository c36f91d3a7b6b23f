/**
 * Hourly sums of the usage rows, derived and never incremented: an hour is thrown away and summed again in one
 * transaction, so duplicates, late rows and improved rows cannot spoil it. Takes hours in UTC, gives what became of them.
 * It must never rebuild an hour whose rows retention has dropped. Spec: reliability 2.2.
 */
import { type Kysely, sql } from 'kysely';
import type { Store, StoreSchema } from './schema.ts';

export type StaleHours = {
  /** Starts of the hours, oldest first. */
  hours: readonly number[];
  /** What `markRolledUp` stores once all of them are rebuilt. */
  mark: RollUpMark;
};

/** `seenUntil` is the database's own clock, as `inserted_at` is. */
export type RollUpMark = { seenUntil: Date; closedUntil: Date };

/** `busy`: another process rebuilds at this moment. `expired`: the rows are gone, and their sums stay as they are. */
export type RebuildOutcome = 'rebuilt' | 'busy' | 'expired';

const hourMs = 3_600_000;
const lockKey = '7813570216405512311';

/**
 * Hours that are over and may differ from their rows: those that ended since the last run, and those in which rows came or
 * improved since then. A transaction that began before the last run may have ended after it, hence the look back.
 */
export async function findStaleHours(
  db: Store,
  { nowMs, lookBackHours }: { nowMs: number; lookBackHours: number },
): Promise<StaleHours> {
  const upkeep = await db
    .selectFrom('usage_upkeep')
    .select(['closed_until', 'rows_kept_from', sql<Date>`now()`.as('database_now')])
    .select(sql<Date>`least(seen_until, now()) - make_interval(hours => ${lookBackHours}::int)`.as('new_since'))
    .executeTakeFirstOrThrow();
  const closedUntil = new Date(Math.floor(nowMs / hourMs) * hourMs);
  const { rows } = await sql<{ hour: Date }>`
    select distinct date_trunc('hour', started_at, 'UTC') as hour
    from usage_events
    where started_at >= ${upkeep.rows_kept_from} and started_at < ${closedUntil}
      and (inserted_at >= ${upkeep.new_since} or started_at >= ${upkeep.closed_until})
    order by 1
  `.execute(db);
  return {
    hours: rows.map(({ hour }) => hour.getTime()),
    mark: { seenUntil: upkeep.database_now, closedUntil },
  };
}

/** Not the greater of two marks: a mark that goes back costs a second look, one that is too high loses rows. */
export async function markRolledUp(db: Store, { seenUntil, closedUntil }: RollUpMark): Promise<void> {
  await db.updateTable('usage_upkeep').set({ seen_until: seenUntil, closed_until: closedUntil }).execute();
}

export async function rebuildUsageHour(db: Kysely<StoreSchema>, startMs: number): Promise<RebuildOutcome> {
  if (startMs % hourMs !== 0) throw new RangeError(`${startMs} is not the start of an hour`);
  const hour = new Date(startMs);
  return db.transaction().execute(async (trx) => {
    const { rows } = await sql<{ is_free: boolean }>`
      select pg_try_advisory_xact_lock(${lockKey}::bigint) as is_free
    `.execute(trx);
    if (rows[0]?.is_free !== true) return 'busy';
    const upkeep = await trx.selectFrom('usage_upkeep').select('rows_kept_from').executeTakeFirstOrThrow();
    if (hour < upkeep.rows_kept_from) return 'expired';
    await trx.deleteFrom('usage_rollups_hour').where('hour', '=', hour).execute();
    await sumHour(trx, hour);
    return 'rebuilt';
  });
}

async function sumHour(db: Store, hour: Date): Promise<void> {
  await sql`
    insert into usage_rollups_hour (
      hour, account_id, key_id, model, provider, status, requests,
      prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens, cost_usd
    )
    select
      ${hour}::timestamptz, account_id, key_id, model, coalesce(provider, ''), status, count(*),
      sum(prompt_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(completion_tokens), sum(reasoning_tokens),
      sum(cost_usd)
    from usage_events
    where started_at >= ${hour} and started_at < ${new Date(hour.getTime() + hourMs)}
    group by account_id, key_id, model, coalesce(provider, ''), status
  `.execute(db);
}

/** From here on hours before this moment are never rebuilt. Waits for a rebuild that is running; never moves back. */
export async function markRowsKeptFrom(db: Kysely<StoreSchema>, fromMs: number): Promise<void> {
  await db.transaction().execute(async (trx) => {
    await sql`select pg_advisory_xact_lock(${lockKey}::bigint)`.execute(trx);
    await trx
      .updateTable('usage_upkeep')
      .set({ rows_kept_from: sql`greatest(rows_kept_from, ${new Date(fromMs)}::timestamptz)` })
      .execute();
  });
}

/** For decisions that a process with a wrong clock must not make alone. */
export async function readDatabaseTimeMs(db: Store): Promise<number> {
  const { rows } = await sql<{ now: Date }>`select now() as now`.execute(db);
  const [row] = rows;
  if (row === undefined) throw new Error('the database did not tell its time');
  return row.now.getTime();
}
