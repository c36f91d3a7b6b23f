import { assert, integer, property, record } from 'fast-check';
import t from 'tap';
import type { Price, Usage } from '../../src/contract/flow.ts';
import { costPicoUsd, shortUsd } from '../../src/usage/price.ts';

const picoPerCent = 10_000_000_000;
/** In pico-USD per token: 2.50, 1.25, 3.125, 10 and 12 USD per million. */
const price: Price = {
  input: 2_500_000,
  cachedInput: 1_250_000,
  cacheWrite: 3_125_000,
  output: 10_000_000,
  reasoning: 12_000_000,
};
const usage = (changes: Partial<Usage>): Usage => ({
  promptTokens: 0,
  cachedTokens: 0,
  cacheWriteTokens: 0,
  completionTokens: 0,
  reasoningTokens: 0,
  ...changes,
});

t.test('prices each kind of token once', (t) => {
  const cases: [Partial<Usage>, number][] = [
    [{}, 0],
    [{ promptTokens: 1000 }, 2_500_000_000],
    [{ promptTokens: 1000, cachedTokens: 400 }, 600 * 2_500_000 + 400 * 1_250_000],
    [{ promptTokens: 1000, cachedTokens: 400, cacheWriteTokens: 100 }, 500 * 2_500_000 + 500_000_000 + 312_500_000],
    [{ completionTokens: 100 }, 1_000_000_000],
    [{ completionTokens: 100, reasoningTokens: 30 }, 70 * 10_000_000 + 30 * 12_000_000],
    [{ promptTokens: 1, completionTokens: 1 }, 12_500_000],
  ];
  for (const [tokens, cost] of cases) t.equal(costPicoUsd(usage(tokens), price), cost, JSON.stringify(tokens));
  t.equal(costPicoUsd(usage({ promptTokens: 4000 }), price), picoPerCent, 'a cent is a cent');
  t.end();
});

t.test('audio, an hour in the cache and a long prompt have rates of their own', (t) => {
  const rare: Price = { ...price, longCacheWrite: 5_000_000, audioInput: 20_000_000, audioOutput: 40_000_000 };
  const cases: [Partial<Usage>, number][] = [
    [
      { promptTokens: 100, cacheWriteTokens: 60, longCacheWriteTokens: 20 },
      40 * 2_500_000 + 40 * 3_125_000 + 20 * 5_000_000,
    ],
    [{ promptTokens: 100, audioPromptTokens: 30 }, 70 * 2_500_000 + 30 * 20_000_000],
    [{ promptTokens: 100, cachedTokens: 90, audioPromptTokens: 30 }, 90 * 1_250_000 + 10 * 20_000_000],
    [
      { completionTokens: 50, audioCompletionTokens: 40, reasoningTokens: 5 },
      5 * 10_000_000 + 40 * 40_000_000 + 5 * 12_000_000,
    ],
  ];
  for (const [tokens, cost] of cases) t.equal(costPicoUsd(usage(tokens), rare), cost, JSON.stringify(tokens));
  t.equal(
    costPicoUsd(usage({ promptTokens: 10, audioPromptTokens: 10 }), price),
    25_000_000,
    'without a rate: as text',
  );
  const above = { promptTokens: 1000, price: { ...price, input: 5_000_000, output: 1 } };
  t.equal(costPicoUsd(usage({ promptTokens: 1000, completionTokens: 1 }), { ...price, above }), 2_510_000_000);
  t.equal(costPicoUsd(usage({ promptTokens: 1001, completionTokens: 1 }), { ...price, above }), 5_005_000_001);
  t.end();
});

t.test('a model without a price costs nothing', (t) => {
  t.equal(costPicoUsd(usage({ promptTokens: 1000, completionTokens: 1000 }), null), 0);
  t.end();
});

t.test('a provider that reports more cached, written or reasoning tokens than there are is not believed', (t) => {
  t.equal(costPicoUsd(usage({ promptTokens: 10, cachedTokens: 50 }), price), 10 * 1_250_000);
  t.equal(costPicoUsd(usage({ promptTokens: 10, cachedTokens: 8, cacheWriteTokens: 8 }), price), 16_250_000);
  t.equal(costPicoUsd(usage({ completionTokens: 10, reasoningTokens: 50 }), price), 10 * 12_000_000);
  t.end();
});

t.test('costs are whole, never negative, and between the cheapest and the dearest reading', (t) => {
  const tokens = integer({ min: 0, max: 10_000_000 });
  const counted = record({
    promptTokens: tokens,
    cachedTokens: tokens,
    cacheWriteTokens: tokens,
    completionTokens: tokens,
    reasoningTokens: tokens,
  });
  t.doesNotThrow(() =>
    assert(
      property(counted, (figures) => {
        const cost = costPicoUsd(figures, price);
        const least = figures.promptTokens * price.cachedInput + figures.completionTokens * price.output;
        const most = figures.promptTokens * price.cacheWrite + figures.completionTokens * price.reasoning;
        return Number.isSafeInteger(cost) && cost >= least && cost <= most;
      }),
    ),
  );
  t.end();
});

t.test('shows money without needless zeros', (t) => {
  const cases: [number, string][] = [
    [0, '0'],
    [19_500_000, '0.0000195'],
    [1, '0.000000000001'],
    [1_000_000_000_000, '1'],
    [10_000_000_000_000, '10'],
    [100_500_000_000_000, '100.5'],
  ];
  for (const [picoUsd, text] of cases) t.equal(shortUsd(picoUsd), text);
  t.end();
});
