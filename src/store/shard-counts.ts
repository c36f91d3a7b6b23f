/** Into how many shards the limits in Redis are divided, fixed by the first gateway that starts. Spec: reliability 2.2. */
import type { Kysely } from 'kysely';
import type { Store, StoreSchema } from './schema.ts';

/** null before the first start. */
export async function readShardCount(db: Store, keyPrefix: string): Promise<number | null> {
  const row = await db
    .selectFrom('shard_counts')
    .select('shards')
    .where('key_prefix', '=', keyPrefix)
    .executeTakeFirst();
  return row?.shards ?? null;
}

/**
 * Stores the count at the first start. Where another is stored, `change` decides while every other start waits: it
 * resolves when nothing is left of the old layout, and throws to keep it.
 */
export async function claimShardCount(
  db: Kysely<StoreSchema>,
  { keyPrefix, shards, change }: { keyPrefix: string; shards: number; change: (stored: number) => Promise<void> },
): Promise<void> {
  const values = { key_prefix: keyPrefix, shards };
  await db
    .insertInto('shard_counts')
    .values(values)
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  if ((await readShardCount(db, keyPrefix)) === shards) return;
  await db.transaction().execute(async (trx) => {
    const row = await trx
      .selectFrom('shard_counts')
      .select('shards')
      .where('key_prefix', '=', keyPrefix)
      .forUpdate()
      .executeTakeFirstOrThrow();
    if (row.shards === shards) return;
    await change(row.shards);
    await trx.updateTable('shard_counts').set({ shards }).where('key_prefix', '=', keyPrefix).execute();
  });
}
