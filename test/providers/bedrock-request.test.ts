/** What becomes of a Chat Completions body at Bedrock, rule by rule. Spec: fidelity 5.4 and 10, BR. */
import t from 'tap';
import { bedrock } from '../../providers/bedrock.ts';
import type { ModelAbilities, ModelSpec } from '../../src/contract/flow.ts';
import type { JsonObject } from '../../src/contract/json.ts';
import type { Asset, ChatEndpoint, RequestRewrite } from '../../src/contract/provider.ts';
import { at, parseObject, textAt, thrownBy } from '../support/json-at.ts';

const chat = bedrock.endpoints.chat as ChatEndpoint;
const sonnet = 'us.anthropic.claude-sonnet-4-5-20250929-v1:0';
const newest = 'global.anthropic.claude-next-v1';
const nova = 'us.amazon.nova-lite-v1:0';

/** As the catalogue would have it. */
const known = (abilities: ModelAbilities, maxOutputTokens = 0): ModelSpec => ({
  id: 'bedrock/m',
  providerId: 'bedrock',
  upstreamModel: 'm',
  name: 'm',
  contextTokens: 200_000,
  maxOutputTokens,
  inputModalities: ['text'],
  outputModalities: ['text'],
  supportedParameters: [],
  price: null,
  abilities,
  created: 0,
});

function write(model: string, body: JsonObject, assets?: ReadonlyMap<string, Asset>): RequestRewrite {
  const whole = { model: 'm', messages: [{ role: 'user', content: 'hi' }], ...body };
  const change = chat.request(whole, { upstreamModel: model, model: null }, assets);
  if (!('body' in change)) throw new Error('a Converse request is written anew');
  return change;
}

const sent = (model: string, body: JsonObject): JsonObject => write(model, body).body;
const user = (...content: JsonObject[]): JsonObject => ({ messages: [{ role: 'user', content }] });
const blocksOf = (part: JsonObject): unknown => at(sent(sonnet, user(part)), 'messages', 0, 'content');
const image = (url: string): JsonObject => ({ type: 'image_url', image_url: { url } });
const file = (file_data: string, filename = 'a.pdf'): JsonObject => ({ type: 'file', file: { file_data, filename } });
const tool = (name: string, more: JsonObject = {}): JsonObject => ({ type: 'function', function: { name }, ...more });
const call = (id: string, name = 'f'): JsonObject => ({ id, type: 'function', function: { name, arguments: '{}' } });

t.test('takes the region from its setting, and its partition from the region', (t) => {
  const at = (region: string) => bedrock.configure?.({ region });
  t.match(at('eu-west-1'), {
    baseUrl: 'https://bedrock-runtime.eu-west-1.amazonaws.com',
    signing: { scheme: 'sigv4', service: 'bedrock', region: 'eu-west-1' },
  });
  t.equal(at('cn-north-1')?.baseUrl, 'https://bedrock-runtime.cn-north-1.amazonaws.com.cn');
  const pattern = bedrock.settings?.region?.pattern ?? /^$/;
  for (const region of ['us-east-1', 'us-gov-west-1', 'ap-southeast-4', 'mx-central-1']) t.match(region, pattern);
  for (const region of ['', 'us-east-1.evil.example', 'us-east-1/', 'US-EAST-1', 'east']) t.notMatch(region, pattern);
  t.end();
});

t.test('names the model in the path, whatever is in its name', (t) => {
  const target = { upstreamModel: 'arn:aws:bedrock:us-east-1:1:inference-profile/us.x-v1:0', model: null };
  t.equal(
    chat.path(target, true),
    '/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x-v1%3A0/converse-stream',
  );
  t.equal(at(sent(nova, {}), 'model'), undefined);
  t.end();
});

