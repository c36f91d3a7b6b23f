import t from 'tap';
import { createDeclaredProvider, registry } from '../../providers/index.ts';
import type { ModelSpec } from '../../src/contract/flow.ts';
import type { JsonObject } from '../../src/contract/json.ts';
import type { AdapterTarget, ProviderAdapter, RequestEdit } from '../../src/contract/provider.ts';
import { thrownBy } from '../support/json-at.ts';
import { editOf } from '../support/sent-body.ts';

const baseUrl = 'http://127.0.0.1/v1';
const local = createDeclaredProvider({ id: 'local', dialect: 'openai-compat', baseUrl });
const exact = createDeclaredProvider({ id: 'exact', dialect: 'openai-exact', baseUrl });
const old = createDeclaredProvider({ id: 'old', dialect: 'openai-compat', baseUrl, legacy: true });
const { openai, together } = registry;
const messages = [{ role: 'user', content: 'hi' }];

const spec = (more: Partial<ModelSpec>): ModelSpec => ({
  id: 'p/m',
  providerId: 'p',
  upstreamModel: 'm',
  name: 'm',
  contextTokens: 1000,
  maxOutputTokens: 100,
  inputModalities: ['text'],
  outputModalities: ['text'],
  supportedParameters: [],
  price: null,
  created: 0,
  ...more,
});

function edit(adapter: ProviderAdapter, body: JsonObject, target: Partial<AdapterTarget> = {}): RequestEdit {
  if (adapter.endpoints.chat === undefined) throw new Error('no chat endpoint');
  return editOf(
    adapter.endpoints.chat.request({ model: 'm', messages, ...body }, { upstreamModel: 'm', model: null, ...target }),
  );
}

const unchanged = { set: {}, remove: [], dropped: [] };
const refusal = (param: string): object => ({ status: 400, code: 'unsupported_parameter', param });

t.test('changes nothing when nothing must change', (t) => {
  t.same(edit(openai, { temperature: 1, store: true, tools: [], foo: { bar: 1 } }), unchanged);
  t.same(edit(local, { temperature: 1, foo: { bar: 1 }, stop: ['x'], seed: 1, n: 1 }), unchanged);
  t.end();
});

t.test('sets the model when the upstream calls it something else', (t) => {
  t.same(edit(openai, {}, { upstreamModel: 'gpt-4o' }).set, { model: 'gpt-4o' });
  t.end();
});

t.test('c19 renames the token limit for models that know only the newer name', (t) => {
  for (const upstreamModel of ['o3-mini', 'o1', 'gpt-5', 'gpt-5.6-sol', 'ft:gpt-5-mini:acme::1']) {
    const { set, remove } = edit(openai, { max_tokens: 5 }, { upstreamModel });
    t.same(set.max_completion_tokens, 5, upstreamModel);
    t.same(remove, ['max_tokens']);
  }
  const both = edit(openai, { max_tokens: 5, max_completion_tokens: 9 }, { upstreamModel: 'o3' });
  t.same(both, { set: { model: 'o3' }, remove: ['max_tokens'], dropped: [] }, 'the explicit one wins');
  for (const upstreamModel of ['gpt-4o', 'chatgpt-4o-latest']) {
    t.same(edit(openai, { max_tokens: 5 }, { upstreamModel }).remove, [], upstreamModel);
  }
  t.end();
});

t.test('c20 sends one token limit, under the older name, to servers of any age', (t) => {
  for (const adapter of [local, together]) {
    t.same(edit(adapter, { max_completion_tokens: 5 }), {
      set: { max_tokens: 5 },
      remove: ['max_completion_tokens'],
      dropped: [],
    });
    t.same(edit(adapter, { max_completion_tokens: 5, max_tokens: 9 }).set, { max_tokens: 5 });
    t.same(edit(adapter, { max_tokens: 9 }), unchanged);
  }
  t.end();
});

