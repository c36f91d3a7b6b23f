/**
 * Changes of keys and accounts that the admission engine has still to hear of. A row is written in the transaction of its
 * change, so there is no change that nobody will ever tell; versions only rise, so telling twice does no harm.
 */
import type { Kysely } from 'kysely';
import type { Store, StoreSchema } from './schema.ts';

export type AuthChange = {
  /** Of the row. */
  id: string;
  accountId: string;
  /** null: the account itself did not change. */
  accountVersion: number | null;
  key: { id: string; publicId: string; version: number } | null;
};

export async function insertAuthChange(trx: Store, change: AuthChange, atMs: number): Promise<void> {
  await trx
    .insertInto('auth_outbox')
    .values({
      id: change.id,
      at: new Date(atMs),
      account_id: change.accountId,
      account_version: change.accountVersion,
      key_id: change.key?.id ?? null,
      key_version: change.key?.version ?? null,
      public_id: change.key?.publicId ?? null,
    })
    .execute();
}

export async function deleteAuthChange(db: Store, id: string): Promise<void> {
  await db.deleteFrom('auth_outbox').where('id', '=', id).execute();
}

/**
 * Tells the oldest changes and deletes those that were heard; the first that was not ends the round. Rows that another
 * replica is telling are passed over.
 */
export async function tellAuthChanges(
  db: Kysely<StoreSchema>,
  { limit, tell }: { limit: number; tell: (change: AuthChange) => Promise<boolean> },
): Promise<{ told: number; isStuck: boolean }> {
  return db.transaction().execute(async (trx) => {
    const rows = await trx
      .selectFrom('auth_outbox')
      .selectAll()
      .orderBy('at')
      .orderBy('id')
      .limit(limit)
      .forUpdate()
      .skipLocked()
      .execute();
    const told: string[] = [];
    for (const row of rows) {
      const { id, account_id: accountId, account_version: accountVersion } = row;
      const { key_id: keyId, key_version: version, public_id: publicId } = row;
      const key = keyId === null || version === null || publicId === null ? null : { id: keyId, publicId, version };
      if (!(await tell({ id, accountId, accountVersion, key }))) break;
      told.push(id);
    }
    if (told.length > 0) await trx.deleteFrom('auth_outbox').where('id', 'in', told).execute();
    return { told: told.length, isStuck: told.length < rows.length };
  });
}