t.test('gives images and documents as bytes in the formats that Converse names', (t) => {
  for (const [url, format] of [
    ['data:image/png;base64,AAAA', 'png'],
    ['data:image/jpg;base64,AAAA', 'jpeg'],
    ['data:IMAGE/JPEG;base64,AAAA', 'jpeg'],
    ['data:image/webp;base64,AAAA', 'webp'],
    ['data:image/gif;base64,AAAA', 'gif'],
  ] as const) {
    t.same(blocksOf(image(url)), [{ image: { format, source: { bytes: 'AAAA' } } }]);
  }
  t.same(blocksOf({ type: 'image_url', image_url: 'data:image/png;base64,AAAA' }), [
    { image: { format: 'png', source: { bytes: 'AAAA' } } },
  ]);
  for (const [type, format] of [
    ['application/pdf', 'pdf'],
    ['text/plain', 'txt'],
    ['text/markdown', 'md'],
    ['text/csv', 'csv'],
    ['text/html', 'html'],
    ['text/x-log', 'txt'],
    ['application/json', 'txt'],
    ['application/vnd.openxmlformats-officedocument.wordprocessingml.document', 'docx'],
    ['application/vnd.ms-excel', 'xls'],
  ] as const) {
    t.same(blocksOf(file(`data:${type};base64,AAAA`)), [
      { document: { name: 'a', format, source: { bytes: 'AAAA' } } },
    ]);
  }
  t.same(blocksOf(file('AAAA', '')), [{ document: { name: 'document', format: 'pdf', source: { bytes: 'AAAA' } } }]);
  t.match(blocksOf(file('DATA:text/plain,a%20b')), [{ document: { format: 'txt', source: { bytes: 'YSBi' } } }]);
  t.match(blocksOf(file('data:text/plain,a%20b')), [{ document: { source: { bytes: 'YSBi' } } }]);
  t.match(blocksOf(image('data:application/pdf;base64,AAAA')), [{ document: { format: 'pdf' } }]);
  t.end();
});

t.test('names documents as Converse allows, each once', (t) => {
  const names = (...filenames: string[]): unknown[] => {
    const blocks = at(sent(sonnet, user(...filenames.map((name) => file('AAAA', name)))), 'messages', 0, 'content');
    return (blocks as JsonObject[]).map((block) => at(block, 'document', 'name'));
  };
  t.same(names('a.pdf', 'a.pdf', 'A [1] (b)-c.pdf', 'über_uns  2.pdf', '???', 'x'.repeat(300)), [
    'a',
    'a (2)',
    'A [1] (b)-c',
    'ber uns 2',
    'document',
    'x'.repeat(180),
  ]);
  t.end();
});

t.test('uses the bytes that were fetched, and says what to send where they were not', (t) => {
  const url = 'https://images.example/a';
  const body = user({ type: 'text', text: 'x' }, image(url), image('data:image/png;base64,AAAA'));
  t.same(chat.assets?.({ model: 'm', ...body }, { upstreamModel: sonnet, model: null }), [url]);
  const assets = new Map([[url, { mediaType: 'image/webp', base64: 'BBBB' }]]);
  t.match(at(write(sonnet, body, assets).body, 'messages', 0, 'content', 1), {
    image: { format: 'webp', source: { bytes: 'BBBB' } },
  });
  t.match(
    thrownBy(() => write(sonnet, body)),
    { status: 400, param: 'messages[0].content[1]', message: /data URL/ },
  );
  for (const [part, message] of [
    [image('ftp://x'), /https URL or a data URL/],
    [image('data:image/bmp;base64,AAAA'), /holds image\/bmp/],
    [file('data:text/plain,%E0%A4%A'), /not percent-encoded/],
  ] as const) {
    t.match(
      thrownBy(() => write(sonnet, user(part))),
      { status: 400, code: 'invalid_value', param: 'messages[0].content[0]', message },
    );
  }
  t.match(
    thrownBy(() => write(sonnet, user({ type: 'file', file: { file_id: 'f' } }))),
    { code: 'unsupported_parameter', param: 'messages[0].content[0]' },
  );
  t.end();
});

