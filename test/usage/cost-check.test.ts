import t, { type Test } from 'tap';
import type { Price, Usage } from '../../src/contract/flow.ts';
import { insertPriceVersions } from '../../src/store/price-versions.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { checkCosts } from '../../src/usage/cost-check.ts';
import { costPicoUsd } from '../../src/usage/price.ts';
import { createPgliteDatabase, createTestDatabase, type TestDatabase } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

const price: Price = {
  input: 3_000_000,
  cachedInput: 300_000,
  cacheWrite: 3_750_000,
  longCacheWrite: 6_000_000,
  output: 15_000_000,
  reasoning: 15_000_000,
  audioInput: 40_000_000,
  above: {
    promptTokens: 200_000,
    price: { input: 6_000_000, cachedInput: 600_000, cacheWrite: 7_500_000, output: 22_500_000, reasoning: 22_500_000 },
  },
};
const plain: Usage = {
  promptTokens: 1532,
  cachedTokens: 1111,
  cacheWriteTokens: 418,
  longCacheWriteTokens: 18,
  completionTokens: 20,
  reasoningTokens: 7,
};
const usages: Usage[] = [
  plain,
  { ...plain, audioPromptTokens: 2 },
  { ...plain, promptTokens: 300_000 },
  { ...plain, completionTokens: 0, reasoningTokens: 0, audioCompletionTokens: 0 },
];

async function fill(database: TestDatabase): Promise<void> {
  await insertPriceVersions(database.db, [{ version: 'v1', price }]);
  await insertPriceVersions(database.db, [{ version: 'v1', price: { ...price, input: 1 } }]);
  const records = usages.map((usage) =>
    usageRecord({ usage, costPicoUsd: costPicoUsd(usage, price), priceVersion: 'v1' }),
  );
  await insertUsageEvents(database.db, records);
  await insertUsageEvents(database.db, [usageRecord({ costPicoUsd: 0 }), usageRecord({ usageSource: 'estimated' })]);
}

for (const [kind, create] of [
  ['a Postgres server', createTestDatabase],
  ['the embedded Postgres', createPgliteDatabase],
] as const) {
  t.test(`the cost of a row is what its tokens and its price say, on ${kind}`, async (t: Test) => {
    const database = await create(t);
    await fill(database);
    t.same(await checkCosts(database.db, { fromMs: 0 }), { checked: 5, wrong: [] }, 'a price keeps its first meaning');
    t.same(await checkCosts(database.db, { fromMs: 0, batchRows: 2 }), { checked: 5, wrong: [] }, 'in pieces as well');
  });
}

t.test('a row whose cost, tokens or price is not as it was is named', async (t) => {
  const database = await createTestDatabase(t);
  await fill(database);
  const [cheap, changed, unknown] = [
    usageRecord({ usage: plain, costPicoUsd: 1, priceVersion: 'v1' }),
    usageRecord({
      usage: { ...plain, longCacheWriteTokens: 0 },
      costPicoUsd: costPicoUsd(plain, price),
      priceVersion: 'v1',
    }),
    usageRecord({ usage: plain, costPicoUsd: 1, priceVersion: 'v2' }),
  ];
  await insertUsageEvents(database.db, [cheap, changed, unknown]);
  const { checked, wrong } = await checkCosts(database.db, { fromMs: 0 });
  t.equal(checked, 8);
  const byId = new Map(wrong.map((fault) => [fault.requestId, fault]));
  t.equal(byId.size, 3);
  t.match(byId.get(cheap.requestId), { storedUsd: '0.000000000001' });
  t.ok(byId.has(changed.requestId));
  t.match(byId.get(unknown.requestId), { expectedUsd: 'unknown price' });
});
