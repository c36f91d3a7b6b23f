/** What single vendors want said differently, and what of it depends on the model. Spec: fidelity 8 and its cases. */
import t from 'tap';
import { registry, type ProviderId } from '../../providers/index.ts';
import type { ModelAbilities, ModelSpec } from '../../src/contract/flow.ts';
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';
import type { ChatEndpoint, ProviderAdapter, RequestEdit } from '../../src/contract/provider.ts';
import { named } from '../../scripts/fidelity-samples.ts';
import { chunksOf, sumChoices } from '../support/chat-stream.ts';
import { at, textAt, thrownBy } from '../support/json-at.ts';
import { hasRecordings, recordings } from '../support/recordings.ts';
import { replyContext } from '../support/reply-context.ts';
import { editOf, sentBody } from '../support/sent-body.ts';

const user = { role: 'user', content: 'hi' };

function chatOf(id: ProviderId): ChatEndpoint {
  const adapter: ProviderAdapter = registry[id];
  if (adapter.endpoints.chat === undefined) throw new Error(`${id} has no chat endpoint`);
  return adapter.endpoints.chat;
}

const spec = (abilities: ModelAbilities, more: Partial<ModelSpec> = {}): ModelSpec => ({
  id: 'x/m',
  providerId: 'x',
  upstreamModel: 'm',
  name: 'm',
  contextTokens: 1,
  maxOutputTokens: 1,
  inputModalities: [],
  outputModalities: [],
  supportedParameters: [],
  price: null,
  abilities,
  created: 0,
  ...more,
});

type Asking = { model?: string; spec?: ModelSpec };

function edit(id: ProviderId, members: JsonObject, asking: Asking = {}): RequestEdit & { body: JsonObject } {
  const model = asking.model ?? 'm';
  const body = { model, messages: [user], ...members };
  const change = editOf(chatOf(id).request(body, { upstreamModel: model, model: asking.spec ?? null }));
  return { ...change, body: sentBody(body, change) };
}

const tools = [named('f'), named('g')];

t.test('c20 sends max_tokens alone where a vendor knows no other', (t) => {
  for (const id of ['mistral', 'deepseek', 'openrouter', 'cohere', 'vllm', 'perplexity'] as const) {
    t.match(edit(id, { max_completion_tokens: 7, max_tokens: 9 }), {
      body: { max_tokens: 7, max_completion_tokens: undefined },
      dropped: [],
    });
  }
  t.match(edit('groq', { max_completion_tokens: 7, max_tokens: 9 }).body, {
    max_completion_tokens: 7,
    max_tokens: undefined,
  });
  t.end();
});

t.test('c32 asks DeepSeek for JSON in words, where nobody said the word', (t) => {
  const format = { response_format: { type: 'json_object' } };
  t.match(edit('deepseek', format).body.messages, [{ role: 'system', content: /JSON object/ }, user]);
  const said = { messages: [{ role: 'user', content: [{ type: 'text', text: 'As JSON, please.' }] }], ...format };
  t.same(edit('deepseek', said).set, {}, 'a caller that said it is not corrected');
  const parts = { messages: [{ role: 'system', content: [{ type: 'text', text: 'Be brief.' }] }, user], ...format };
  t.match(edit('deepseek', parts).body.messages, [{ content: [{ text: 'Be brief.' }, { text: /JSON object/ }] }, user]);
  const declared = { name: 's', description: 'A place.', schema: { type: 'object' } };
  const { body, dropped } = edit('deepseek', { response_format: { type: 'json_schema', json_schema: declared } });
  t.match(body, { response_format: { type: 'json_object' }, messages: [{ content: /"type":"object"[\s\S]*A place/ }] });
  t.same(dropped, []);
  const lacking = edit(
    'groq',
    { response_format: { type: 'json_schema', json_schema: {} } },
    { spec: spec({ jsonSchema: false }) },
  );
  t.match(lacking.body.response_format, { type: 'json_object' });
  t.end();
});