t.test("passes on what the caller wrote in Converse's own words", (t) => {
  const video = { video: { format: 'mp4', source: { s3Location: { uri: 's3://b/k' } } } };
  const body = sent(sonnet, {
    ...user(video, { guardContent: { text: { text: 'x' } } }),
    max_tokens: 5,
    inferenceConfig: { maxTokens: 6 },
    additionalModelRequestFields: { anthropic_beta: ['x'] },
    top_k: 2,
    requestMetadata: { team: 'a' },
    performanceConfig: { latency: 'optimized' },
    tools: [{ systemTool: { name: 'nova_grounding' } }],
  });
  t.same(at(body, 'messages', 0, 'content'), [video, { guardContent: { text: { text: 'x' } } }]);
  t.same(body.inferenceConfig, { maxTokens: 6 }, 'and it wins');
  t.same(body.additionalModelRequestFields, { top_k: 2, anthropic_beta: ['x'] });
  t.same(body.requestMetadata, { team: 'a' });
  t.same(body.performanceConfig, { latency: 'optimized' });
  t.same(body.toolConfig, { tools: [{ systemTool: { name: 'nova_grounding' } }] });
  t.match(
    thrownBy(() => write(sonnet, { web_search_options: { search_context_size: 'low' } })),
    { code: 'unsupported_parameter', param: 'web_search_options' },
  );
  t.end();
});

t.test('c81 leaves out what says nothing, and never sends a block or a result without content', (t) => {
  const body = sent(sonnet, {
    messages: [
      { role: 'system', content: ' ' },
      { role: 'user', content: 'hi' },
      { role: 'assistant', content: '' },
      {
        role: 'user',
        content: [
          { type: 'text', text: '' },
          { type: 'text', text: 'there' },
        ],
      },
      { role: 'assistant', content: null, tool_calls: [call('a')] },
      { role: 'tool', tool_call_id: 'a', content: [] },
      { role: 'tool', tool_call_id: 'a', content: ' \n' },
    ],
  });
  t.same(body.messages, [
    { role: 'user', content: [{ text: 'hi' }, { text: 'there' }] },
    { role: 'assistant', content: [{ toolUse: { toolUseId: 'a', name: 'f', input: {} } }] },
    {
      role: 'user',
      content: Array.from({ length: 2 }, () => ({
        toolResult: { toolUseId: 'a', content: [{ text: '(no output)' }] },
      })),
    },
  ]);
  t.equal(body.system, undefined);
  t.end();
});

t.test('puts results first, with what they hold, and says a failure only when the caller did', (t) => {
  const body = sent(sonnet, {
    messages: [
      { role: 'user', content: 'hi' },
      { role: 'assistant', content: 'x', tool_calls: [call('a'), call('b:1')] },
      { role: 'user', content: 'wait' },
      {
        role: 'tool',
        tool_call_id: 'b:1',
        content: [image('data:image/png;base64,AAAA'), { type: 'text', text: 'y' }],
      },
      { role: 'tool', tool_call_id: 'a', content: 'broken', is_error: true },
      { role: 'tool', tool_call_id: 'a', content: 'mended', is_error: false },
    ],
  });
  t.same(at(body, 'messages', 2, 'content'), [
    {
      toolResult: {
        toolUseId: 'b_1',
        content: [{ image: { format: 'png', source: { bytes: 'AAAA' } } }, { text: 'y' }],
      },
    },
    { toolResult: { toolUseId: 'a', content: [{ text: 'broken' }], status: 'error' } },
    { toolResult: { toolUseId: 'a', content: [{ text: 'mended' }] } },
    { text: 'wait' },
  ]);
  t.same(at(body, 'toolConfig', 'tools', 0, 'toolSpec', 'name'), 'f', 'the history needs its tools declared');
  t.end();
});

