/** Who changed what, when. Written in the transaction of the change, so there is no change without its line. */
import { sql } from 'kysely';
import type { Store } from './schema.ts';

export type AuditEntry = {
  id: string;
  atMs: number;
  /** `cli`, `user`, `key`, `system`. */
  actorKind: string;
  actorId: string | null;
  accountId: string | null;
  /** `<target>.<verb>`, such as `key.revoke`. */
  action: string;
  targetKind: string;
  targetId: string;
  /** Never a secret. */
  detail?: Readonly<Record<string, unknown>>;
  requestId?: string;
};

export async function insertAuditEntry(db: Store, entry: AuditEntry): Promise<void> {
  await db
    .insertInto('audit_log')
    .values({
      id: entry.id,
      at: new Date(entry.atMs),
      actor_kind: entry.actorKind,
      actor_id: entry.actorId,
      account_id: entry.accountId,
      action: entry.action,
      target_kind: entry.targetKind,
      target_id: entry.targetId,
      detail: JSON.stringify(entry.detail ?? {}),
      request_id: entry.requestId ?? null,
    })
    .execute();
}

/** Deletes at most `batchRows` and gives how many it were. */
export async function deleteAuditEntries(
  db: Store,
  { beforeMs, batchRows }: { beforeMs: number; batchRows: number },
): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from audit_log where ctid = any(array(
      select ctid from audit_log where at < ${new Date(beforeMs)} limit ${batchRows}
    ))
  `.execute(db);
  return Number(numAffectedRows ?? 0n);
}
