/** One request per row of the fidelity contract that asks for something, and nothing else, beside a plain message. */
import type { JsonObject, JsonValue } from '../src/contract/json.ts';

const user = (part: JsonObject): JsonObject => ({ messages: [{ role: 'user', content: [part] }] });
export const named = (name: string): JsonObject => ({ type: 'function', function: { name } });
const audio = Buffer.alloc(8).toString('base64');
const pdf = `data:application/pdf;base64,${Buffer.from('%PDF-1.4').toString('base64')}`;
const pixel = 'data:image/png;base64,iVBORw0KGgo=';

const knobs: Record<string, JsonValue> = {
  max_tokens: 64,
  response_format: { type: 'json_object' },
  temperature: 0.5,
  top_p: 0.5,
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
  metadata: { team: 'maps' },
  store: true,
  service_tier: 'auto',
  reasoning_effort: 'high',
  verbosity: 'low',
  prediction: { type: 'content', content: 'x' },
  modalities: ['text', 'audio'],
  audio: { voice: 'v', format: 'wav' },
  web_search_options: { search_context_size: 'low' },
  prompt_cache_key: 'k',
  prompt_cache_options: { ttl: 1 },
  prompt_cache_retention: '24h',
  moderation: { model: 'x' },
  top_k: 3,
  thinking: { type: 'enabled', budget_tokens: 1024 },
};

/** A row without a sample is structure that no provider can lack, or half of another row. */
export const samples: Readonly<Record<string, JsonObject>> = {
  'messages.developer': {
    messages: [
      { role: 'developer', content: 'x' },
      { role: 'user', content: 'Say JSON.' },
    ],
  },
  'messages.name': { messages: [{ role: 'user', content: 'x', name: 'ann' }] },
  'messages.image': user({ type: 'image_url', image_url: { url: pixel } }),
  'messages.image_detail': user({ type: 'image_url', image_url: { url: pixel, detail: 'low' } }),
  'messages.input_audio': user({ type: 'input_audio', input_audio: { data: audio, format: 'wav' } }),
  'messages.file_data': user({ type: 'file', file: { file_data: pdf, filename: 'a.pdf' } }),
  'messages.file_id': user({ type: 'file', file: { file_id: 'f' } }),
  'messages.cache_marks': user({ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }),
  'messages.reasoning_history': {
    messages: [
      { role: 'user', content: 'x' },
      { role: 'assistant', content: 'y', reasoning_content: 'z' },
      { role: 'user', content: 'x' },
    ],
  },
  tools: { tools: [named('f')] },
  'tools.strict': { tools: [{ type: 'function', function: { name: 'f', strict: true } }] },
  'tools.custom': { tools: [{ type: 'custom', custom: { name: 'c' } }] },
  tool_choice: { tools: [named('f'), named('g')], tool_choice: 'none' },
  'tool_choice.required': { tools: [named('f'), named('g')], tool_choice: 'required' },
  'tool_choice.named': { tools: [named('f'), named('g')], tool_choice: named('f') },
  'tool_choice.allowed_tools': {
    tools: [named('f'), named('g')],
    tool_choice: { type: 'allowed_tools', allowed_tools: { mode: 'auto', tools: [named('f')] } },
  },
  'response_format.json_schema': {
    response_format: { type: 'json_schema', json_schema: { name: 's', schema: { type: 'object', properties: {} } } },
  },
  parallel_tool_calls: { tools: [named('f')], parallel_tool_calls: false },
  stream: { stream: true },
  functions: { functions: [{ name: 'f' }] },
  '*': { vendor_knob: 1 },
  ...Object.fromEntries(Object.entries(knobs).map(([key, value]) => [key, { [key]: value }])),
};

export const sampleBody = (sample: JsonObject): JsonObject => ({
  model: 'm',
  messages: [{ role: 'user', content: 'Say JSON.' }],
  ...sample,
});

/** How a row is named in errors and in reports: by the top-level member, or by the place inside it. */
export function isNameOf(row: string, name: string): boolean {
  const member = row === '*' ? 'vendor_knob' : (row.split('.')[0] ?? row);
  return name === member || ['.', '[', '('].some((mark) => name.startsWith(member + mark));
}
