import t from 'tap';
import { loadConfig } from '../../src/config/load.ts';
import { createSandbox } from './sandbox.ts';

/** The files that the repository ships, with the providers that its catalogue speaks of. */
const shipped = () =>
  loadConfig({
    environment: {},
    workingDirectory: import.meta.dirname,
    providerIds: ['openai', 'anthropic', 'google', 'mistral', 'deepseek', 'xai', 'groq', 'together', 'demo'],
    keylessProviderIds: ['demo'],
    dialects: [],
  });

t.test('ships a catalogue that is whole and warns of nothing', (t) => {
  const { catalogue, warnings } = shipped();
  t.same(warnings, []);
  t.ok(catalogue.length >= 40);
  t.equal(new Set(catalogue.map(({ id }) => id)).size, catalogue.length);
  for (const model of catalogue) {
    const { id, price } = model;
    t.equal(id, `${model.providerId}/${model.upstreamModel}`);
    t.ok(model.maxOutputTokens <= model.contextTokens && model.contextTokens > 0, id);
    t.ok(model.supportedParameters.length > 0 && model.inputModalities.length > 0, id);
    t.ok(model.created > Date.UTC(2023, 0) / 1000, id);
    const rates = [price, price?.above?.price].flatMap((one) => Object.values(one ?? {}));
    const numbers = rates.filter((rate) => typeof rate === 'number');
    t.ok(numbers.length >= 5 && numbers.every((rate) => Number.isSafeInteger(rate) && rate >= 0), id);
    t.ok(price !== null && price.cachedInput <= price.input && price.reasoning === price.output, id);
  }
  t.end();
});

t.test('ships prices in whole pico-USD per token', (t) => {
  const priceOf = (id: string) => shipped().catalogue.find((model) => model.id === id)?.price;
  t.same(priceOf('openai/gpt-4o-mini'), {
    input: 150_000,
    cachedInput: 75_000,
    cacheWrite: 150_000,
    output: 600_000,
    reasoning: 600_000,
  });
  t.same(priceOf('anthropic/claude-sonnet-4-5'), {
    input: 3_000_000,
    cachedInput: 300_000,
    cacheWrite: 3_750_000,
    longCacheWrite: 6_000_000,
    output: 15_000_000,
    reasoning: 15_000_000,
  });
  t.same(priceOf('demo/echo'), { input: 0, cachedInput: 0, cacheWrite: 0, output: 0, reasoning: 0 });
  t.end();
});

t.test('ships tiers and names that a first start can use', (t) => {
  const { tiers, aliases } = shipped();
  t.match(tiers['free'], { priceUsd: '0', historyDays: 7, models: ['small', 'demo/*'] });
  t.same(tiers['pro']?.limits, { requestsPerMinute: 100, tokensPerMinute: 200_000, concurrency: 10 });
  t.same(tiers['plus']?.limits, { requestsPerMinute: 500, tokensPerMinute: 1_000_000, concurrency: 25 });
  t.match(tiers['enterprise'], { priceUsd: 'custom', historyDays: null, models: '*' });
  t.ok((aliases['small'] ?? []).length > 1, 'the small model has a fallback');
  t.end();
});

t.test('reads an entry with defaults, a named set and prices that are no floats', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write(
    'config/models.yaml',
    [
      'as_of: { acme: 2025-09-30 }',
      'parameters: { chat: [stop, tools] }',
      'models:',
      '  acme/deep/model-1: { name: Deep, context: 1m, max_output: 8k, input: [text], output: [text], parameters: chat, created: 2025-01-02 }',
      '  acme/b: { name: "B", context: 8192, max_output: 0, input: [text], output: [embedding], parameters: [dimensions], price: { in: 0.1, cache_write: "0.30", out: 0.000001, reasoning: 3 }, created: 2025-01-02 }',
      '',
    ].join('\n'),
  );
  const [deep, second] = sandbox.load().catalogue;
  t.same(deep, {
    id: 'acme/deep/model-1',
    providerId: 'acme',
    upstreamModel: 'deep/model-1',
    name: 'Deep',
    contextTokens: 1_000_000,
    maxOutputTokens: 8000,
    inputModalities: ['text'],
    outputModalities: ['text'],
    supportedParameters: ['stop', 'tools'],
    price: null,
    created: 1_735_776_000,
  });
  t.same(second?.price, { input: 100_000, cachedInput: 100_000, cacheWrite: 300_000, output: 1, reasoning: 3_000_000 });
  t.end();
});

t.test('reads abilities of a set or of the entry itself, and rates for the rare kinds of token', (t) => {
  const sandbox = createSandbox(t);
  const entry = 'context: 1m, max_output: 8k, input: [text], output: [text], parameters: [stop], created: 2025-01-02';
  sandbox.write(
    'config/models.yaml',
    [
      'as_of: { acme: 2025-09-30 }',
      'abilities:',
      '  newest: { thinking: adaptive, can_stop_thinking: "true", efforts: [low, high], sampling: none }',
      'models:',
      `  acme/a: { name: A, ${entry}, abilities: newest, price: { in: 1, out: 2, long_cache_write: 4, audio_in: 5, audio_out: 6, above: { prompt: 200k, in: 2, out: 3 } } }`,
      `  acme/b: { name: B, ${entry}, abilities: { json_schema: false, reasoning_history: blocks } }`,
      '',
    ].join('\n'),
  );
  const [first, second] = sandbox.load().catalogue;
  t.same(first?.abilities, { thinking: 'adaptive', canStopThinking: true, efforts: ['low', 'high'], sampling: 'none' });
  t.same(second?.abilities, { jsonSchema: false, reasoningHistory: 'blocks' });
  t.match(first?.price, {
    longCacheWrite: 4_000_000,
    audioInput: 5_000_000,
    audioOutput: 6_000_000,
    above: { promptTokens: 200_000, price: { input: 2_000_000, cachedInput: 2_000_000, output: 3_000_000 } },
  });
  t.end();
});

t.test('says which set of abilities was meant', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write(
    'config/models.yaml',
    [
      'as_of: { acme: 2025-09-30 }',
      'abilities: { newest: { thinking: none } }',
      'models:',
      '  acme/a: { name: A, context: 1m, max_output: 8k, input: [text], output: [text], parameters: [stop], created: 2025-01-02, abilities: newst }',
      '',
    ].join('\n'),
  );
  t.throws(() => sandbox.load(), /models\.yaml:4:\d+.*no such set of abilities.*newest/s);
  t.end();
});

t.test('a price of our own takes the place of the list price, and has a name of its own', (t) => {
  const sandbox = createSandbox(t);
  const before = sandbox.load().catalogue[0];
  sandbox.write('config/gateway.yaml', 'prices: { acme/one: { in: 1, out: 2 } }\n');
  const after = sandbox.load().catalogue[0];
  t.match(after?.price, { input: 1_000_000, cachedInput: 1_000_000, output: 2_000_000 });
  t.match(after?.priceVersion, /^[0-9a-f]{12}$/);
  t.not(after?.priceVersion, before?.priceVersion);
  t.equal(sandbox.load().catalogue[0]?.priceVersion, after?.priceVersion, 'the same price, the same name');
  sandbox.write('config/gateway.yaml', 'prices: { acme/onne: { in: 1, out: 2 } }\n');
  t.match(sandbox.problems(), [/acme\/onne.*: not in the catalogue.*acme\/one/]);
  t.end();
});
