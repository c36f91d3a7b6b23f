/** How much Claude thinks, and what becomes of its signed thoughts on the way out and back. Spec: fidelity 4.4, 4.5. */
import t from 'tap';
import { anthropic } from '../../providers/anthropic.ts';
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';
import type { ChatEndpoint, RequestRewrite } from '../../src/contract/provider.ts';
import { claude } from '../support/claude-models.ts';
import { at } from '../support/json-at.ts';
import { replyContext } from '../support/reply-context.ts';

const chat = anthropic.endpoints.chat as ChatEndpoint;
const hi: JsonObject = { role: 'user', content: 'hi' };
const text = (value: string): JsonObject => ({ type: 'text', text: value });

function write(body: JsonObject, model: string): RequestRewrite {
  const target = model === '' ? { upstreamModel: 'claude-next', model: null } : claude(model);
  const change = chat.request({ model: 'm', messages: [hi], ...body }, target);
  if (!('body' in change)) throw new Error('a Messages request is written anew');
  return change;
}

t.test('c45 gives a budget to a model that thinks by one, and raises the limit by it', (t) => {
  const { body, dropped } = write({ reasoning_effort: 'medium', max_completion_tokens: 1000 }, 'claude-sonnet-4-5');
  t.same(body.thinking, { type: 'enabled', budget_tokens: 19_200 });
  t.equal(body.max_tokens, 20_200);
  t.same(dropped, []);
  const budgets = Object.entries({
    minimal: 1280,
    low: 6400,
    medium: 19_200,
    high: 38_400,
    xhigh: 57_600,
    max: 57_600,
  });
  for (const [effort, tokens] of budgets) {
    t.equal(
      at(write({ reasoning_effort: effort }, 'claude-sonnet-4-5').body.thinking, 'budget_tokens'),
      tokens,
      effort,
    );
  }
  t.equal(
    at(write({ reasoning_effort: 'minimal' }, 'claude-opus-4-1').body.thinking, 'budget_tokens'),
    1024,
    'never less',
  );
  t.equal(
    write({ reasoning_effort: 'max' }, 'claude-sonnet-4-5').body.max_tokens,
    64_000,
    'never more than the model has',
  );
  t.notOk('output_config' in body);
  t.end();
});

t.test('gives an effort to a model that thinks by itself', (t) => {
  const efforts = { minimal: 'low', low: 'low', medium: 'medium', high: 'high', xhigh: 'xhigh', max: 'max' };
  for (const model of ['claude-opus-4-8', '']) {
    for (const [asked, effort] of Object.entries(efforts)) {
      const { body, dropped } = write({ reasoning_effort: asked, max_tokens: 99 }, model);
      t.same(body.output_config, { effort });
      t.same(body.thinking, { type: 'adaptive', display: 'summarized' });
      t.equal(body.max_tokens, 99);
      t.same(dropped, []);
    }
  }
  t.end();
});

t.test('c46 says it outright when the model shall not think', (t) => {
  t.same(write({ reasoning_effort: 'none' }, 'claude-sonnet-5').body.thinking, { type: 'disabled' });
  t.same(write({ reasoning_effort: 'none' }, 'claude-sonnet-4-5').body.thinking, { type: 'disabled' });
  for (const model of ['claude-fable-5', '']) {
    const always = write({ reasoning_effort: 'none' }, model);
    t.notOk('thinking' in always.body, 'one that cannot stop would refuse to be told');
    t.same(always.body.output_config, { effort: 'low' });
    t.same(always.dropped, ['reasoning_effort(none->low)']);
  }
  t.end();
});

t.test('c47 turns xhigh into max where the model does not know it', (t) => {
  t.same(write({ reasoning_effort: 'xhigh' }, 'claude-opus-4-6').body.output_config, { effort: 'max' });
  t.end();
});

t.test('drops an effort where there is no thinking at all', (t) => {
  t.same(write({ reasoning_effort: 'high' }, 'claude-3-haiku').dropped, ['reasoning_effort']);
  t.same(write({ reasoning_effort: 'none' }, 'claude-3-haiku').dropped, []);
  t.end();
});