t.test('c71 says a forced tool in the word of each, and lets go where none can be forced', (t) => {
  const required = { tools, tool_choice: 'required' };
  const words = {
    mistral: 'any',
    groq: 'required',
    cohere: 'required',
    xai: 'required',
    openrouter: 'required',
  } as const;
  for (const [id, word] of Object.entries(words)) {
    t.match(edit(id as ProviderId, required), { body: { tool_choice: word }, dropped: [] }, id);
  }
  for (const [id, model] of [
    ['moonshot', 'kimi-k2.6'],
    ['deepseek', 'deepseek-reasoner'],
    ['deepseek', 'deepseek-v4-pro'],
    ['zai', 'glm-5.3'],
  ] as const) {
    const { body, dropped } = edit(id, required, { model });
    t.match({ choice: body.tool_choice, dropped }, { choice: 'auto', dropped: ['tool_choice(required->auto)'] }, model);
  }
  const byName = edit('deepseek', { tools, tool_choice: named('f') }, { model: 'deepseek-reasoner' });
  t.match(byName, { body: { tool_choice: 'auto' }, dropped: ['tool_choice(f->auto)'] });
  t.same(edit('deepseek', required, { model: 'deepseek-chat' }).dropped, [], 'the plain model can be forced');
  const able = { model: 'deepseek-v4-pro', spec: spec({ forcedTool: 'accepted' }) };
  t.same(edit('deepseek', required, able).dropped, [], 'the catalogue knows better');
  t.end();
});

t.test('c72 chooses a tool by its name at Mistral by sending it alone', (t) => {
  const { body, dropped } = edit('mistral', { tools, tool_choice: named('g') });
  t.same([body.tools, body.tool_choice, dropped], [[named('g')], 'any', []]);
  t.end();
});

t.test('gives Mistral ids of the length that it takes, the same for a call and its result', (t) => {
  const call = (id: string): JsonObject => ({ id, type: 'function', function: { name: 'f', arguments: '{}' } });
  const turn = (ids: readonly string[]): JsonObject[] => [
    { role: 'assistant', content: null, tool_calls: ids.map(call) },
    ...ids.map((id) => ({ role: 'tool', tool_call_id: id, content: '1' })),
  ];
  const foreign = ['call_0', 'call_1', 'toolu_01ABCDEFGHIJKLMNOPQRSTUV', 'call_0 '];
  const { body, dropped } = edit('mistral', { messages: [user, ...turn(foreign)] });
  const called = foreign.map((_, index) => textAt(body.messages, 1, 'tool_calls', index, 'id'));
  t.ok(called.every((id) => /^[a-zA-Z0-9]{9}$/.test(id)));
  t.equal(new Set(called).size, foreign.length, 'no two become one');
  t.same(
    foreign.map((_, index) => textAt(body.messages, 2 + index, 'tool_call_id')),
    called,
  );
  t.same(dropped, []);
  t.same(edit('mistral', { messages: [user, ...turn(['Ab3dEf6hI'])] }).set, {}, 'its own ids stay');
  const many = Array.from({ length: 5000 }, (_, index) => `call_${index}`);
  const { messages } = edit('mistral', { messages: turn(many) }).body;
  t.equal(new Set(many.map((_, index) => textAt(messages, 1 + index, 'tool_call_id'))).size, many.length);
  t.end();
});

t.test('c79 drops log probabilities at Groq and says so', (t) => {
  t.same(edit('groq', { logprobs: true, top_logprobs: 2 }).dropped, ['logprobs', 'top_logprobs']);
  t.same(edit('groq', { logprobs: false }).dropped, [], 'what asks for nothing needs no report');
  t.end();
});

