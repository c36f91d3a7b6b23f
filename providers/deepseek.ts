/**
 * DeepSeek. No schemas, so JSON is asked for in words; thinking models choose their tools themselves and want their
 * reasoning back, be it empty; cached tokens are `prompt_cache_hit_tokens`; errors come as application/octet-stream.
 */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const deepseek = createOpenAiCompatible({
  id: 'deepseek',
  name: 'DeepSeek',
  baseUrl: 'https://api.deepseek.com',
  fates: {
    ...hostedFates,
    'messages.image': 'refused',
    'messages.image_detail': 'refused',
    'messages.reasoning_history': 'by-model',
    'tool_choice.required': 'by-model',
    'tool_choice.named': 'by-model',
    'response_format.json_schema': 'emulated',
    n: 'refused',
    seed: 'dropped',
    logit_bias: 'dropped',
    reasoning_effort: 'emulated',
    thinking: 'mapped',
    top_k: 'dropped',
  },
  quirks: {
    needsJsonWord: true,
    unforceable: /reasoner|-v4|-flash/,
    demandsReasoning: true,
    efforts: [{ values: { none: { thinking: { type: 'disabled' } }, minimal: 'low', medium: 'high', xhigh: 'high' } }],
  },
});
