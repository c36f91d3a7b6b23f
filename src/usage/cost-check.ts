/**
 * The cost of stored rows, worked out again from their tokens and the price that they name. A figure that differs is a
 * fault of ours, and what it says is exact. Spec: fidelity 11.
 */
import { formatUsd } from '../store/decimal-usd.ts';
import { findPriceVersions } from '../store/price-versions.ts';
import type { Store } from '../store/schema.ts';
import { listCountedRows } from '../store/usage-events.ts';
import { costPicoUsd } from './price.ts';

export type WrongCost = { requestId: string; storedUsd: string; expectedUsd: string };
export type CostCheck = { checked: number; wrong: readonly WrongCost[] };

const defaultBatchRows = 2_000;
const firstId = '00000000-0000-0000-0000-000000000000';
const shownFaults = 100;

export async function checkCosts(
  db: Store,
  { fromMs, batchRows = defaultBatchRows }: { fromMs: number; batchRows?: number },
): Promise<CostCheck> {
  const prices = await findPriceVersions(db);
  const wrong: WrongCost[] = [];
  let checked = 0;
  for (let afterId = firstId; ;) {
    const rows = await listCountedRows(db, { afterId, fromMs, limit: batchRows });
    for (const { requestId, usage, priceVersion, costUsd } of rows) {
      const price = priceVersion === null ? null : prices.get(priceVersion);
      const expectedUsd = price === undefined ? 'unknown price' : formatUsd(costPicoUsd(usage, price));
      if (expectedUsd !== costUsd && wrong.length < shownFaults)
        wrong.push({ requestId, storedUsd: costUsd, expectedUsd });
    }
    checked += rows.length;
    const last = rows.at(-1);
    if (last === undefined || rows.length < batchRows) return { checked, wrong };
    afterId = last.requestId;
  }
}