t.test('maps the effort by model, and reports what was changed', (t) => {
  const effort = (id: ProviderId, value: string, asking?: Asking): unknown[] => {
    const { body, dropped } = edit(id, { reasoning_effort: value }, asking);
    return [body.reasoning_effort ?? null, dropped];
  };
  t.same(effort('groq', 'minimal', { model: 'openai/gpt-oss-20b' }), ['low', ['reasoning_effort(minimal->low)']]);
  t.same(effort('groq', 'medium', { model: 'qwen/qwen3-32b' }), ['default', ['reasoning_effort(medium->default)']]);
  t.same(effort('groq', 'none', { model: 'qwen/qwen3-32b' }), ['none', []]);
  t.same(effort('mistral', 'high', { model: 'magistral-medium-latest' }), [null, ['reasoning_effort']]);
  t.same(effort('mistral', 'none', { model: 'mistral-small-latest' }), ['none', []]);
  t.same(effort('xai', 'low', { model: 'grok-4.20-beta' }), [null, ['reasoning_effort']]);
  t.same(effort('xai', 'low', { model: 'grok-4.6' }), ['low', []]);
  t.same(effort('fireworks', 'xhigh', { spec: spec({ efforts: ['xhigh'] }) }), ['xhigh', []]);
  t.same(edit('deepseek', { reasoning_effort: 'none' }).set, { thinking: { type: 'disabled' } });
  const own = { reasoning_effort: 'none', thinking: { type: 'enabled' } };
  t.same(edit('deepseek', own).body.thinking, own.thinking, "the caller's own member wins");
  const both = edit('openrouter', { reasoning_effort: 'high', reasoning: { max_tokens: 9 } });
  t.match(both.body, { reasoning: { effort: 'high', max_tokens: 9 }, reasoning_effort: undefined });
  t.end();
});

t.test('asks Groq for reasoning apart from the answer, where the model reasons', (t) => {
  t.equal(edit('groq', {}, { model: 'qwen/qwen3-32b' }).body.reasoning_format, 'parsed');
  t.equal(edit('groq', { reasoning_format: 'raw' }, { model: 'qwen/qwen3-32b' }).body.reasoning_format, 'raw');
  t.equal(edit('groq', {}, { model: 'llama-3.3-70b-versatile' }).body.reasoning_format, undefined);
  t.equal(edit('groq', { temperature: 0 }).body.temperature, 1e-8);
  t.equal(edit('groq', { temperature: 0.1 }).body.temperature, 0.1);
  t.end();
});

t.test('takes a keyword out of a schema and leaves a property of that name', (t) => {
  const parameters = {
    type: 'object',
    properties: { additionalProperties: { type: 'string', default: { additionalProperties: 1 } } },
    anyOf: [{ type: 'object', additionalProperties: { type: 'string' } }],
    additionalProperties: false,
  };
  const { body, dropped } = edit('xai', { tools: [{ type: 'function', function: { name: 'f', parameters } }] });
  t.same(at(body.tools, 0, 'function', 'parameters'), {
    type: 'object',
    properties: parameters.properties,
    anyOf: [{ type: 'object' }],
  });
  t.same(dropped, ['tools.0.function.parameters.additionalProperties']);
  t.same(edit('xai', { tools: [named('f')] }).set, {});
  t.end();
});

t.test('sends reasoning back as the model wants it', (t) => {
  const answer = { role: 'assistant', content: 'Cold.', reasoning_content: 'Winter.' };
  const details = [{ type: 'reasoning.text', text: 'Winter.', signature: 'c2ln' }];
  const back = (id: ProviderId, message: JsonObject, abilities?: ModelAbilities): unknown[] => {
    const change = edit(id, { messages: [user, message] }, abilities === undefined ? {} : { spec: spec(abilities) });
    return [at(change.body.messages, 1) ?? null, change.dropped];
  };
  const plain = { role: 'assistant', content: 'Cold.' };
  t.same(back('together', answer), [plain, ['messages.1.reasoning_content']]);
  t.same(back('together', answer, { reasoningHistory: 'content' }), [answer, []], 'the catalogue knows better');
  t.same(back('deepseek', answer), [answer, []]);
  t.same(back('deepseek', answer, { reasoningHistory: 'strip' }), [plain, ['messages.1.reasoning_content']]);
  t.same(back('zai', { ...plain, reasoning: 'Winter.' }), [answer, []]);
  t.same(back('deepseek', { ...answer, reasoning_details: details }), [answer, ['messages.1.reasoning_details']]);
  t.same(back('openrouter', { ...answer, reasoning_details: details }), [{ ...plain, reasoning_details: details }, []]);
  t.same(back('openrouter', answer), [{ ...plain, reasoning: 'Winter.' }, []]);
  t.same(back('mistral', plain), [plain, []], 'without reasoning there is nothing to write');
  t.same(back('mistral', { role: 'assistant', content: null, reasoning: 'Winter.' })[0], {
    role: 'assistant',
    content: [{ type: 'thinking', thinking: [{ type: 'text', text: 'Winter.' }] }],
  });
  const calls = [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } }];
  t.match(back('deepseek', { role: 'assistant', content: null, tool_calls: calls })[0], { reasoning_content: '' });
  t.end();
});