t.test('writes the choice of a tool, and leaves the tools out for none', (t) => {
  const tools = [tool('f'), tool('g')];
  const choice = (tool_choice: JsonObject | string, model = sonnet): unknown =>
    at(sent(model, { tools, tool_choice }), 'toolConfig', 'toolChoice');
  t.same(choice('auto'), { auto: {} });
  t.same(choice('required'), { any: {} });
  t.same(choice({ type: 'function', function: { name: 'f' } }), { tool: { name: 'f' } });
  t.equal(sent(sonnet, { tools, tool_choice: 'none' }).toolConfig, undefined);
  t.equal(at(sent(sonnet, { tools }), 'toolConfig', 'toolChoice'), undefined);
  const called = [
    { role: 'user', content: 'hi' },
    { role: 'assistant', tool_calls: [call('a')] },
    { role: 'tool', tool_call_id: 'a', content: 'x' },
  ];
  const kept = write(sonnet, { messages: called, tools, tool_choice: 'none' });
  t.equal((at(kept.body, 'toolConfig', 'tools') as unknown[]).length, 2, 'the history calls them');
  t.equal(at(kept.body, 'toolConfig', 'toolChoice'), undefined);
  t.same(kept.dropped, ['tool_choice(none->auto)']);
  const legacy = write(sonnet, { messages: called, functions: [{ name: 'f' }], function_call: 'none' });
  t.same(legacy.dropped, ['function_call(none->auto)']);
  t.same(write(sonnet, { messages: called }).dropped, [], 'tools that were not offered are no choice');
  const mistral = sent('eu.mistral.pixtral-large-2502-v1:0', { tools, tool_choice: tool('g') }).toolConfig;
  t.match(mistral, { tools: [{ toolSpec: { name: 'g' } }], toolChoice: { any: {} } }, 'none can be named there');
  t.equal((at(mistral as JsonObject, 'tools') as unknown[]).length, 1);
  t.same(choice('required', 'mistral.mistral-large-2407-v1:0'), { any: {} });
  t.same(write('us.meta.llama4-maverick-17b-instruct-v1:0', { tools, tool_choice: 'required' }), {
    body: {
      messages: [{ role: 'user', content: [{ text: 'hi' }] }],
      toolConfig: {
        tools: ['f', 'g'].map((name) => ({
          toolSpec: { name, inputSchema: { json: { type: 'object', properties: {} } } },
        })),
        toolChoice: { auto: {} },
      },
    },
    dropped: ['tool_choice(required->auto)'],
  });
  t.end();
});

t.test('answers by a schema natively, or by a tool that must be called', (t) => {
  const response_format = {
    type: 'json_schema',
    json_schema: {
      name: 'city',
      description: 'A city.',
      schema: { type: 'object', properties: { a: { minimum: 1 } } },
    },
  };
  for (const model of [sonnet, newest, 'minimax.minimax-m2', 'openai.gpt-oss-20b-1:0', 'qwen.qwen3-32b-v1:0']) {
    const body = sent(model, { response_format });
    const format = at(body, 'outputConfig', 'textFormat', 'structure', 'jsonSchema');
    t.match(format, { name: 'city', description: 'A city.' }, model);
    t.same(parseObject(textAt(format, 'schema')), {
      type: 'object',
      properties: { a: { description: '{minimum: 1}' } },
      additionalProperties: false,
    });
    t.equal(body.toolConfig, undefined);
  }
  for (const model of [nova, 'us.anthropic.claude-3-5-haiku-20241022-v1:0', 'somebody.else']) {
    const body = sent(model, { response_format });
    t.equal(body.outputConfig, undefined, model);
    t.match(body.toolConfig, { tools: [{ toolSpec: { name: 'json', description: 'A city.' } }] });
    t.same(at(body, 'toolConfig', 'toolChoice'), { tool: { name: 'json' } });
  }
  t.match(at(sent(nova, { response_format: { type: 'json_object' } }), 'system', 0), { text: /JSON/ });
  const thinking = write('us.anthropic.claude-3-7-sonnet-20250219-v1:0', { response_format, reasoning_effort: 'low' });
  t.same(at(thinking.body, 'toolConfig', 'toolChoice'), { tool: { name: 'json' } });
  t.same(thinking.dropped, ['reasoning_effort'], 'forced to call, it cannot think');
  t.end();
});

