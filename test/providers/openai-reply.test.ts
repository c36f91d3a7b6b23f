import t from 'tap';
import { adaptReply } from '../../providers/openai-reply.ts';
import type { JsonObject } from '../../src/contract/json.ts';
import type { ReplyContext } from '../../src/contract/provider.ts';
import { at, textAt } from '../support/json-at.ts';
import { replyContext } from '../support/reply-context.ts';

const usage = { prompt_tokens: 3, completion_tokens: 1, total_tokens: 4 };

function reply(message: JsonObject, finish: string | null = 'stop', more: JsonObject = {}): JsonObject {
  const choices = [{ index: 0, message: { role: 'assistant', ...message }, finish_reason: finish }];
  return { id: 'up-1', object: 'chat.completion', created: 9, model: 'up', choices, usage, ...more };
}

function adapted(body: JsonObject, context: Partial<ReplyContext> = {}): JsonObject {
  return adaptReply(body, replyContext(context), []).body ?? body;
}

const call = (more: JsonObject = {}): JsonObject => ({
  id: 'x',
  type: 'function',
  function: { name: 'f', arguments: '{}' },
  ...more,
});

t.test('relays the bytes when nothing had to change', (t) => {
  const details = { prompt_tokens_details: { cached_tokens: 0 }, completion_tokens_details: { reasoning_tokens: 0 } };
  const body = reply({ content: 'a' }, 'stop', { model: 'public-model', usage: { ...usage, ...details } });
  t.equal(adaptReply(body, replyContext(), []).body, null);
  t.not(adaptReply({ ...body, model: 'up' }, replyContext(), []).body, null);
  t.not(adaptReply({ ...body, usage }, replyContext(), []).body, null);
  t.end();
});

t.test('gives the id, time and model that clients expect when the upstream has none', (t) => {
  const body = adapted(
    reply({ content: 'a' }, 'stop', { id: '', created: 0, object: 'done', service_tier: '', system_fingerprint: '' }),
  );
  t.match(body, { id: /^chatcmpl-/, created: 1_750_000_000, object: 'chat.completion', model: 'public-model' });
  t.notOk(Object.hasOwn(body, 'service_tier') || Object.hasOwn(body, 'system_fingerprint'));
  t.equal(adapted(reply({ content: 'a' }, 'stop', { created: 1_750_000_000_123 })).created, 1_750_000_000);
  t.end();
});

t.test('c69 always has a content', (t) => {
  const content = (message: JsonObject): unknown => at(adapted(reply(message)), 'choices', 0, 'message', 'content');
  t.equal(content({ tool_calls: [call()] }), null);
  t.equal(content({ content: '', tool_calls: [call()] }), null);
  t.equal(content({ content: 'a', tool_calls: [call()] }), 'a');
  t.equal(content({}), '');
  t.equal(content({ content: null }), '');
  t.end();
});

t.test('c44 splits content that is an array, and gives reasoning one name', (t) => {
  const blocks = [
    { type: 'thinking', thinking: [{ type: 'text', text: 'hm' }] },
    { type: 'text', text: 'so' },
  ];
  t.match(at(adapted(reply({ content: blocks })), 'choices', 0, 'message'), { content: 'so', reasoning_content: 'hm' });
  const message = at(adapted(reply({ content: 'so', reasoning: 'hm' })), 'choices', 0, 'message');
  t.same(message, { role: 'assistant', content: 'so', reasoning_content: 'hm' });
  t.end();
});

t.test('c107 fills a finish that is empty', (t) => {
  const finish = (message: JsonObject, word: string | null): unknown =>
    at(adapted(reply(message, word)), 'choices', 0, 'finish_reason');
  t.equal(finish({ content: 'a' }, ''), 'stop');
  t.equal(finish({ tool_calls: [call()] }, ''), 'tool_calls');
  t.equal(finish({ tool_calls: [call()] }, null), 'tool_calls');
  t.equal(finish({ content: 'a' }, 'model_length'), 'length');
  t.equal(finish({ tool_calls: [call()] }, 'stop'), 'stop', 'a real finish is not overridden');
  t.end();
});

t.test('c106 c123 completes tool calls', (t) => {
  const shown = (more: JsonObject): unknown =>
    at(adapted(reply({ tool_calls: [call(more)] })), 'choices', 0, 'message', 'tool_calls', 0);
  t.match(shown({ id: '' }), { id: /^call_\d{24}$/ });
  t.match(shown({ id: 'call_0' }), { id: /^call_\d{24}$/ });
  t.match(shown({ type: undefined, function: { name: 'f', arguments: 'null' } }), {
    type: 'function',
    function: { arguments: '{}' },
  });
  t.match(shown({ function: { name: 'f' } }), { function: { arguments: '{}' } });
  t.match(shown({ function: { name: 'f', arguments: { a: 1 } } }), { function: { arguments: '{"a":1}' } });
  t.same(shown({ index: 3, custom: { name: '', input: '' } }), call());
  t.same(shown({ extra_content: { a: 1 } }), call({ extra_content: { a: 1 } }), 'unknown members stay');
  t.end();
});

t.test('shows no figures that cannot be believed', (t) => {
  t.notOk(Object.hasOwn(adapted(reply({ content: 'a' }, 'stop', { usage: { ...usage, prompt_tokens: -1 } })), 'usage'));
  t.end();
});

t.test('c108 answers with a function call when the caller asked in the old form', (t) => {
  const request = { functions: [{ name: 'f' }] };
  const choice = at(adapted(reply({ tool_calls: [call()] }, 'tool_calls'), { request }), 'choices', 0);
  t.equal(textAt(choice, 'finish_reason'), 'function_call');
  t.same(at(choice, 'message'), { role: 'assistant', content: null, function_call: { name: 'f', arguments: '{}' } });
  const plain = at(adapted(reply({ content: 'a' }), { request }), 'choices', 0, 'message');
  t.same(plain, { role: 'assistant', content: 'a' });
  t.end();
});