t.test('asks every stream for usage, beside what the caller asked for', (t) => {
  for (const adapter of [openai, together, local]) {
    t.same(edit(adapter, { stream: true }).set, { stream_options: { include_usage: true } });
    t.same(edit(adapter, { stream: true, stream_options: null }).set, { stream_options: { include_usage: true } });
    t.same(edit(adapter, { stream: true, stream_options: { include_usage: false, x: 1 } }).set, {
      stream_options: { include_usage: true, x: 1 },
    });
    t.same(edit(adapter, { stream: true, stream_options: { include_usage: true } }), unchanged);
    t.same(edit(adapter, { stream: false }), unchanged);
  }
  t.same(edit(openai, { stream_options: { include_usage: true } }), unchanged, "OpenAI's own 400 is the answer");
  t.same(edit(local, { stream_options: { include_usage: true } }).remove, ['stream_options']);
  t.same(edit(old, { stream: true, stream_options: { include_usage: true } }).remove, ['stream_options']);
  t.same(edit(old, { stream: true }), unchanged);
  t.end();
});

t.test('c37 forwards what it does not know to OpenAI and to everyone', (t) => {
  t.same(edit(openai, { verbosity: 'low', foo: 1 }), unchanged);
  t.same(edit(local, { foo: 1, bar: null }), unchanged);
  t.end();
});

t.test('c38 takes null for absent', (t) => {
  const nulls = { temperature: null, tools: null, stop: null, tool_choice: null, store: null, audio: null };
  t.same(edit(openai, nulls), unchanged);
  const { set, remove, dropped } = edit(local, nulls);
  t.same(set, {});
  t.same([...remove].sort(), Object.keys(nulls).sort());
  t.same(dropped, []);
  t.end();
});

t.test('c39 sends an empty list of tools to OpenAI and not to others', (t) => {
  t.same(edit(openai, { tools: [] }), unchanged);
  t.same(edit(local, { tools: [] }), { set: {}, remove: ['tools'], dropped: [] });
  t.end();
});

t.test('drops and reports what has no meaning at the upstream', (t) => {
  const knobs = {
    user: 'u',
    safety_identifier: 's',
    store: true,
    service_tier: 'flex',
    verbosity: 'low',
    prediction: { type: 'content', content: 'x' },
    prompt_cache_key: 'k',
    prompt_cache_options: { ttl: 1 },
    prompt_cache_retention: '24h',
    parallel_tool_calls: false,
    thinking: { type: 'enabled' },
  };
  for (const adapter of [local, together]) {
    const { set, remove, dropped } = edit(adapter, knobs);
    t.same(set, {});
    t.same(remove, Object.keys(knobs));
    t.same(dropped, Object.keys(knobs));
  }
  t.same(edit(openai, knobs).dropped, ['thinking']);
  t.same(edit(exact, knobs).dropped, ['thinking']);
  t.end();
});

t.test('takes out without a word what asks for nothing or is for the gateway', (t) => {
  const quiet = { modalities: ['text'], store: false, parallel_tool_calls: true, metadata: { a: 'b' }, functions: [] };
  t.same(edit(local, quiet).dropped, []);
  t.same([...edit(local, quiet).remove].sort(), Object.keys(quiet).sort());
  t.same(edit(openai, quiet), unchanged);
  t.end();
});

t.test('refuses what would change the answer', (t) => {
  for (const adapter of [local, together]) {
    t.match(
      thrownBy(() => edit(adapter, { modalities: ['text', 'audio'] })),
      refusal('modalities'),
    );
    t.match(
      thrownBy(() => edit(adapter, { audio: { voice: 'x', format: 'wav' } })),
      refusal('audio'),
    );
    t.match(
      thrownBy(() => edit(adapter, { moderation: { model: 'x' } })),
      refusal('moderation'),
    );
    t.match(
      thrownBy(() => edit(adapter, { web_search_options: { search_context_size: 'low' } })),
      refusal('web_search_options'),
    );
    const custom = { type: 'custom', custom: { name: 'x' } };
    t.match(
      thrownBy(() => edit(adapter, { tools: [custom] })),
      refusal('tools[0]'),
    );
    for (const part of [
      { type: 'input_audio', input_audio: { data: '', format: 'wav' } },
      { type: 'file', file: { file_id: 'f' } },
      { type: 'file', file: { file_data: 'data:', filename: 'a.pdf' } },
    ]) {
      const body = { messages: [{ role: 'user', content: [{ type: 'text', text: 'x' }, part] }] };
      t.match(
        thrownBy(() => edit(adapter, body)),
        refusal('messages[0].content[1]'),
      );
      t.same(edit(openai, body), unchanged);
    }
  }
  t.end();
});