t.test('asks each family for reasoning in its own words', (t) => {
  const fields = (model: string, reasoning_effort: string, more: JsonObject = {}): [unknown, readonly string[]] => {
    const { body, dropped } = write(model, { reasoning_effort, ...more });
    return [body.additionalModelRequestFields, dropped];
  };
  t.same(fields(sonnet, 'low'), [{ thinking: { type: 'enabled', budget_tokens: 6400 } }, []]);
  t.same(fields(sonnet, 'none'), [{ thinking: { type: 'disabled' } }, []]);
  t.same(at(sent(sonnet, { reasoning_effort: 'low', max_tokens: 100 }), 'inferenceConfig'), { maxTokens: 6500 });
  t.same(at(sent(sonnet, { reasoning_effort: 'low' }), 'inferenceConfig'), { maxTokens: 64_000 });
  const adaptive = { type: 'adaptive', display: 'summarized' };
  t.same(fields(newest, 'xhigh'), [{ thinking: adaptive, output_config: { effort: 'xhigh' } }, []]);
  t.same(fields('anthropic.claude-opus-4-6-v1', 'xhigh'), [
    { thinking: adaptive, output_config: { effort: 'max' } },
    [],
  ]);
  t.same(fields('openai.gpt-oss-120b-1:0', 'minimal'), [{ reasoning_effort: 'low' }, []]);
  t.same(fields('openai.gpt-oss-120b-1:0', 'max'), [{ reasoning_effort: 'high' }, []]);
  t.same(fields('openai.gpt-oss-120b-1:0', 'none'), [undefined, ['reasoning_effort']], 'it always thinks');
  t.same(fields('us.amazon.nova-2-lite-v1:0', 'medium'), [
    { reasoningConfig: { type: 'enabled', maxReasoningEffort: 'medium' } },
    [],
  ]);
  t.same(fields('us.amazon.nova-2-lite-v1:0', 'none'), [{ reasoningConfig: { type: 'disabled' } }, []]);
  t.same(fields(nova, 'high'), [undefined, ['reasoning_effort']]);
  t.same(fields('us.anthropic.claude-3-haiku-20240307-v1:0', 'high'), [undefined, ['reasoning_effort']]);
  const own = { thinking: { type: 'enabled', budget_tokens: 2000 } };
  t.same(fields(sonnet, 'low', own), [own, ['reasoning_effort']], "a client's own object wins");
  t.same(fields('somebody.else', 'low', own), [own, ['reasoning_effort']]);
  t.match(
    thrownBy(() => write(nova, { reasoning_effort: 'much' })),
    { status: 400, param: 'reasoning_effort' },
  );
  t.end();
});

t.test('does not think where the reasoning of the last call is lost, and keeps none that nobody signed', (t) => {
  const history = (more: JsonObject): JsonObject => ({
    messages: [
      { role: 'user', content: 'hi' },
      { role: 'assistant', tool_calls: [call('a')], ...more },
      { role: 'tool', tool_call_id: 'a', content: 'x' },
    ],
    reasoning_effort: 'low',
  });
  const lost = write(sonnet, history({ thinking_blocks: [{ type: 'thinking', thinking: 'x' }] }));
  t.same(lost.dropped, ['messages.1.thinking_blocks', 'reasoning_effort']);
  t.notMatch(JSON.stringify(lost.body), /reasoningContent|budget/);
  const empty = write(sonnet, history({ thinking_blocks: [{ type: 'thinking', thinking: '', signature: 's' }] }));
  t.match(at(empty.body, 'messages', 1, 'content', 0), {
    reasoningContent: { reasoningText: { text: '', signature: 's' } },
  });
  t.end();
});

