/** What Anthropic is sent for what the caller said, rule by rule. Spec: fidelity 4.1 to 4.5. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { anthropic } from '../../providers/anthropic.ts';
import { GatewayError } from '../../src/contract/errors.ts';
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';
import type { AdapterTarget, ChatEndpoint, RequestRewrite } from '../../src/contract/provider.ts';
import { seededRandom } from '../support/byte-feedings.ts';
import { claude } from '../support/claude-models.ts';
import { at, thrownBy } from '../support/json-at.ts';
import { spoil } from '../support/odd-json.ts';

const chat = anthropic.endpoints.chat as ChatEndpoint;
const unknown: AdapterTarget = { upstreamModel: 'claude-next', model: null };
const hi: JsonObject[] = [{ role: 'user', content: 'hi' }];
const weather: JsonObject = {
  type: 'function',
  function: { name: 'weather', parameters: { type: 'object', properties: {} } },
};
const now: JsonObject = { type: 'function', function: { name: 'now' } };

function write(body: JsonObject, model = 'claude-sonnet-4-5'): RequestRewrite {
  const target = model === '' ? unknown : claude(model);
  const change = chat.request({ model: 'm', messages: hi, ...body }, target);
  if (!('body' in change)) throw new Error('a Messages request is written anew');
  return change;
}

const sent = (body: JsonObject, model?: string): JsonObject => write(body, model).body;
const sentMessages = (messages: JsonObject[], model?: string): JsonValue | undefined =>
  sent({ messages }, model).messages;
const text = (value: string): JsonObject => ({ type: 'text', text: value });
const user = (...content: JsonObject[]): JsonObject => ({ role: 'user', content });
const called = (id: string, name: string, written = '{}'): JsonObject => ({
  id,
  type: 'function',
  function: { name, arguments: written },
});

function refusal(body: JsonObject, model?: string): GatewayError {
  const error = thrownBy(() => write(body, model));
  if (!(error instanceof GatewayError)) throw new Error('nothing was refused');
  return error;
}

t.test('c15 answers two calls in one user message, in their order, before what the user adds', (t) => {
  const messages = sentMessages([
    ...hi,
    { role: 'assistant', content: 'Let me see.', tool_calls: [called('a', 'weather'), called('b', 'now')] },
    { role: 'tool', tool_call_id: 'a', content: 'Rain' },
    { role: 'user', content: 'Quick!' },
    { role: 'tool', tool_call_id: 'b', content: [text('12:00')] },
  ]);
  t.same(messages, [
    user(text('hi')),
    {
      role: 'assistant',
      content: [
        text('Let me see.'),
        { type: 'tool_use', id: 'a', name: 'weather', input: {} },
        { type: 'tool_use', id: 'b', name: 'now', input: {} },
      ],
    },
    user(
      { type: 'tool_result', tool_use_id: 'a', content: 'Rain' },
      { type: 'tool_result', tool_use_id: 'b', content: [text('12:00')] },
      text('Quick!'),
    ),
  ]);
  t.end();
});

t.test('says that a tool failed only when the caller says so', (t) => {
  const result = (more: JsonObject): JsonValue | undefined =>
    at(
      sentMessages([
        ...hi,
        { role: 'assistant', tool_calls: [called('a', 'f')] },
        { role: 'tool', tool_call_id: 'a', ...more },
      ]),
      2,
      'content',
      0,
    );
  t.same(result({ content: '{"error":"none"}' }), {
    type: 'tool_result',
    tool_use_id: 'a',
    content: '{"error":"none"}',
  });
  t.same(result({ content: '', is_error: true }), { type: 'tool_result', tool_use_id: 'a', is_error: true });
  t.end();
});

t.test('c17 keeps system and developer messages apart and in order', (t) => {
  const body = sent({
    messages: [{ role: 'system', content: 'One.' }, { role: 'developer', content: [text('Two.'), text(' ')] }, ...hi],
  });
  t.same(body.system, [text('One.'), text('Two.')]);
  t.same(body.messages, [user(text('hi'))]);
  t.end();
});

t.test('makes a turn of instructions that stand alone', (t) => {
  const body = sent({ messages: [{ role: 'system', content: 'Write a haiku.' }] });
  t.same(body.messages, [user(text('Write a haiku.'))]);
  t.notOk('system' in body);
  t.end();
});

t.test('c18 asks for the longest answer of the model when the caller names no limit', (t) => {
  t.equal(sent({}, 'claude-sonnet-4-5').max_tokens, 64_000);
  t.equal(sent({}, 'claude-opus-4-8').max_tokens, 128_000);
  t.equal(sent({ max_tokens: null }, '').max_tokens, 128_000);
  t.equal(sent({ max_tokens: 7, max_completion_tokens: 9 }).max_tokens, 9);
  const { model } = claude('claude-sonnet-4-5');
  const uncapped = model === null ? null : { ...model, maxOutputTokens: 0 };
  t.match(chat.request({ messages: hi }, { upstreamModel: 'x', model: uncapped }), { body: { max_tokens: 128_000 } });
  const { body, dropped } = write({ max_tokens: 200_000 });
  t.equal(body.max_tokens, 64_000);
  t.same(dropped, ['max_tokens(200000->64000)']);
  t.end();
});

t.test('streams what could take longer than ten minutes, and tells the gateway', (t) => {
  t.match(write({}), { streamsUpstream: true, body: { stream: true } });
  t.match(write({ stream: true }), { streamsUpstream: undefined, body: { stream: true } });
  const short = write({ max_tokens: 21_333 });
  t.notOk('streamsUpstream' in short || 'stream' in short.body);
  t.end();
});

t.test('c21 brings the temperature down to 1, and says so', (t) => {
  const { body, dropped } = write({ temperature: 1.7 });
  t.equal(body.temperature, 1);
  t.same(dropped, ['temperature(1.7->1)']);
  t.end();
});

t.test('c22 leaves the temperature out where it would be refused', (t) => {
  for (const model of ['claude-opus-4-8', '']) {
    const { body, dropped } = write({ temperature: 0.2, top_p: 0.5, top_k: 3 }, model);
    t.notOk('temperature' in body || 'top_p' in body || 'top_k' in body);
    t.same(dropped, ['temperature', 'top_p', 'top_k']);
  }
  t.same(write({ temperature: 1, top_p: 1 }, 'claude-opus-4-8').dropped, [], 'what is the default goes without a word');
  t.end();
});

t.test('sends as many knobs as the family takes', (t) => {
  const knobs = { temperature: 0.2, top_p: 0.5, top_k: 3 };
  t.match(write(knobs, 'claude-opus-4-6'), { body: knobs, dropped: [] });
  t.match(write(knobs, 'claude-sonnet-4-5'), {
    body: { temperature: 0.2, top_p: undefined, top_k: 3 },
    dropped: ['top_p'],
  });
  t.match(write({ top_p: 0.5 }, 'claude-sonnet-4-5'), { body: { top_p: 0.5 }, dropped: [] });
  const thinking = write({ ...knobs, reasoning_effort: 'low' }, 'claude-opus-4-6');
  t.same(thinking.dropped, ['temperature', 'top_p', 'top_k'], 'none of them while it thinks');
  t.end();
});

t.test('c28 sends an image of a data URL as base64', (t) => {
  const image = (url: string): JsonValue | undefined =>
    at(sentMessages([user({ type: 'image_url', image_url: { url } })]), 0, 'content', 0);
  t.same(image('data:image/png;base64,iVBORw0KGgo='), {
    type: 'image',
    source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' },
  });
  t.same(at(image('data:image/jpg;base64,/9j/'), 'source', 'media_type'), 'image/jpeg');
  t.same(image('data:application/pdf;base64,JVBERi0='), {
    type: 'document',
    source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0=' },
  });
  const error = refusal({
    messages: [user(text('x'), { type: 'image_url', image_url: { url: 'data:image/bmp;base64,Qk0=' } })],
  });
  t.match(error, { status: 400, code: 'invalid_value', param: 'messages[0].content[1]' });
  t.match(error.message, /image\/bmp.*jpeg, png, gif and webp/);
  t.end();
});

t.test('c29 sends the address of an image, and of a document', (t) => {
  const block = (url: string): JsonValue | undefined =>
    at(sentMessages([user({ type: 'image_url', image_url: url })]), 0, 'content', 0);
  t.same(block('https://example.com/a.png'), {
    type: 'image',
    source: { type: 'url', url: 'https://example.com/a.png' },
  });
  t.same(block('https://example.com/a.PDF?x=1'), {
    type: 'document',
    source: { type: 'url', url: 'https://example.com/a.PDF?x=1' },
  });
  t.match(refusal({ messages: [user({ type: 'image_url', image_url: { url: 'file:///etc/passwd' } })] }), {
    code: 'invalid_value',
  });
  t.end();
});

t.test('c76 sends a PDF as a document with its title, and text as text', (t) => {
  const file = (data: string, filename = 'a.pdf'): JsonValue | undefined =>
    at(sentMessages([user({ type: 'file', file: { file_data: data, filename } })]), 0, 'content', 0);
  const pdf = {
    type: 'document',
    source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0=' },
    title: 'a.pdf',
  };
  t.same(file('data:application/pdf;base64,JVBERi0='), pdf);
  t.same(file('JVBERi0='), pdf, 'bare base64 as well');
  t.same(file(`data:text/csv;base64,${Buffer.from('a;ø').toString('base64')}`, 'a.csv'), {
    type: 'document',
    source: { type: 'text', media_type: 'text/plain', data: 'a;ø' },
    title: 'a.csv',
  });
  t.same(at(file('data:text/plain,a%20b'), 'source', 'data'), 'a b');
  t.match(
    refusal({ messages: [user({ type: 'file', file: { file_data: 'data:text/plain,%E0%A4%A', filename: 'a' } })] }),
    { code: 'invalid_value' },
  );
  t.end();
});

t.test('c77 refuses what cannot be said, with its place', (t) => {
  for (const part of [
    { type: 'input_audio', input_audio: { data: 'x', format: 'wav' } },
    { type: 'file', file: { file_id: 'file-1' } },
  ]) {
    t.match(refusal({ messages: [...hi, user(text('x'), part)] }), {
      status: 400,
      code: 'unsupported_parameter',
      param: 'messages[1].content[1]',
    });
  }
  t.match(refusal({ tools: [{ type: 'custom', custom: { name: 'c' } }] }), {
    code: 'unsupported_parameter',
    param: 'tools[0]',
  });
  for (const [name, value] of Object.entries({
    n: 2,
    modalities: ['text', 'audio'],
    audio: { voice: 'v' },
    moderation: { a: 1 },
  })) {
    t.match(refusal({ [name]: value }), { code: 'unsupported_parameter', param: name });
  }
  t.same(write({ n: 1, modalities: ['text'] }).dropped, []);
  t.match(refusal({ messages: [{ role: 'critic', content: 'x' }] }), {
    code: 'invalid_value',
    param: 'messages[0].role',
  });
  t.match(refusal({ reasoning_effort: 'huge' }), { code: 'invalid_value', param: 'reasoning_effort' });
  t.end();
});

t.test('c73 turns parallel calls off inside the choice of tools', (t) => {
  const choice = (body: JsonObject): JsonValue | undefined =>
    sent({ tools: [weather], parallel_tool_calls: false, ...body }).tool_choice;
  t.same(choice({}), { type: 'auto', disable_parallel_tool_use: true });
  t.same(choice({ tool_choice: 'required' }), { type: 'any', disable_parallel_tool_use: true });
  t.same(choice({ tool_choice: 'none' }), { type: 'none' });
  t.notOk('tool_choice' in sent({ parallel_tool_calls: false }), 'without tools it asks for nothing');
  t.end();
});

t.test('c74 offers only the allowed tools', (t) => {
  const body = sent({
    tools: [weather, now],
    tool_choice: { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: [now] } },
  });
  t.same(body.tools, [{ name: 'now', input_schema: { type: 'object', properties: {} } }]);
  t.same(body.tool_choice, { type: 'any' });
  t.end();
});

t.test('knows every other choice of tools', (t) => {
  const choice = (value: JsonValue): JsonValue | undefined =>
    sent({ tools: [weather], tool_choice: value }).tool_choice;
  t.same(choice('auto'), { type: 'auto' });
  t.same(choice('none'), { type: 'none' });
  t.same(choice({ type: 'function', function: { name: 'weather' } }), { type: 'tool', name: 'weather' });
  t.same(choice({ type: 'any' }), { type: 'any' }, "Anthropic's own form");
  t.same(write({ tools: [], tool_choice: 'auto' }).dropped, []);
  t.notOk('tools' in sent({ tools: [] }));
  t.match(refusal({ tools: [weather], tool_choice: { type: 'custom', custom: { name: 'c' } } }), {
    param: 'tool_choice',
  });
  t.end();
});

t.test('c71 lets the model choose where it may not be forced, and says so', (t) => {
  const forced = { tools: [weather], tool_choice: 'required', reasoning_effort: 'low' };
  t.match(write(forced, 'claude-sonnet-4-5'), {
    body: { tool_choice: { type: 'auto' }, thinking: { type: 'enabled' } },
    dropped: ['tool_choice(required->auto)'],
  });
  t.match(write(forced, 'claude-opus-4-6'), { body: { tool_choice: { type: 'any' } }, dropped: [] });
  t.match(write({ tools: [weather], tool_choice: 'required' }, 'claude-sonnet-4-5').body.tool_choice, { type: 'any' });
  const named = { tools: [weather], tool_choice: { type: 'function', function: { name: 'weather' } } };
  t.same(write(named, 'claude-fable-5').body.tool_choice, { type: 'auto' });
  t.same(write(named, 'claude-fable-5').dropped, ['tool_choice(function->auto)']);
  t.end();
});

t.test('keeps strictness where the model has it, with a schema that it takes', (t) => {
  const tool = (extra: JsonObject): JsonObject => ({
    type: 'function',
    function: {
      name: 'f',
      description: '',
      parameters: {
        type: 'object',
        properties: { a: { type: 'integer', minimum: 1 } },
        $defs: { x: {} },
        additionalProperties: true,
      },
      ...extra,
    },
  });
  t.same(sent({ tools: [tool({ strict: true })] }).tools, [
    {
      name: 'f',
      strict: true,
      input_schema: {
        type: 'object',
        properties: { a: { type: 'integer', description: '{minimum: 1}' } },
        $defs: { x: {} },
        additionalProperties: false,
      },
    },
  ]);
  t.same(sent({ tools: [tool({ strict: false })] }).tools, [
    {
      name: 'f',
      input_schema: {
        type: 'object',
        properties: { a: { type: 'integer', minimum: 1 } },
        $defs: { x: {} },
        additionalProperties: true,
      },
    },
  ]);
  const old = write({ tools: [tool({ strict: true })] }, 'claude-3-haiku');
  t.same(old.dropped, ['tools.0.function.strict']);
  t.equal(at(old.body.tools, 0, 'input_schema', 'properties', 'a', 'minimum'), 1);
  t.end();
});

t.test("passes Anthropic's own tools and fields as they are", (t) => {
  const tools = [
    { type: 'web_search_20250305', name: 'web_search', max_uses: 2 },
    { name: 'n', input_schema: { type: 'object' } },
  ];
  const own = { container: 'c', mcp_servers: [{ name: 'x' }], context_management: { edits: [] } };
  const { body, dropped, headers } = write({ tools, ...own, betas: ['mcp-client-2025-04-04', 'bad header\r\n'] });
  t.match(body, { tools, ...own });
  t.same(dropped, ['betas']);
  t.same(headers, { 'anthropic-beta': 'mcp-client-2025-04-04' });
  t.same(
    write({ speed: 'fast', inference_geo: 'us' }).dropped,
    ['speed', 'inference_geo'],
    'what the catalogue has no price for',
  );
  t.notOk('betas' in body);
  t.match(at(sent({ tools: [{ ...weather, defer_loading: true }] }).tools, 0), {
    name: 'weather',
    defer_loading: true,
  });
  t.same(sent({ system: 'Zero.', messages: [{ role: 'system', content: 'One.' }, ...hi] }).system, [
    text('Zero.'),
    text('One.'),
  ]);
  t.end();
});

t.test('declares the tools of a history whose caller offers none any more', (t) => {
  const messages = [
    ...hi,
    { role: 'assistant', tool_calls: [called('a', 'gone')] },
    { role: 'tool', tool_call_id: 'a', content: '1' },
  ];
  const body = sent({ messages });
  t.same(body.tools, [{ name: 'gone', input_schema: { type: 'object', properties: {} } }]);
  t.same(body.tool_choice, { type: 'none' });
  t.end();
});

t.test('searches the web with the server tool', (t) => {
  const body = sent({
    web_search_options: {
      search_context_size: 'low',
      user_location: { type: 'approximate', approximate: { city: 'Oslo' } },
    },
  });
  t.same(body.tools, [
    {
      type: 'web_search_20250305',
      name: 'web_search',
      max_uses: 1,
      user_location: { type: 'approximate', city: 'Oslo' },
    },
  ]);
  t.end();
});

t.test('c108 turns legacy functions into tools', (t) => {
  const body = sent({
    functions: [{ name: 'now' }],
    function_call: { name: 'now' },
    messages: [
      ...hi,
      { role: 'assistant', content: null, function_call: { name: 'now', arguments: '{"a":1}' } },
      { role: 'function', name: 'now', content: '12:00' },
    ],
  });
  t.same(body.tools, [{ name: 'now', input_schema: { type: 'object', properties: {} } }]);
  t.same(body.tool_choice, { type: 'tool', name: 'now' });
  t.same(at(body.messages, 1, 'content'), [{ type: 'tool_use', id: 'call_legacy_1', name: 'now', input: { a: 1 } }]);
  t.same(at(body.messages, 2, 'content'), [{ type: 'tool_result', tool_use_id: 'call_legacy_1', content: '12:00' }]);
  t.match(refusal({ messages: [{ role: 'function', name: 'f', content: 'x' }] }), { status: 400 });
  t.end();
});

t.test('c75 sends stop sequences, and leaves blank ones out', (t) => {
  t.same(sent({ stop: 'END' }).stop_sequences, ['END']);
  const { body, dropped } = write({ stop: ['a', '\n', 'b'] });
  t.same(body.stop_sequences, ['a', 'b']);
  t.same(dropped, ['stop.1']);
  t.notOk('stop_sequences' in sent({ stop: null }));
  t.end();
});

t.test('c81 leaves out what says nothing, and joins what stood around it', (t) => {
  const messages = sentMessages([
    { role: 'user', content: 'a' },
    { role: 'assistant', content: '' },
    { role: 'user', content: [text(' '), text('b')] },
    { role: 'assistant', content: null, refusal: 'No.' },
    { role: 'assistant', content: 'But:', refusal: 'No.' },
    { role: 'user', content: null },
    { role: 'user', content: 'c' },
  ]);
  t.same(messages, [
    user(text('a'), text('b')),
    { role: 'assistant', content: [text('No.'), text('But:')] },
    user(text('c')),
  ]);
  t.end();
});

t.test('c82 wraps arguments that are no object', (t) => {
  const input = (written: string): JsonValue | undefined =>
    at(
      sentMessages([
        ...hi,
        { role: 'assistant', tool_calls: [called('a', 'f', written)] },
        { role: 'tool', tool_call_id: 'a', content: 'x' },
      ]),
      1,
      'content',
      0,
      'input',
    );
  t.same(input('{"a":'), { invalid_json: '{"a":' });
  t.same(input('[1]'), { value: [1] });
  t.same(input('7'), { value: 7 });
  t.same(input('null'), {});
  t.same(input(''), {});
  t.same(input('{"a":1}'), { a: 1 });
  t.end();
});

t.test('c123 gives each call an id of its own and finds its result', (t) => {
  const turn = (content: string): JsonObject[] => [
    { role: 'assistant', tool_calls: [called('call.0', 'f')] },
    { role: 'tool', tool_call_id: 'call.0', content },
  ];
  const messages = [...hi, ...turn('one'), ...turn('two')];
  const written = sentMessages(messages);
  t.equal(at(written, 1, 'content', 0, 'id'), 'call_0');
  t.equal(at(written, 2, 'content', 0, 'tool_use_id'), 'call_0');
  t.equal(at(written, 3, 'content', 0, 'id'), 'call_0_2');
  t.equal(at(written, 4, 'content', 0, 'tool_use_id'), 'call_0_2');
  t.same(sentMessages(messages), written, 'the same history gives the same ids');
  const twins = sentMessages([
    ...hi,
    { role: 'assistant', tool_calls: [called('', 'f'), called('', 'g')] },
    { role: 'tool', tool_call_id: '', content: 'f' },
    { role: 'tool', tool_call_id: '', content: 'g' },
  ]);
  t.same([at(twins, 2, 'content', 0, 'tool_use_id'), at(twins, 2, 'content', 1, 'tool_use_id')], ['call', 'call_2']);
  t.equal(
    at(sentMessages([...hi, { role: 'tool', tool_call_id: 'lost+1', content: 'x' }]), 0, 'content', 0, 'tool_use_id'),
    'lost_1',
  );
  t.end();
});

t.test('c109 marks the cache in both spellings, and at most four times', (t) => {
  const mark = { type: 'ephemeral', ttl: '1h' };
  const body = sent({
    tools: [{ ...weather, cache_control: mark }],
    messages: [
      { role: 'system', content: [{ ...text('s'), prompt_cache_breakpoint: { mode: 'explicit' } }] },
      { role: 'user', content: [text('a'), text('b')], cache_control: mark },
    ],
  });
  t.same(at(body.tools, 0, 'cache_control'), mark);
  t.same(at(body.system, 0, 'cache_control'), { type: 'ephemeral' });
  t.same(at(body.messages, 0, 'content'), [text('a'), { ...text('b'), cache_control: mark }]);
  const within = { type: 'function', function: { name: 'f', cache_control: mark } };
  t.same(at(sent({ tools: [within] }).tools, 0, 'cache_control'), mark);
  const parts = ['1', '2', '3', '4', '5'].map((name) => ({ ...text(name), cache_control: mark }));
  const marked = (change: RequestRewrite): JsonValue[] =>
    (at(change.body.messages, 0, 'content') as JsonObject[])
      .filter((block) => 'cache_control' in block)
      .map((block) => block.text ?? null);
  const five = write({ messages: [user(...parts)] });
  t.same(marked(five), ['2', '3', '4', '5'], 'the last four win');
  t.same(five.dropped, ['cache_control(5->4)']);
  t.same(
    marked(write({ messages: [user(...parts)], cache_control: mark })),
    ['3', '4', '5'],
    'one on the whole request counts',
  );
  t.same(parts[0]?.cache_control, mark, "the caller's part is untouched");
  t.end();
});

t.test('marks a result of a tool, not the text in it', (t) => {
  const mark = { type: 'ephemeral' };
  const messages = sentMessages([
    ...hi,
    { role: 'assistant', tool_calls: [called('a', 'f')] },
    { role: 'tool', tool_call_id: 'a', content: [{ ...text('x'), cache_control: mark }] },
  ]);
  t.same(at(messages, 2, 'content'), [
    { type: 'tool_result', tool_use_id: 'a', content: [text('x')], cache_control: mark },
  ]);
  t.end();
});

t.test('c110 keeps a later system message in its place where the model takes it, and hoists it elsewhere', (t) => {
  const messages = [
    ...hi,
    { role: 'assistant', content: 'yes' },
    { role: 'system', content: 'Shorter.' },
    { role: 'user', content: 'and?' },
  ];
  const inline = write({ messages }, 'claude-opus-4-8');
  t.same(inline.body.messages, [
    user(text('hi')),
    { role: 'assistant', content: [text('yes')] },
    user(text('and?')),
    { role: 'system', content: [text('Shorter.')] },
  ]);
  t.same(inline.headers, { 'anthropic-beta': 'mid-conversation-system-2026-04-07' });
  t.notOk('system' in inline.body);
  const hoisted = write({ messages }, 'claude-sonnet-4-5');
  t.same(hoisted.body.system, [text('Shorter.')]);
  t.equal((hoisted.body.messages as JsonValue[]).length, 3);
  const between = write(
    {
      messages: [
        ...hi,
        { role: 'system', content: 'A.' },
        { role: 'developer', content: 'B.' },
        { role: 'assistant', content: 'x' },
        { role: 'system', content: 'C.' },
        { role: 'assistant', content: 'y' },
        ...hi,
      ],
    },
    'claude-opus-4-8',
  );
  t.same(at(between.body.messages, 1), { role: 'system', content: [text('A.'), text('B.')] }, 'two are one');
  t.same(between.body.system, [text('C.')], 'one that would stand after an answer is hoisted');
  t.end();
});

t.test('c116 refuses to go on from the last answer where the model cannot', (t) => {
  const messages = [...hi, { role: 'assistant', content: 'The answer is  ' }];
  t.same(sentMessages(messages, 'claude-sonnet-4-5'), [
    user(text('hi')),
    { role: 'assistant', content: [text('The answer is')] },
  ]);
  for (const model of ['claude-opus-4-6', 'claude-sonnet-5', '']) {
    const error = refusal({ messages }, model);
    t.match(error, { status: 400, param: 'messages' });
    t.match(error.message, /End `messages` with a message of the user/);
  }
  t.end();
});

t.test('names the user, the tier, and drops what has no place', (t) => {
  t.same(sent({ user: 'u', safety_identifier: 's' }).metadata, { user_id: 's' });
  t.same(sent({ user: 'u', metadata: { team: 'x' } }).metadata, { user_id: 'u' });
  for (const [asked, tier] of Object.entries({
    auto: 'auto',
    default: 'standard_only',
    priority: 'auto',
    fast: 'auto',
  })) {
    t.equal(sent({ service_tier: asked }).service_tier, tier);
  }
  t.same(write({ service_tier: 'flex' }).dropped, ['service_tier']);
  const noise = {
    seed: 1,
    logit_bias: { a: 1 },
    logprobs: true,
    top_logprobs: 2,
    presence_penalty: 1,
    prediction: { x: 1 },
    store: true,
    verbosity: 'low',
    prompt_cache_key: 'k',
    foo: 1,
  };
  t.same(write(noise).dropped.toSorted(), Object.keys(noise).toSorted());
  t.same(
    write({
      logit_bias: {},
      logprobs: false,
      top_logprobs: 0,
      presence_penalty: 0,
      frequency_penalty: 0,
      store: false,
      stop: [],
    }).dropped,
    [],
  );
  t.same(
    write({
      messages: [
        { role: 'user', content: 'x', name: 'ann' },
        { role: 'assistant', content: 'y', audio: { id: 'a' } },
        ...hi,
      ],
    }).dropped,
    ['messages.0.name', 'messages.1.audio'],
  );
  t.end();
});

t.test('refuses a conversation in which nothing is said', (t) => {
  t.match(refusal({ messages: [{ role: 'user', content: ' ' }] }), { status: 400, param: 'messages' });
  t.end();
});

t.test('makes a request or a clear refusal of any odd body, and leaves the body alone', (t) => {
  const path = join(import.meta.dirname, '../fixtures/providers/anthropic/request.json');
  const whole = readFileSync(path, 'utf8');
  const random = seededRandom(7);
  const pick = <T>(list: readonly T[]): T | undefined => list[Math.floor(random() * list.length)];
  const models = ['claude-3-haiku', 'claude-sonnet-4-5', 'claude-opus-4-8', 'claude-fable-5', ''];
  let refused = 0;
  for (let round = 0; round < 2000; round += 1) {
    const body = JSON.parse(whole) as JsonObject;
    if (round % 2 === 0)
      body.response_format = {
        type: 'json_schema',
        json_schema: { name: 'a', schema: { type: 'object', properties: { a: { oneOf: [{}] } } } },
      };
    spoil(body, random);
    const before = JSON.stringify(body);
    const error = thrownBy(() => write(body, pick(models)));
    if (error !== undefined) refused += 1;
    const isClear = error instanceof GatewayError && error.status === 400;
    if (error !== undefined && !isClear) t.fail(before);
    if (JSON.stringify(body) !== before) t.fail(`changed: ${before}`);
  }
  t.ok(refused > 50 && refused < 1500, `${refused} were refused`);
  t.end();
});

t.test('c38 takes null for absent', (t) => {
  const names = [
    'temperature',
    'tools',
    'stop',
    'tool_choice',
    'response_format',
    'reasoning_effort',
    'n',
    'user',
    'service_tier',
    'functions',
    'seed',
    'top_k',
    'thinking',
    'container',
  ];
  const { body, dropped } = write(Object.fromEntries(names.map((name) => [name, null])));
  t.same(Object.keys(body).toSorted(), ['max_tokens', 'messages', 'model', 'stream']);
  t.same(dropped, []);
  t.end();
});

t.test('c78 refuses more than one answer', (t) => {
  t.match(refusal({ n: 2 }), { status: 400, param: 'n' });
  t.end();
});