t.test('gives the developer the system role where the upstream knows only that', (t) => {
  const body = { messages: [{ role: 'developer', content: 'x' }, ...messages] };
  t.same(edit(local, body).set, { messages: [{ role: 'system', content: 'x' }, ...messages] });
  t.same(edit(openai, body), unchanged);
  t.end();
});

t.test('edits messages where the upstream knows fewer members', (t) => {
  const image = { type: 'image_url', image_url: { url: 'https://example.com/a.png', detail: 'low' } };
  const body = {
    messages: [
      {
        role: 'user',
        name: 'ann',
        content: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }, image],
      },
      { role: 'assistant', content: 'y', reasoning_content: 'z', thinking_blocks: null },
    ],
  };
  const path = 'messages.0.content.0.cache_control';
  const dropped = [path, 'messages.0.content.1.image_url.detail', 'messages.1.reasoning_content'];
  t.same(edit(local, body).dropped, dropped);
  t.same(edit(local, body).set.messages, [
    {
      role: 'user',
      name: 'ann',
      content: [
        { type: 'text', text: 'x' },
        { type: 'image_url', image_url: { url: 'https://example.com/a.png' } },
      ],
    },
    { role: 'assistant', content: 'y' },
  ]);
  t.same(edit(together, body).dropped, dropped);
  t.same(edit(openai, body).dropped, ['messages.1.reasoning_content']);
  t.end();
});

t.test('c80 leaves a message without content alone when it calls tools', (t) => {
  const calls = [{ id: 'x', type: 'function', function: { name: 'f', arguments: '{}' } }];
  t.same(edit(local, { messages: [{ role: 'assistant', content: null, tool_calls: calls }] }), unchanged);
  t.end();
});

const named = (name: string): JsonObject => ({ type: 'function', function: { name } });

t.test('c74 narrows the tools to the allowed ones', (t) => {
  const tools = [named('a'), named('b')];
  const choice = (mode: string): JsonObject => ({
    type: 'allowed_tools',
    allowed_tools: { mode, tools: [named('b')] },
  });
  t.same(edit(together, { tools, tool_choice: choice('required') }).set, {
    tools: [named('b')],
    tool_choice: 'required',
  });
  t.same(edit(together, { tools, tool_choice: choice('auto') }).dropped, []);
  const dropped = edit(local, { tools, tool_choice: choice('required') });
  t.same(dropped, { set: { tools: [named('b')] }, remove: ['tool_choice'], dropped: ['tool_choice(required->auto)'] });
  t.same(edit(local, { tools, tool_choice: choice('auto') }).dropped, []);
  t.same(edit(openai, { tools, tool_choice: choice('auto') }), unchanged);
  t.end();
});

t.test('drops the choice of a tool where servers ignore it', (t) => {
  for (const [choice, report] of [
    ['none', 'tool_choice'],
    ['required', 'tool_choice(required->auto)'],
    [named('a'), 'tool_choice(a->auto)'],
  ] as const) {
    t.same(edit(local, { tools: [named('a')], tool_choice: choice }), {
      set: {},
      remove: ['tool_choice'],
      dropped: [report],
    });
    t.same(edit(together, { tools: [named('a')], tool_choice: choice }), unchanged);
  }
  t.end();
});