t.test('marks the cache behind the marked, at most four times, and only where the family has a cache', (t) => {
  const cache_control = { type: 'ephemeral' };
  const marked = {
    messages: [
      { role: 'system', content: [{ type: 'text', text: 's', cache_control }] },
      {
        role: 'user',
        content: ['a', 'b', 'c'].map((text) => ({
          type: 'text',
          text,
          cache_control: { ...cache_control, ttl: '1h' },
        })),
      },
    ],
    tools: [tool('f', { cache_control })],
  };
  const point = { cachePoint: { type: 'default' } };
  const hour = { cachePoint: { type: 'default', ttl: '1h' } };
  const all = write(sonnet, marked);
  t.same(all.dropped, ['cache_control(5->4)'], 'the last ones hold the longest prefix');
  t.equal((at(all.body, 'toolConfig', 'tools') as unknown[]).length, 1);
  t.same(all.body.system, [{ text: 's' }, point]);
  t.same(at(all.body, 'messages', 0, 'content'), [{ text: 'a' }, hour, { text: 'b' }, hour, { text: 'c' }, hour]);
  const two = { ...marked, messages: marked.messages.slice(0, 1).concat({ role: 'user', content: [] }) };
  t.same(at(sent(sonnet, two), 'toolConfig', 'tools', 1), point);
  const onNova = write(nova, two);
  t.same(onNova.dropped, ['cache_control']);
  t.same(at(onNova.body, 'toolConfig', 'tools', 1), undefined);
  for (const model of [
    'us.meta.llama4-scout-17b-instruct-v1:0',
    'mistral.magistral-small-2509',
    'anthropic.claude-v2:1',
  ]) {
    const { body, dropped } = write(model, two);
    t.notMatch(JSON.stringify(body), /cache/, model);
    t.same(dropped, ['cache_control']);
  }
  const onImage = { ...image('data:image/png;base64,AAAA'), prompt_cache_breakpoint: { mode: 'explicit' } };
  t.same(blocksOf(onImage), [{ image: { format: 'png', source: { bytes: 'AAAA' } } }, point]);
  t.end();
});

t.test('writes sampling as the family takes it', (t) => {
  const knobs = { temperature: 1.7, top_p: 0.9, top_k: 5, stop: ['a', 'b'] };
  t.match(write(nova, knobs), {
    body: {
      inferenceConfig: { temperature: 1, topP: 0.9, stopSequences: ['a', 'b'] },
      additionalModelRequestFields: { inferenceConfig: { topK: 5 } },
    },
    dropped: ['temperature(1.7->1)'],
  });
  t.match(write(sonnet, knobs), {
    body: { inferenceConfig: { temperature: 1 }, additionalModelRequestFields: { top_k: 5 } },
    dropped: ['temperature(1.7->1)', 'top_p'],
  });
  t.same(write('us.anthropic.claude-opus-4-6-v1', knobs).dropped, ['temperature(1.7->1)']);
  t.same(write(newest, knobs).dropped, ['temperature', 'top_p', 'top_k']);
  t.same(sent(newest, { stop: 'a' }).inferenceConfig, { stopSequences: ['a'] });
  t.end();
});

t.test('names no limit of its own, and streams what may be long', (t) => {
  t.equal(sent(sonnet, {}).inferenceConfig, undefined);
  t.equal(write(sonnet, { max_tokens: 20_000 }).streamsUpstream, undefined);
  t.equal(write(sonnet, { max_tokens: 30_000 }).streamsUpstream, true);
  t.equal(write(sonnet, { max_tokens: 30_000, stream: true }).streamsUpstream, undefined, 'it is asked for anyway');
  t.same(write(sonnet, { max_tokens: 99_999 }).dropped, ['max_tokens(99999->64000)']);
  t.same(sent('somebody.else', { max_completion_tokens: 9, max_tokens: 5 }).inferenceConfig, { maxTokens: 9 });
  t.end();
});

t.test('names the tier of service, and drops the others', (t) => {
  for (const [asked, type] of Object.entries({
    auto: 'default',
    default: 'default',
    flex: 'flex',
    fast: 'priority',
    scale: 'reserved',
  })) {
    t.same(sent(nova, { service_tier: asked }).serviceTier, { type });
  }
  t.same(write(nova, { service_tier: 'best' }).dropped, ['service_tier']);
  t.end();
});