t.test("leaves the caller's own thinking as it is", (t) => {
  const own = { type: 'enabled', budget_tokens: 2000 };
  t.match(write({ thinking: own, reasoning_effort: 'high' }, 'claude-sonnet-4-5'), {
    body: { thinking: own },
    dropped: ['reasoning_effort'],
  });
  t.match(write({ thinking: { type: 'adaptive' }, reasoning_effort: 'high' }, 'claude-opus-4-6').body, {
    thinking: { type: 'adaptive' },
    output_config: { effort: 'high' },
  });
  const off = write({ thinking: { type: 'disabled' }, reasoning_effort: 'max' }, 'claude-opus-5');
  t.same(off.body.output_config, { effort: 'high' }, 'without thinking nothing above high is known');
  t.same(off.dropped, ['reasoning_effort(max->high)']);
  t.same(write({ output_config: { effort: 'low' }, reasoning_effort: 'high' }, 'claude-opus-4-6').body.output_config, {
    effort: 'low',
  });
  t.end();
});

const call = (id: string): JsonObject => ({ id, type: 'function', function: { name: 'f', arguments: '{}' } });
const use = (id: string): JsonObject => ({ type: 'tool_use', id, name: 'f', input: {} });
const thought = (value: string): JsonObject => ({ type: 'thinking', thinking: value, signature: `signed ${value}` });
const opaque: JsonObject = { type: 'redacted_thinking', data: 'b3BhcXVl' };

/** The answer's blocks as they come back when the caller sends the message again. */
function replayed(blocks: readonly JsonObject[], model = 'claude-sonnet-4-5'): JsonValue | undefined {
  const reply = {
    type: 'message',
    content: [...blocks],
    stop_reason: 'tool_use',
    usage: { input_tokens: 1, output_tokens: 1 },
  };
  const message = at(chat.response(reply, replyContext()).body, 'choices', 0, 'message') as JsonObject;
  const results = blocks
    .filter(({ type }) => type === 'tool_use')
    .map(({ id }) => ({ role: 'tool', tool_call_id: id ?? null, content: 'x' }));
  const messages = [hi, message, ...results, hi];
  return at(
    write({ messages, tools: [{ type: 'function', function: { name: 'f' } }] }, model).body.messages,
    1,
    'content',
  );
}

t.test('c48 brings signed thinking back as it was, first in its turn', (t) => {
  for (const blocks of [
    [thought('a'), text('b'), use('c')],
    [thought('a'), use('b'), thought('c'), use('d')],
    [text('a'), thought('b'), text('c'), thought('d'), opaque, use('e'), thought('f'), text('g'), use('h')],
    [thought('a'), thought('b'), text('c')],
  ]) {
    t.same(replayed(blocks), blocks);
    t.same(replayed(blocks, 'claude-opus-4-8'), blocks);
  }
  t.end();
});

t.test('c50 brings back a signature without a text', (t) => {
  const blocks = [{ type: 'thinking', thinking: '', signature: 's' }, use('a')];
  t.same(replayed(blocks), blocks);
  t.end();
});

t.test('c51 brings back what is hidden from the reader', (t) => {
  t.same(replayed([opaque, text('a')]), [opaque, text('a')]);
  t.end();
});

t.test('takes reasoning details of the same signer, and nobody else', (t) => {
  const history = (details: JsonObject[]): RequestRewrite =>
    write(
      { messages: [hi, { role: 'assistant', content: 'x', reasoning_content: 'y', reasoning_details: details }, hi] },
      'claude-opus-4-8',
    );
  const detail = { type: 'reasoning.text', text: 'a', signature: 's', format: 'anthropic-claude-v1', index: 0 };
  t.same(at(history([detail]).body.messages, 1, 'content', 0), { type: 'thinking', thinking: 'a', signature: 's' });
  t.same(at(history([{ type: 'reasoning.encrypted', data: 'd' }]).body.messages, 1, 'content', 0), {
    type: 'redacted_thinking',
    data: 'd',
  });
  t.same(at(history([{ ...detail, format: 'google-gemini-v1' }]).body.messages, 1, 'content'), [text('x')]);
  t.same(history([detail]).dropped, []);
  t.end();
});

