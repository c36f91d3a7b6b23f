/**
 * Groq. Refuses the knobs below and a temperature of 0; content is absent beside tool calls; usage may stand in
 * `x_groq.usage` alone; a failed tool call is an error with its `failed_generation`, in streams as `event: error`.
 */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const groq = createOpenAiCompatible({
  id: 'groq',
  name: 'Groq',
  baseUrl: 'https://api.groq.com/openai/v1',
  tokenLimit: 'either',
  fates: {
    ...hostedFates,
    'messages.name': 'dropped',
    'messages.image_detail': 'mapped',
    'tools.strict': 'mapped',
    parallel_tool_calls: 'mapped',
    'response_format.json_schema': 'by-model',
    n: 'refused',
    logit_bias: 'dropped',
    logprobs: 'dropped',
    top_logprobs: 'dropped',
    user: 'mapped',
    safety_identifier: 'mapped',
    service_tier: 'mapped',
    top_k: 'dropped',
  },
  quirks: {
    zeroTemperature: 1e-8,
    defaults: { models: /gpt-oss|qwen3|deepseek-r1/i, members: { reasoning_format: 'parsed' } },
    efforts: [
      { models: /qwen3/i, values: { none: 'none', default: 'default', '*': 'default' } },
      { values: { minimal: 'low', xhigh: 'high', max: 'high' } },
    ],
  },
});