t.test('takes what the catalogue says that a model sees or hears, whatever its vendor', (t) => {
  const picture = { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:,' } }] }] };
  const seeing = { spec: spec({}, { inputModalities: ['text', 'image'] }) };
  t.match(
    thrownBy(() => edit('deepseek', picture)),
    { code: 'unsupported_parameter' },
  );
  t.same(edit('deepseek', picture, seeing).dropped, []);
  const sound = { messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: {} }] }] };
  t.same(edit('mistral', sound, { spec: spec({}, { inputModalities: ['audio'] }) }).dropped, []);
  t.end();
});

t.test("says OpenAI's search as a tool at OpenRouter, beside the caller's own", (t) => {
  const options = {
    search_context_size: 'high',
    user_location: { type: 'approximate', approximate: { country: 'NO' } },
  };
  const parameters = { search_context_size: 'high', user_location: { type: 'approximate', country: 'NO' } };
  const search = { type: 'openrouter:web_search', parameters };
  const { body, dropped } = edit('openrouter', { tools: [named('f')], web_search_options: options });
  t.same([body.tools, body.web_search_options, dropped], [[named('f'), search], undefined, []]);
  const empty = edit('openrouter', { tools: [], web_search_options: options });
  t.same([empty.body.tools, empty.remove], [[search], ['web_search_options']]);
  t.end();
});

t.test('lets Cohere see its own members and no others', (t) => {
  const { body, dropped } = edit('cohere', { documents: [{ id: '1' }], top_k: 4, foo: 1, bar: null });
  t.match(body, { documents: [{ id: '1' }], k: 4, top_k: undefined, foo: undefined, bar: undefined });
  t.same(dropped, ['foo']);
  t.equal(edit('cohere', { stream: true, stream_options: { include_usage: true } }).body.stream_options, undefined);
  t.end();
});

t.test('addresses Azure by resource, and by deployment where a version is given', (t) => {
  const target = { upstreamModel: 'prod gpt/5', model: null };
  const newer = registry['azure-openai'].configure?.({ resource: 'acme' });
  t.equal(newer?.baseUrl, 'https://acme.openai.azure.com/openai/v1');
  t.equal(newer?.endpoints.chat?.path(target, false), '/chat/completions');
  const older = registry['azure-openai'].configure?.({ resource: 'acme', api_version: '2024-10-21' });
  t.equal(older?.baseUrl, 'https://acme.openai.azure.com/openai');
  t.equal(
    older?.endpoints.chat?.path(target, true),
    '/deployments/prod%20gpt%2F5/chat/completions?api-version=2024-10-21',
  );
  t.same(older?.authorize('k1'), { 'api-key': 'k1' });
  t.same(older?.authorize('eyJ0.e.s'), { authorization: 'Bearer eyJ0.e.s' });
  const { resource, api_version: version } = registry['azure-openai'].settings ?? {};
  t.ok(resource?.pattern.test('acme-eu') && !resource.pattern.test('acme.evil/'));
  t.ok(version?.pattern.test('2025-04-01-preview') && !version.pattern.test('2024-10-21&x=1'));
  t.end();
});

t.test('settings of the others', (t) => {
  t.match(registry.snowflake.configure?.({ account: 'org-acme' }).baseUrl, 'https://org-acme.snowflakecomputing.com/');
  t.notOk(registry.snowflake.settings?.['account']?.pattern.test('evil.example/'));
  t.same(registry.openrouter.configure?.({ referer: 'https://acme.example', title: 'Acme' }).authorize('k'), {
    authorization: 'Bearer k',
    'http-referer': 'https://acme.example',
    'x-title': 'Acme',
  });
  const legacy = registry.vllm.configure?.({ legacy: 'true' }).endpoints.chat;
  const streamed = { model: 'm', messages: [user], stream: true };
  const old = legacy?.request(streamed, { upstreamModel: 'm', model: null });
  t.same(old, { set: {}, remove: [], dropped: [] }, 'an old build is not asked for usage');
  t.match(edit('vllm', { stream: true }).set, { stream_options: { include_usage: true } });
  t.end();
});

