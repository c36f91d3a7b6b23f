import { assert, constant, double, integer, nat, oneof, property } from 'fast-check';
import t from 'tap';
import { readUsage, writeUsage } from '../../providers/openai-usage.ts';
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';
import { at } from '../support/json-at.ts';

const plain = { prompt_tokens: 10, completion_tokens: 4, total_tokens: 14 };
const read = (usage: JsonValue): ReturnType<typeof readUsage> => readUsage({ usage });
const expected = { promptTokens: 10, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 4, reasoningTokens: 0 };

t.test('reads the usual figures', (t) => {
  t.same(read(plain), expected);
  t.same(read({ prompt_tokens: 10, completion_tokens: 4 }), expected, 'without a total');
  t.same(read({ ...plain, total_tokens: 3 }), expected, 'with a total below the sum');
  t.end();
});

t.test('c60 takes a total above the sum for reasoning that was left out', (t) => {
  const hidden = {
    prompt_tokens: 12,
    completion_tokens: 2,
    total_tokens: 334,
    completion_tokens_details: { reasoning_tokens: 320 },
  };
  t.match(read(hidden), { completionTokens: 322, reasoningTokens: 320 });
  t.match(read({ prompt_tokens: 35, completion_tokens: 12, total_tokens: 109 }), {
    completionTokens: 74,
    reasoningTokens: 62,
  });
  t.end();
});

t.test('c120 looks for figures where one vendor hides them', (t) => {
  t.same(readUsage({ x_groq: { usage: plain } }), expected);
  t.same(readUsage({ usage: null, x_groq: { usage: plain } }), expected);
  t.end();
});

t.test('finds cached tokens in every place', (t) => {
  for (const more of [
    { prompt_tokens_details: { cached_tokens: 7 } },
    { cached_tokens: 7 },
    { prompt_cache_hit_tokens: 7 },
    { num_cached_tokens: 7, prompt_tokens_details: null },
  ]) {
    t.match(read({ ...plain, ...more }), { cachedTokens: 7 }, JSON.stringify(more));
  }
  t.match(read({ ...plain, prompt_tokens_details: { cache_write_tokens: 9 } }), { cacheWriteTokens: 9 });
  t.match(read({ ...plain, reasoning_tokens: 3 }), { reasoningTokens: 3 });
  t.end();
});

t.test('never counts more reasoning than output', (t) => {
  t.match(read({ ...plain, completion_tokens_details: { reasoning_tokens: 11 } }), {
    completionTokens: 4,
    reasoningTokens: 4,
  });
  t.end();
});

t.test('gives nothing for figures that cannot be believed', (t) => {
  for (const wrong of [-1, 1.5, 1e12, '10', null, Number.NaN, undefined]) {
    t.equal(read({ ...plain, prompt_tokens: wrong }), null, `prompt ${String(wrong)}`);
    t.equal(read({ ...plain, completion_tokens: wrong }), null, `completion ${String(wrong)}`);
  }
  t.match(read({ ...plain, prompt_tokens_details: { cached_tokens: -5 } }), { cachedTokens: 0 });
  t.equal(readUsage({}), null);
  t.equal(readUsage({ usage: [] }), null);
  t.end();
});

t.test('holds its promises for any figures', (t) => {
  const figure = oneof(integer(), nat(1000), constant(null), double());
  assert(
    property(figure, figure, figure, figure, figure, (prompt, completion, total, cached, reasoning) => {
      const figures: JsonObject = {
        prompt_tokens: prompt,
        completion_tokens: completion,
        total_tokens: total,
        cached_tokens: cached,
        completion_tokens_details: { reasoning_tokens: reasoning },
      };
      const usage = read(figures);
      if (usage === null) return true;
      const shown = writeUsage({ usage: figures }, usage);
      const isWhole = Object.values(usage).every((value) => Number.isInteger(value) && value >= 0);
      return (
        isWhole &&
        shown.total_tokens === usage.promptTokens + usage.completionTokens &&
        usage.reasoningTokens <= usage.completionTokens
      );
    }),
  );
  t.end();
});

t.test('shows the figures in the usual places and keeps the rest', (t) => {
  const body = { usage: { ...plain, cost: 0.1, prompt_tokens_details: null, cached_tokens: 7 } };
  const usage = readUsage(body);
  if (usage === null) throw new Error('no usage');
  const shown = writeUsage(body, { ...usage, cacheWriteTokens: 2 });
  t.equal(shown.cost, 0.1);
  t.same(shown.prompt_tokens_details, { cached_tokens: 7, cache_write_tokens: 2 });
  t.equal(at(shown, 'completion_tokens_details', 'reasoning_tokens'), 0);
  t.end();
});
