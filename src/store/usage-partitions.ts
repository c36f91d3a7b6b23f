/** Day partitions of the ledger, made ahead of time. A missing one loses nothing: the default partition takes its rows. */
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
