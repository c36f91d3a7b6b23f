/**
 * The fidelity contract as a page: what every registered provider does with every parameter of Chat Completions, read off
 * the adapters themselves. `node scripts/fidelity.ts` writes docs/reference/fidelity.md; a test keeps the two equal.
 * Spec: fidelity 10.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createDeclaredProvider, registry } from '../providers/index.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { ChatEndpoint, ParameterFate, ProviderAdapter } from '../src/contract/provider.ts';
import { sampleBody, samples } from './fidelity-samples.ts';

export const pagePath = join(import.meta.dirname, '../docs/reference/fidelity.md');

const letters: Readonly<Record<ParameterFate, string>> = {
  mapped: 'M',
  emulated: 'E',
  dropped: 'D',
  refused: '**R**',
  consumed: 'G',
  'by-model': 'c',
};

/** In the order of the page. */
export const labels: Readonly<Record<string, string>> = {
  messages: 'messages',
  'messages.developer': 'role developer',
  'messages.name': 'messages[].name',
  'messages.image': 'image part',
  'messages.image_detail': 'detail of an image',
  'messages.input_audio': 'input_audio part',
  'messages.file_data': 'file part with file_data',
  'messages.file_id': 'file part with file_id',
  'messages.cache_marks': 'cache_control, prompt_cache_breakpoint',
  'messages.reasoning_history': 'reasoning of earlier answers',
  model: 'model',
  tools: 'tools (function)',
  'tools.strict': 'function.strict',
  'tools.custom': 'tools (custom)',
  tool_choice: 'tool_choice auto, none',
  'tool_choice.required': 'tool_choice required',
  'tool_choice.named': 'tool_choice by name',
  'tool_choice.allowed_tools': 'tool_choice allowed_tools',
  parallel_tool_calls: 'parallel_tool_calls',
  response_format: 'response_format json_object',
  'response_format.json_schema': 'response_format json_schema',
  temperature: 'temperature',
  top_p: 'top_p',
  max_tokens: 'max_tokens',
  max_completion_tokens: 'max_completion_tokens',
  stream: 'stream',
  stream_options: 'stream_options',
  stop: 'stop',
  n: 'n above 1',
  seed: 'seed',
  presence_penalty: 'presence_penalty',
  frequency_penalty: 'frequency_penalty',
  logit_bias: 'logit_bias',
  logprobs: 'logprobs',
  top_logprobs: 'top_logprobs',
  user: 'user',
  safety_identifier: 'safety_identifier',
  metadata: 'metadata',
  store: 'store',
  service_tier: 'service_tier',
  reasoning_effort: 'reasoning_effort',
  verbosity: 'verbosity',
  prediction: 'prediction',
  modalities: 'modalities with audio',
  audio: 'audio',
  web_search_options: 'web_search_options',
  prompt_cache_key: 'prompt_cache_key',
  prompt_cache_options: 'prompt_cache_options',
  prompt_cache_retention: 'prompt_cache_retention',
  moderation: 'moderation',
  functions: 'functions',
  function_call: 'function_call',
  top_k: 'top_k (extension)',
  thinking: 'thinking (extension)',
  '*': 'any other member',
};

/** Values at the edge, beside the samples: what becomes of them is a clamp where it is not what was sent. */
const edges: readonly JsonObject[] = [
  ...['none', 'minimal', 'low', 'medium', 'xhigh', 'max'].map((effort) => ({ reasoning_effort: effort })),
  { temperature: 0 },
  { temperature: 1.7 },
];

export const columns: readonly ProviderAdapter[] = [
  ...Object.values<ProviderAdapter>(registry),
  createDeclaredProvider({ id: 'openai-compat', dialect: 'openai-compat', baseUrl: 'http://127.0.0.1/v1' }),
];

function chatOf(adapter: ProviderAdapter): ChatEndpoint {
  if (adapter.endpoints.chat === undefined) throw new Error(`${adapter.id} has no chat endpoint`);
  return adapter.endpoints.chat;
}

type Outcome = { body: JsonObject; dropped: readonly string[] } | null;

/** What goes upstream; null when the request is refused. */
function sent(adapter: ProviderAdapter, sample: JsonObject): Outcome {
  const body = sampleBody(sample);
  try {
    const change = chatOf(adapter).request(body, { upstreamModel: 'm', model: null }, new Map());
    if ('body' in change) return change;
    const kept = Object.entries(body).filter(([key]) => !change.remove.includes(key));
    return { body: { ...Object.fromEntries(kept), ...change.set }, dropped: change.dropped };
  } catch {
    return null;
  }
}

