/** A copy of the configured tiers, for whoever reads the database without the config file. The file stays the truth. */
import type { Tier } from '../contract/flow.ts';
import type { Store } from './schema.ts';

export async function upsertTiers(db: Store, tiers: readonly Tier[], nowMs: number): Promise<void> {
  if (tiers.length === 0) return;
  await db
    .insertInto('tiers')
    .values(tiers.map((tier) => ({ id: tier.id, data: JSON.stringify(tier), updated_at: new Date(nowMs) })))
    .onConflict((conflict) =>
      conflict.column('id').doUpdateSet((expression) => ({
        data: expression.ref('excluded.data'),
        updated_at: expression.ref('excluded.updated_at'),
      })),
    )
    .execute();
}

export async function listTiers(db: Store): Promise<readonly Tier[]> {
  const rows = await db.selectFrom('tiers').select('data').orderBy('id').execute();
  return rows.map(({ data }) => data);
}