t.test("knows what each Claude can do by its family's name, and takes an unknown one for the newest", (t) => {
  const asked = { reasoning_effort: 'medium', tools: [tool('f')], tool_choice: 'required' };
  const families: readonly (readonly [name: string, thinking: string | undefined, dropped: readonly string[]])[] = [
    ['anthropic.claude-v2:1', undefined, ['reasoning_effort']],
    ['apac.anthropic.claude-3-sonnet-20240229-v1:0', undefined, ['reasoning_effort']],
    ['anthropic.claude-3-5-sonnet-20241022-v2:0', undefined, ['reasoning_effort']],
    ['us.anthropic.claude-3-7-sonnet-20250219-v1:0', 'enabled', ['tool_choice(required->auto)']],
    ['eu.anthropic.claude-sonnet-4-20250514-v1:0', 'enabled', ['tool_choice(required->auto)']],
    ['us.anthropic.claude-opus-4-1-20250805-v1:0', 'enabled', ['tool_choice(required->auto)']],
    ['jp.anthropic.claude-haiku-4-5-20251001-v1:0', 'enabled', ['tool_choice(required->auto)']],
    ['global.anthropic.claude-opus-4-6-v1', 'adaptive', []],
    ['global.anthropic.claude-opus-4-8', 'adaptive', []],
    ['anthropic.claude-fable-5', 'adaptive', ['tool_choice(required->auto)']],
    ['anthropic.claude-sonnet-5-5', 'adaptive', ['tool_choice(required->auto)']],
    ['anthropic.claude-next', 'adaptive', []],
  ];
  for (const [name, thinking, dropped] of families) {
    const { body, dropped: reported } = write(name, asked);
    t.equal(at(body, 'additionalModelRequestFields', 'thinking', 'type'), thinking, name);
    t.same(reported, dropped, name);
  }
  t.same(write('anthropic.claude-opus-5-v1', { reasoning_effort: 'none' }).dropped, [], 'it can stop');
  t.same(write('anthropic.claude-fable-5', { reasoning_effort: 'none' }).dropped, ['reasoning_effort(none->low)']);
  t.end();
});

t.test('believes the catalogue before the name', (t) => {
  const asked = (upstreamModel: string, body: JsonObject, abilities: ModelAbilities, maxOutputTokens?: number) => {
    const whole = { messages: [{ role: 'user', content: 'hi' }], ...body };
    const change = chat.request(whole, { upstreamModel, model: known(abilities, maxOutputTokens) });
    return { sent: 'body' in change ? change.body : {}, dropped: change.dropped };
  };
  const llama = 'us.meta.llama4-scout-17b-instruct-v1:0';
  const forced = { tools: [tool('f')], tool_choice: 'required' };
  t.same(asked(llama, forced, { forcedTool: 'accepted' }).dropped, []);
  t.same(
    asked(sonnet, { ...forced, temperature: 0.5, top_p: 0.5 }, { sampling: 'both', forcedTool: 'never' }).dropped,
    ['tool_choice(required->auto)'],
  );
  t.same(asked(sonnet, { reasoning_effort: 'low' }, {}, 20_000).sent.inferenceConfig, { maxTokens: 20_000 });
  t.same(asked(llama, { max_tokens: 9000 }, {}, 8192), {
    sent: { messages: [{ role: 'user', content: [{ text: 'hi' }] }], inferenceConfig: { maxTokens: 8192 } },
    dropped: ['max_tokens(9000->8192)'],
  });
  const late = { messages: ['user', 'system'].map((role) => ({ role, content: role })) };
  for (const model of [newest, llama]) {
    const { messages, system } = asked(model, late, { inlineSystem: true }).sent;
    t.same([messages, system], [[{ role: 'user', content: [{ text: 'user' }] }], [{ text: 'system' }]], 'never inside');
  }
  t.end();
});

t.test('says nothing of what asks for nothing', (t) => {
  const idle = { n: 1, store: false, presence_penalty: 0, logit_bias: {}, parallel_tool_calls: true, seed: null };
  t.same(write(sonnet, { ...idle, tools: [tool('f')] }).dropped, []);
  t.end();
});