const isSame = (left: JsonValue | undefined, right: JsonValue | undefined): boolean =>
  JSON.stringify(left) === JSON.stringify(right);

/** The members that the sample brought about; null where they are those of the sample itself. */
function ownForm(adapter: ProviderAdapter, sample: JsonObject): JsonObject | null {
  const outcome = sent(adapter, sample);
  const plain = sent(adapter, {});
  if (outcome === null || plain === null) return null;
  const brought = Object.entries(outcome.body).filter(([key, value]) => !isSame(value, plain.body[key]));
  const isAsSent = brought.every(([key, value]) => isSame(value, sample[key]));
  return brought.length === 0 || isAsSent ? null : Object.fromEntries(brought);
}

const shortened = (value: JsonValue | undefined): JsonValue | undefined => {
  if (typeof value === 'string') return value.length > 120 ? `${value.slice(0, 117)}...` : value;
  if (Array.isArray(value)) return value.map((item) => shortened(item) ?? null);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shortened(item)]));
};

const code = (value: JsonObject): string => `\`${JSON.stringify(shortened(value)).replaceAll('|', '\\|')}\``;

const row = (...cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

function contractTable(): string[] {
  return [
    row('parameter', ...columns.map(({ id }) => id)),
    row('---', ...columns.map(() => ':-:')),
    ...Object.entries(labels).map(([name, label]) => {
      const cells = columns.map((adapter) => {
        const fate = chatOf(adapter).fates?.[name];
        return fate === undefined ? '?' : letters[fate];
      });
      return row(label, ...cells);
    }),
  ];
}

/** What becomes of one sample at one provider, as text; null where it goes as it was sent. */
function told(adapter: ProviderAdapter, name: string, sample: JsonObject): string | null {
  const fate = chatOf(adapter).fates?.[name];
  if (fate === 'dropped' || fate === 'refused' || fate === 'consumed') return null;
  const form = ownForm(adapter, sample);
  const dropped = sent(adapter, sample)?.dropped ?? [];
  if (form === null && dropped.length === 0) return null;
  return [...(form === null ? [] : [code(form)]), ...dropped.map((report) => `reported as \`${report}\``)].join(', ');
}

function formsTable(): string[] {
  const asked = [...Object.entries(samples), ...edges.map((sample) => [Object.keys(sample)[0] ?? '', sample] as const)];
  const rows = asked
    .filter(([name]) => name !== 'stream')
    .flatMap(([name, sample]) => {
      const providers = new Map<string, string[]>();
      for (const adapter of columns) {
        const form = told(adapter, name, sample);
        if (form !== null) providers.set(form, [...(providers.get(form) ?? []), adapter.id]);
      }
      return [...providers].map(([form, ids]) => row(labels[name] ?? name, code(sample), form, ids.join(', ')));
    });
  return [row('parameter', 'sent', 'goes upstream', 'at'), row('---', '---', '---', '---'), ...rows];
}

export function fidelityPage(): string {
  const lines = [
    '# The fate of every parameter',
    '',
    'Written by `node scripts/fidelity.ts` from the adapters; a test fails when the two differ, and another sends one',
    'request per cell.',
    '',
    '- **M** goes to the provider, in its own words. **E** is brought about by other means.',
    '- **D** is taken out, and `x-tollgate-dropped-params` of the reply says so; a value that had to be changed is in there as',
    '  `temperature(1.7->1)`. With `x-tollgate-strict: true` such a request is refused instead.',
    '- **R** is refused: 400, `unsupported_parameter`, with the name in `param`. It would change what the answer is.',
    '- **G** is used up by the gateway. **c** depends on the model: where the catalogue says that it lacks the ability, content,',
    '  tools, `n` and audio are refused, `json_schema` becomes an instruction, and knobs are dropped.',
    '',
    'Null is the same as absent, and a value that is the default (`n: 1`, `tools: []`) is never reported. A private endpoint',
    'has the last column with `dialect: openai-compat`, and that of `openai` with `dialect: openai-exact`.',
    '',
    ...contractTable(),
    '',
    '## In other words',
    '',
    'What a request becomes where the members that go upstream are not those that were sent, shown with a model that the',
    'catalogue does not know. Every upstream gets its own name of the model, and streams ask for their usage.',
    '',
    ...formsTable(),
  ];
  return `${lines.join('\n')}\n`;
}

if (import.meta.main) writeFileSync(pagePath, fidelityPage());
