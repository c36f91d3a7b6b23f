import t from 'tap';
import { ChunkSum } from '../../src/gateway/chunk-sum.ts';
import type { JsonObject } from '../../src/contract/json.ts';

const head = { id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm' };
const chunk = (delta: JsonObject, more: JsonObject = {}): JsonObject => ({
  ...head,
  choices: [{ index: 0, delta, finish_reason: null, ...more }],
});

function sum(...chunks: JsonObject[]): JsonObject {
  const all = new ChunkSum();
  for (const one of chunks) all.add(one);
  return all.completion();
}

t.test('text, reasoning, signed blocks, finish and usage come together', (t) => {
  const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };
  const block = { type: 'thinking', thinking: 'hm', signature: 's' };
  t.same(
    sum(
      chunk({ role: 'assistant', content: '' }),
      chunk({ reasoning_content: 'h' }),
      chunk({ reasoning_content: 'm', thinking_blocks: [block] }),
      chunk({ content: 'Hel' }),
      chunk({ content: 'lo', annotations: [{ type: 'url_citation' }] }),
      chunk({}, { finish_reason: 'stop' }),
      { ...head, choices: [], usage, service_tier: 'default' },
    ),
    {
      id: 'c',
      object: 'chat.completion',
      created: 1,
      model: 'm',
      service_tier: 'default',
      choices: [
        {
          index: 0,
          message: {
            role: 'assistant',
            content: 'Hello',
            refusal: null,
            reasoning_content: 'hm',
            thinking_blocks: [block],
            annotations: [{ type: 'url_citation' }],
          },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
      usage,
    },
  );
  t.end();
});

t.test('parallel calls whose pieces alternate are kept apart, and no text is null', (t) => {
  const call = (index: number, part: JsonObject, more: JsonObject = {}): JsonObject =>
    chunk({ tool_calls: [{ index, ...more, function: part }] });
  const whole = sum(
    chunk({ role: 'assistant', content: null }),
    call(0, { name: 'a', arguments: '' }, { id: 'call_a', type: 'function', extra_content: { signature: 's' } }),
    call(1, { name: 'b', arguments: '{"y"' }, { id: 'call_b', type: 'function' }),
    call(0, { arguments: '{}' }),
    call(1, { arguments: ':1}' }),
    chunk({}, { finish_reason: 'tool_calls' }),
  );
  t.match(whole, {
    choices: [
      {
        finish_reason: 'tool_calls',
        message: {
          content: null,
          tool_calls: [
            {
              id: 'call_a',
              type: 'function',
              function: { name: 'a', arguments: '{}' },
              extra_content: { signature: 's' },
            },
            { id: 'call_b', type: 'function', function: { name: 'b', arguments: '{"y":1}' } },
          ],
        },
      },
    ],
  });
  t.notOk(JSON.stringify(whole).includes('"index":1'), 'a call has no position in a whole reply');
  t.end();
});

t.test('several choices, their log probabilities and an empty answer', (t) => {
  const choice = (index: number, more: JsonObject): JsonObject => ({
    ...head,
    choices: [{ index, delta: {}, ...more }],
  });
  t.match(
    sum(
      choice(1, { delta: { role: 'assistant', content: 'b' }, logprobs: { content: [{ token: 'b' }], refusal: null } }),
      choice(0, { delta: { role: 'assistant', content: '' } }),
      choice(1, { delta: { content: 'c' }, logprobs: { content: [{ token: 'c' }], refusal: null } }),
      choice(0, { delta: {}, finish_reason: 'stop' }),
      choice(1, { delta: {}, finish_reason: 'length' }),
    ).choices,
    [
      { index: 0, message: { content: '' }, finish_reason: 'stop' },
      {
        index: 1,
        message: { content: 'bc' },
        logprobs: { content: [{ token: 'b' }, { token: 'c' }] },
        finish_reason: 'length',
      },
    ],
  );
  t.end();
});

t.test('a call in the legacy form keeps its name, its arguments grow, and no text is null', (t) => {
  const whole = sum(
    chunk({ role: 'assistant', content: '' }),
    chunk({ function_call: { name: 'f', arguments: '' } }),
    chunk({ function_call: { arguments: '{"x"' } }),
    chunk({ function_call: { arguments: ':1}' } }),
    chunk({}, { finish_reason: 'function_call' }),
  );
  t.match(whole, {
    choices: [
      {
        message: { content: null, function_call: { name: 'f', arguments: '{"x":1}' } },
        finish_reason: 'function_call',
      },
    ],
  });
  t.end();
});
