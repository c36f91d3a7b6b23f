/** Prices as they once were, each under the version that rows name. */
import type { Price } from '../contract/flow.ts';
import type { Store } from './schema.ts';

export async function insertPriceVersions(
  db: Store,
  prices: readonly { version: string; price: Price }[],
): Promise<void> {
  if (prices.length === 0) return;
  await db
    .insertInto('price_versions')
    .values(prices.map(({ version, price }) => ({ version, price: JSON.stringify(price) })))
    .onConflict((conflict) => conflict.column('version').doNothing())
    .execute();
}

export async function findPriceVersions(db: Store): Promise<ReadonlyMap<string, Price>> {
  const rows = await db.selectFrom('price_versions').select(['version', 'price']).execute();
  return new Map(rows.map(({ version, price }) => [version, price]));
}
