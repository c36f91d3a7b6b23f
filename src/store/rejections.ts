/**
 * Refusals per minute. A request that was refused has no row of its own; this table is how an operator and a customer see
 * it. Each replica adds to rows that carry its own name, so that replicas never wait for each other's row.
 */
import { sql } from 'kysely';
import type { Store } from './schema.ts';

export type RejectionCount = {
  minuteMs: number;
  /** null: the caller could not be named. */
  accountId: string | null;
  keyId: string | null;
  reason: string;
  status: number;
  count: number;
};

/** Stands for null in the table. */
export const nobody = '00000000-0000-0000-0000-000000000000';

/** Adds to what is there. Two counts of one series in one call are refused by the database. */
export async function addRejections(db: Store, replica: string, counts: readonly RejectionCount[]): Promise<void> {
  if (counts.length === 0) return;
  const rows = counts.map((entry) => ({
    minute: new Date(entry.minuteMs).toISOString(),
    account_id: entry.accountId ?? nobody,
    key_id: entry.keyId ?? nobody,
    reason: entry.reason,
    status: entry.status,
    count: entry.count,
  }));
  await sql`
    insert into rejections_minute (minute, account_id, key_id, reason, status, replica, count)
    select minute, account_id, key_id, reason, status, ${replica}::text, count
    from json_to_recordset(${JSON.stringify(rows)}::json)
      as incoming (minute timestamptz, account_id uuid, key_id uuid, reason text, status int4, count int8)
    order by minute, account_id, key_id, reason, status
    on conflict (minute, account_id, key_id, reason, status, replica)
    do update set count = rejections_minute.count + excluded.count
  `.execute(db);
}

/** Deletes at most `batchRows` and gives how many it were. */
export async function deleteRejections(
  db: Store,
  { beforeMs, batchRows }: { beforeMs: number; batchRows: number },
): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from rejections_minute where ctid = any(array(
      select ctid from rejections_minute where minute < ${new Date(beforeMs)} limit ${batchRows}
    ))
  `.execute(db);
  return Number(numAffectedRows ?? 0n);
}
