/** The table of fates is complete for the parameters that the `openai` package knows, and true of what the adapters do. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import t from 'tap';
import { createDeclaredProvider, dialects, registry } from '../../providers/index.ts';
import type { ModelSpec } from '../../src/contract/flow.ts';
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';
import type { ParameterFate, ProviderAdapter, RequestEdit, RequestRewrite } from '../../src/contract/provider.ts';
import { thrownBy } from '../support/json-at.ts';

const packageFolder = dirname(createRequire(import.meta.url).resolve('openai'));
const types = readFileSync(join(packageFolder, 'resources/chat/completions/completions.d.ts'), 'utf8');

/** The members of the request type and of its streaming variants, read off the declaration text. */
function declaredParameters(): string[] {
  const bodies = [
    ...types.matchAll(/interface ChatCompletionCreateParams(?:Base|NonStreaming|Streaming)\b[^{]*\{\n([\s\S]*?)\n\}/g),
  ];
  return [
    ...new Set(
      bodies.flatMap(([, body]) => [...(body ?? '').matchAll(/^ {4}(\w+)\??:/gm)].map(([, name]) => name ?? '')),
    ),
  ];
}

const adapters: ProviderAdapter[] = [
  ...Object.values(registry),
  ...dialects.map((dialect) => createDeclaredProvider({ id: dialect, dialect, baseUrl: 'http://127.0.0.1/v1' })),
];

const user = (part: JsonObject): JsonObject => ({ messages: [{ role: 'user', content: [part] }] });
const named = { type: 'function', function: { name: 'f' } };

/** One request per row that asks for something. A row without one is structure that no provider can lack. */
const samples: Record<string, JsonObject> = {
  'messages.name': { messages: [{ role: 'user', content: 'x', name: 'ann' }] },
  'messages.image_detail': user({ type: 'image_url', image_url: { url: 'https://example.com/a.png', detail: 'low' } }),
  'messages.input_audio': user({ type: 'input_audio', input_audio: { data: '', format: 'wav' } }),
  'messages.file_data': user({ type: 'file', file: { file_data: 'data:', filename: 'a' } }),
  'messages.file_id': user({ type: 'file', file: { file_id: 'f' } }),
  'messages.cache_marks': user({ type: 'text', text: 'x', prompt_cache_breakpoint: {} }),
  'messages.reasoning_history': {
    messages: [
      { role: 'assistant', content: 'x', reasoning_content: 'y' },
      { role: 'user', content: 'z' },
    ],
  },
  'tools.strict': { tools: [{ type: 'function', function: { name: 'f', strict: true } }] },
  'tools.custom': { tools: [{ type: 'custom', custom: { name: 'c' } }] },
  tools: { tools: [named] },
  tool_choice: { tools: [named], tool_choice: 'required' },
  parallel_tool_calls: { tools: [named], parallel_tool_calls: false },
  modalities: { modalities: ['text', 'audio'] },
  functions: { functions: [{ name: 'f' }] },
  ...Object.fromEntries(
    Object.entries<JsonValue>({
      response_format: { type: 'json_object' },
      temperature: 1,
      top_p: 1,
      stop: 'x',
      n: 2,
      seed: 1,
      presence_penalty: 1,
      frequency_penalty: 1,
      logit_bias: { '1': 2 },
      logprobs: true,
      top_logprobs: 2,
      user: 'u',
      safety_identifier: 's',
      store: true,
      service_tier: 'auto',
      reasoning_effort: 'low',
      verbosity: 'low',
      prediction: { type: 'content', content: 'x' },
      audio: { voice: 'v', format: 'wav' },
      web_search_options: { search_context_size: 'low' },
      prompt_cache_key: 'k',
      prompt_cache_options: { ttl: 1 },
      prompt_cache_retention: '24h',
      moderation: { model: 'x' },
      top_k: 3,
      thinking: { type: 'enabled' },
    }).map(([key, value]) => [key, { [key]: value }]),
  ),
};

/** A model that lacks nothing, for the rows that depend on it. */
const able: ModelSpec = {
  id: 'p/m',
  providerId: 'p',
  upstreamModel: 'm',
  name: 'M',
  contextTokens: 100_000,
  maxOutputTokens: 10_000,
  inputModalities: [],
  outputModalities: [],
  supportedParameters: [],
  price: null,
  abilities: { sampling: 'both', topK: true },
  created: 0,
};

function adapted(adapter: ProviderAdapter, sample: JsonObject): RequestEdit | RequestRewrite {
  if (adapter.endpoints.chat === undefined) throw new Error('no chat endpoint');
  const body = { model: 'm', messages: [{ role: 'user', content: 'x' }], ...sample };
  return adapter.endpoints.chat.request(body, { upstreamModel: 'm', model: able });
}

function isTrue(adapter: ProviderAdapter, sample: JsonObject, fate: ParameterFate): boolean {
  if (fate === 'refused') {
    const thrown = thrownBy(() => adapted(adapter, sample));
    return thrown instanceof Error && 'code' in thrown && thrown.code === 'unsupported_parameter';
  }
  const change = adapted(adapter, sample);
  const { dropped } = change;
  if (fate === 'dropped') return dropped.length === 1;
  if ('body' in change) {
    const isWritten = JSON.stringify(change) !== JSON.stringify(adapted(adapter, {}));
    return dropped.length === 0 && (isWritten || fate === 'consumed' || fate === 'by-model');
  }
  const { remove, set } = change;
  if (fate === 'emulated') return dropped.length === 0 && Object.keys(set).length > 0;
  return dropped.length === 0 && remove.length === 0 && Object.keys(set).length === 0;
}

t.test('knows every parameter of the openai package', (t) => {
  const parameters = declaredParameters();
  t.ok(parameters.length > 35, `${parameters.length} parameters were read`);
  t.ok(parameters.includes('messages') && parameters.includes('stream'));
  for (const adapter of adapters) {
    const fates = adapter.endpoints.chat?.fates ?? {};
    t.same(
      parameters.filter((name) => fates[name] === undefined),
      [],
      `${adapter.id} has a fate for each`,
    );
  }
  t.end();
});

t.test('has a sample for every row but the structure', (t) => {
  const structure = [
    'messages',
    'messages.developer',
    'messages.image',
    'model',
    'tool_choice.allowed_tools',
    'max_tokens',
  ];
  structure.push('max_completion_tokens', 'stream', 'metadata', 'stream_options', 'function_call');
  const rows = Object.keys(registry.openai.endpoints.chat?.fates ?? {});
  t.same(rows.filter((row) => samples[row] === undefined).sort(), structure.sort());
  t.end();
});

for (const adapter of adapters) {
  t.test(`${adapter.id} does what its table says`, (t) => {
    for (const [row, sample] of Object.entries(samples)) {
      const fate = adapter.endpoints.chat?.fates?.[row];
      t.ok(fate !== undefined && isTrue(adapter, sample, fate), `${row} is ${fate}`);
    }
    t.end();
  });
}