t.test('drops strict, and reports it only where it asked for something', (t) => {
  const strict = (value: boolean | null): JsonObject => ({ type: 'function', function: { name: 'a', strict: value } });
  t.same(edit(together, { tools: [strict(true)] }), {
    set: { tools: [named('a')] },
    remove: [],
    dropped: ['tools.0.function.strict'],
  });
  t.same(edit(together, { tools: [strict(false), strict(null)] }).dropped, []);
  t.end();
});

t.test('c79 forwards log probabilities to OpenAI', (t) => {
  t.same(edit(openai, { logprobs: true, top_logprobs: 2 }), unchanged);
  t.end();
});

t.test('c108 rewrites the legacy function fields to tools', (t) => {
  const body = {
    messages: [
      ...messages,
      { role: 'assistant', content: null, function_call: { name: 'f', arguments: '{}' } },
      { role: 'function', name: 'f', content: '1' },
      { role: 'assistant', content: 'done', function_call: null },
    ],
    functions: [{ name: 'f', parameters: {} }],
    function_call: { name: 'f' },
  };
  const { set, remove, dropped } = edit(together, body);
  const call = { id: 'call_legacy_1', type: 'function', function: { name: 'f', arguments: '{}' } };
  t.same(set, {
    tools: [{ type: 'function', function: { name: 'f', parameters: {} } }],
    tool_choice: named('f'),
    messages: [
      ...messages,
      { role: 'assistant', content: null, tool_calls: [call] },
      { role: 'tool', content: '1', tool_call_id: 'call_legacy_1' },
      { role: 'assistant', content: 'done' },
    ],
  });
  t.same(remove, ['functions', 'function_call']);
  t.same(dropped, []);
  const orphan = { messages: [{ role: 'function', name: 'g', content: '1' }] };
  t.match(
    thrownBy(() => edit(together, orphan)),
    { status: 400, param: 'messages[0].name' },
  );
  t.same(edit(openai, body), unchanged);
  t.end();
});

t.test('goes by the abilities that the catalogue knows', (t) => {
  const picture = {
    messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://example.com/a.png' } }] }],
  };
  const blind = { model: spec({ inputModalities: ['text'] }) };
  t.match(
    thrownBy(() => edit(local, picture, blind)),
    refusal('messages[0].content[0]'),
  );
  t.same(edit(local, picture, { model: spec({ inputModalities: ['text', 'image'] }) }), unchanged);
  t.same(edit(local, picture), unchanged, 'an unknown model is given the benefit of the doubt');
  t.same(edit(openai, picture, blind), unchanged);
  const simple = { model: spec({ supportedParameters: ['temperature'] }) };
  t.match(
    thrownBy(() => edit(local, { tools: [named('a')] }, simple)),
    refusal('tools'),
  );
  t.same(edit(local, { reasoning_effort: 'low' }, simple).dropped, ['reasoning_effort']);
  t.same(edit(local, { reasoning_effort: 'low' }, { model: spec({ supportedParameters: ['reasoning'] }) }), unchanged);
  t.same(edit(openai, { reasoning_effort: 'low' }, simple), unchanged);
  t.end();
});

t.test('refuses an unknown dialect and forgives a slash at the end of an address', (t) => {
  t.throws(
    () => createDeclaredProvider({ id: 'x', dialect: 'soap', baseUrl }),
    /unknown dialect soap; known are openai-compat/,
  );
  t.equal(createDeclaredProvider({ id: 'x', dialect: 'openai-exact', baseUrl: `${baseUrl}//` }).baseUrl, baseUrl);
  t.end();
});

t.test('a cache mark on a tool is taken off where the vendor has no caches, and reported', (t) => {
  const tool = { type: 'function', function: { name: 'f' }, cache_control: { type: 'ephemeral' } };
  const edited = edit(local, { tools: [tool, { ...tool, cache_control: null }] });
  const bare = { type: 'function', function: { name: 'f' } };
  t.strictSame(edited.set['tools'], [bare, bare]);
  t.ok(edited.dropped.includes('tools.0.cache_control'));
  t.notOk(edited.dropped.includes('tools.1.cache_control'));
  t.end();
});
