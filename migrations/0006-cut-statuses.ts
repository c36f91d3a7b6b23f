/**
 * Two more ways in which the gateway ends a request: it passed what was reserved for it, or its lease could not be
 * renewed. Forward only. Spec: reliability 2.4.
 */
import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('usage_events').dropConstraint('usage_events_status_known').execute();
  // Not valid: what is there satisfied a narrower check, and a scan of every partition would keep the table locked.
  await sql`
    alter table usage_events add constraint usage_events_status_known check (status in (
      'ok', 'client_abort', 'upstream_error', 'unknown', 'orphaned', 'not_dispatched', 'client_stall',
      'total_timeout', 'drained', 'revoked', 'capped', 'lease_lost'
    )) not valid`.execute(db);
}
