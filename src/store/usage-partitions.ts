/** Day partitions of the ledger, made ahead of time and dropped whole. A missing one loses nothing: the default partition takes its rows. */
import { type Kysely, sql } from 'kysely';
import type { StoreSchema } from './schema.ts';

export type PartitionOptions = {
  fromMs: number;
  /** How many days, the one of `fromMs` included. */
  days: number;
  log: { warn(details: object, message: string): void };
};

export type PartitionOutcome = { created: readonly string[]; skipped: readonly string[] };

const dayMs = 86_400_000;
const lockKey = '7813570216405512310';
const checkViolation = '23514';

/** Safe to run from every replica at any time. A day whose rows went to the default partition already stays there. */
export async function ensureUsagePartitions(
  db: Kysely<StoreSchema>,
  { fromMs, days, log }: PartitionOptions,
): Promise<PartitionOutcome> {
  const created: string[] = [];
  const skipped: string[] = [];
  const existing = await listUsagePartitions(db);
  for (const day of daysFrom(fromMs, days)) {
    if (existing.includes(day.partition)) continue;
    try {
      if (await createPartition(db, day)) created.push(day.partition);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === checkViolation)) throw error;
      skipped.push(day.partition);
      log.warn({ partition: day.partition }, 'the rows of this day stay in the default partition');
    }
  }
  return { created, skipped };
}

export async function listUsagePartitions(db: Kysely<StoreSchema>): Promise<readonly string[]> {
  const { rows } = await sql<{ name: string }>`
    select child.relname::text as name
    from pg_inherits join pg_class as child on child.oid = inhrelid
    where inhparent = 'usage_events'::regclass
    order by 1
  `.execute(db);
  return rows.map(({ name }) => name);
}

type Day = { partition: string; from: string; to: string };

function daysFrom(fromMs: number, days: number): readonly Day[] {
  const firstMs = Math.floor(fromMs / dayMs) * dayMs;
  return Array.from({ length: days }, (_, index) => {
    const from = new Date(firstMs + index * dayMs).toISOString();
    const to = new Date(firstMs + (index + 1) * dayMs).toISOString();
    return { partition: `usage_events_${from.slice(0, 10).replaceAll('-', '')}`, from, to };
  });
}

/**
 * Made beside the table and then attached: that locks nothing that a running insert needs, where `create … partition of`
 * would wait for all of them and hold up all that follow.
 */
async function createPartition(db: Kysely<StoreSchema>, { partition, from, to }: Day): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    await sql`select pg_advisory_xact_lock(${lockKey}::bigint)`.execute(trx);
    if ((await listUsagePartitions(trx)).includes(partition)) return false;
    const table = sql.table(partition);
    await sql`create table ${table} (like usage_events including all)`.execute(trx);
    await sql`
      alter table usage_events attach partition ${table} for values from (${sql.lit(from)}) to (${sql.lit(to)})
    `.execute(trx);
    return true;
  });
}

export type DropOptions = { beforeMs: number; log: { warn(details: object, message: string): void } };

export type DropOutcome = { dropped: readonly string[]; postponed: readonly string[] };

const lockNotAvailable = '55P03';
const dayPartition = /^usage_events_(\d{4})(\d{2})(\d{2})$/;

/** Drops the days that ended before. The default partition is none of them. */
export async function dropUsagePartitions(
  db: Kysely<StoreSchema>,
  { beforeMs, log }: DropOptions,
): Promise<DropOutcome> {
  const dropped: string[] = [];
  const postponed: string[] = [];
  for (const partition of await listUsagePartitions(db)) {
    if (!endsBefore(partition, beforeMs)) continue;
    try {
      await dropPartition(db, partition);
      dropped.push(partition);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === lockNotAvailable)) throw error;
      postponed.push(partition);
      log.warn({ partition }, 'the table of usage rows is busy; this day is dropped at the next run');
    }
  }
  return { dropped, postponed };
}

function endsBefore(partition: string, beforeMs: number): boolean {
  const [, year, month, day] = dayPartition.exec(partition) ?? [];
  return day !== undefined && Date.UTC(Number(year), Number(month) - 1, Number(day)) + dayMs <= beforeMs;
}

/** The drop needs the whole table for a moment, and everybody queues behind one who waits for that: so it waits briefly. */
async function dropPartition(db: Kysely<StoreSchema>, partition: string): Promise<void> {
  await db.transaction().execute(async (trx) => {
    await sql`set local lock_timeout = '500ms'`.execute(trx);
    await sql`drop table if exists ${sql.table(partition)}`.execute(trx);
  });
}

/** Rows that no day was made for. Deletes at most `batchRows` and gives how many it were. */
export async function deleteStrayUsageEvents(
  db: Kysely<StoreSchema>,
  { beforeMs, batchRows }: { beforeMs: number; batchRows: number },
): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from usage_events_default where ctid = any(array(
      select ctid from usage_events_default where started_at < ${new Date(beforeMs)} limit ${batchRows}
    ))
  `.execute(db);
  return Number(numAffectedRows ?? 0n);
}