t.test('keeps the thoughts of two answers in a row apart, each before its own words', (t) => {
  const answer = (value: string): JsonObject => ({
    role: 'assistant',
    content: value,
    thinking_blocks: [thought(value)],
  });
  const { body } = write({ messages: [hi, answer('a'), answer('b'), hi] }, 'claude-opus-4-8');
  t.same(at(body.messages, 1, 'content'), [thought('a'), text('a'), thought('b'), text('b')]);
  t.end();
});

t.test('sends no thoughts to a model that does not think', (t) => {
  const messages = [hi, { role: 'assistant', content: 'x', thinking_blocks: [thought('a')] }, hi];
  t.same(at(write({ messages }, 'claude-3-haiku').body.messages, 1, 'content'), [text('x')]);
  t.end();
});

t.test('marks the cache on words, for thoughts cannot carry a mark', (t) => {
  const blocks = [{ ...thought('a'), content_offset: 1, tool_call_offset: 0 }];
  const mark = { type: 'ephemeral' };
  const messages = [hi, { role: 'assistant', content: 'x', thinking_blocks: blocks, cache_control: mark }, hi];
  t.same(at(write({ messages }, 'claude-opus-4-8').body.messages, 1, 'content'), [
    { ...text('x'), cache_control: mark },
    thought('a'),
  ]);
  t.end();
});

t.test('never sends a block without its signature', (t) => {
  const foreign = { ...thought('foreign'), format: 'google-gemini-v1' };
  const blocks = [{ type: 'thinking', thinking: 'unsigned' }, foreign, thought('own')];
  const { body, dropped } = write(
    { messages: [hi, { role: 'assistant', content: 'x', thinking_blocks: blocks }, hi] },
    'claude-opus-4-8',
  );
  t.same(at(body.messages, 1, 'content'), [thought('own'), text('x')]);
  t.same(dropped, ['messages.1.thinking_blocks']);
  t.end();
});

t.test('c49 does without thinking when the caller has lost it', (t) => {
  const messages = [
    hi,
    { role: 'assistant', content: null, tool_calls: [call('a')] },
    { role: 'tool', tool_call_id: 'a', content: 'x' },
  ];
  const tools = [{ type: 'function', function: { name: 'f' } }];
  const lost = write({ messages, tools, reasoning_effort: 'high' }, 'claude-sonnet-4-5');
  t.notOk('thinking' in lost.body);
  t.same(lost.dropped, ['reasoning_effort']);
  t.same(write({ messages, tools, thinking: { type: 'enabled', budget_tokens: 2000 } }, 'claude-sonnet-4-5').dropped, [
    'thinking',
  ]);
  t.match(write({ messages, tools, reasoning_effort: 'high' }, 'claude-opus-4-8'), {
    body: { thinking: { type: 'adaptive' } },
    dropped: [],
  });
  t.match(write({ messages, tools, thinking: { type: 'disabled' } }, 'claude-sonnet-4-5'), {
    body: { thinking: { type: 'disabled' } },
    dropped: [],
  });
  const silent = [...messages, { role: 'assistant', content: '' }];
  t.same(write({ messages: silent, tools, reasoning_effort: 'high' }, 'claude-sonnet-4-5').dropped, [
    'reasoning_effort',
  ]);
  const kept = messages.map((message) =>
    message.role === 'assistant' ? { ...message, thinking_blocks: [thought('a')] } : message,
  );
  t.match(write({ messages: kept, tools, reasoning_effort: 'high' }, 'claude-sonnet-4-5'), {
    body: { thinking: { type: 'enabled' } },
    dropped: [],
  });
  t.end();
});

t.test("says beforehand how far beyond the caller's limit an answer may go", (t) => {
  for (const model of ['claude-sonnet-4-5', 'claude-opus-4-1', 'claude-opus-4-8', 'claude-3-haiku', '']) {
    const target = model === '' ? { upstreamModel: 'claude-next', model: null } : claude(model);
    for (const effort of [null, 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max']) {
      const body = { max_tokens: 2000, reasoning_effort: effort };
      const sent = Number(write(body, model).body.max_tokens);
      const allowed = 2000 + (chat.outputAllowance?.(body, target) ?? 0);
      t.ok(sent <= allowed, `${model || 'unknown'} ${String(effort)}: ${sent} of ${allowed}`);
    }
  }
  t.equal(chat.outputAllowance?.({ reasoning_effort: 'high' }, claude('claude-sonnet-4-5')), 38_400);
  t.end();
});