t.test('c43 tells inline thinking apart where the catalogue says so, however it is cut', (t) => {
  const target = { upstreamModel: 'm', model: spec({ parseThink: true }) };
  const text = '\n<think>\nWinter < summer.</th ink>\n</think>\n\nCold <think> here.';
  const expected = { reasoning: '\nWinter < summer.</th ink>\n', text: 'Cold <think> here.' };
  for (let size = 1; size <= text.length; size += 1) {
    const translator = chatOf('together').stream?.(replyContext({ target }));
    const out = [];
    for (let start = 0; start < text.length; start += size) {
      const choice = { index: 0, delta: { content: text.slice(start, start + size) }, finish_reason: null };
      out.push(...(translator?.push({ event: '', data: JSON.stringify({ choices: [choice] }) }) ?? []));
    }
    const finish = { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] };
    out.push(...(translator?.push({ event: '', data: JSON.stringify(finish) }) ?? []), ...(translator?.end() ?? []));
    const sum = sumChoices(chunksOf(out)).get(0);
    t.same({ reasoning: sum?.reasoning, text: sum?.text }, expected, `in pieces of ${size}`);
    t.equal(translator?.outputCharacters, expected.reasoning.length + expected.text.length);
  }
  const whole = (content: string, context = replyContext({ target })): JsonValue | undefined =>
    at(chatOf('together').response({ choices: [{ message: { content } }] }, context).body, 'choices', 0, 'message');
  t.match(whole(text), { content: expected.text, reasoning_content: expected.reasoning });
  t.match(whole('<think>cut short'), { content: '', reasoning_content: 'cut short' });
  t.match(whole('<thi'), { content: '<thi', reasoning_content: undefined });
  t.match(whole('Plain.'), { content: 'Plain.', reasoning_content: undefined });
  t.match(whole(text, replyContext()), { content: text }, 'and nowhere else');
  t.end();
});

const figures: Readonly<Record<string, { id: ProviderId; prompt: number; completion: number; cached?: number }>> = {
  'xai/dev/compat-xai-text.json': { id: 'xai', prompt: 12, completion: 322 },
  'groq/dev/groq_model_thinking_part_iter.1.json': { id: 'groq', prompt: 573, completion: 1509 },
  'perplexity/dev/perplexity-citations.chunks.txt': { id: 'perplexity', prompt: 10, completion: 336 },
  'azure/dev/azure-deepseek-reasoning.1.trimmed.chunks.txt': { id: 'azure-openai', prompt: 19, completion: 1720 },
  'deepseek/dev/deepseek-tool-call.chunks.txt': { id: 'deepseek', prompt: 339, completion: 83, cached: 320 },
};

t.test('c60 c120 c122 meters the figures that the recordings show', (t) => {
  const found = hasRecordings() ? recordings().filter(({ name }) => figures[name] !== undefined) : [];
  for (const recording of found) {
    const expected = figures[recording.name];
    if (expected === undefined) continue;
    const chat = chatOf(expected.id);
    const translator = chat.stream?.(replyContext());
    const events = recording.kind === 'stream' ? recording.events : [];
    for (const event of events) translator?.push(event);
    const body = recording.kind === 'reply' ? (recording.body as JsonObject) : null;
    const usage = body === null ? translator?.usage() : chat.response(body, replyContext()).usage;
    t.equal(usage?.promptTokens, expected.prompt, recording.name);
    t.equal(usage?.completionTokens, expected.completion, recording.name);
    if (expected.cached !== undefined) t.equal(usage?.cachedTokens, expected.cached);
  }
  t.equal(found.length, hasRecordings() ? Object.keys(figures).length : 0);
  t.end();
});
