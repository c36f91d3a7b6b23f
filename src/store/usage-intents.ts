/** Requests that are about to go upstream while nobody but this database knows of them. Spec: reliability 5. */
import { sql } from 'kysely';
import type { AuthStamp } from '../contract/admission.ts';
import type { UsageRecord } from '../contract/flow.ts';
import type { Store } from './schema.ts';

/** `record` is what the ledger shall say if no row of this request ever comes. */
export async function insertUsageIntent(
  db: Store,
  record: UsageRecord,
  { keyId, accountVersion, keyVersion }: AuthStamp,
): Promise<'written' | 'stale_auth'> {
  const { rows } = await sql`
    insert into usage_intents (request_id, started_at, record)
    select ${record.requestId}::uuid, ${new Date(record.startedAtMs)}::timestamptz, ${JSON.stringify(record)}
    from api_keys join accounts on accounts.id = api_keys.account_id
    where api_keys.id = ${keyId} and api_keys.key_version = ${keyVersion} and accounts.auth_version = ${accountVersion}
    returning request_id
  `.execute(db);
  return rows.length === 1 ? 'written' : 'stale_auth';
}

export async function deleteUsageIntent(db: Store, { requestId }: Pick<UsageRecord, 'requestId'>): Promise<void> {
  await db.deleteFrom('usage_intents').where('request_id', '=', requestId).execute();
}

export type OldIntents = {
  count: number;
  /** The records, as JSON, of those that have no row. */
  unsettled: readonly string[];
};

/** Takes the oldest out. In one transaction with the rows that are made of them, or they are lost. */
export async function takeUsageIntents(
  db: Store,
  { beforeMs, limit }: { beforeMs: number; limit: number },
): Promise<OldIntents> {
  const { rows } = await sql<{ record: string; is_settled: boolean }>`
    with old as (
      select request_id from usage_intents where started_at < ${new Date(beforeMs)}::timestamptz
      order by started_at limit ${limit} for update skip locked
    )
    delete from usage_intents using old where usage_intents.request_id = old.request_id
    returning usage_intents.record, exists (
      select from usage_events
      where usage_events.request_id = usage_intents.request_id and usage_events.started_at = usage_intents.started_at
    ) as is_settled
  `.execute(db);
  return { count: rows.length, unsettled: rows.flatMap(({ record, is_settled }) => (is_settled ? [] : [record])) };
}
