/**
 * Mistral. Its own words for a seed and for forced tools; content as an array of thinking and text, here and in the
 * history; tool calls without a type, continued under an empty name; errors flat, or FastAPI's `detail`.
 */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const mistral = createOpenAiCompatible({
  id: 'mistral',
  name: 'Mistral',
  baseUrl: 'https://api.mistral.ai/v1',
  supportsStreamOptions: false,
  fates: {
    ...hostedFates,
    'messages.name': 'dropped',
    'messages.image': 'mapped',
    'messages.file_data': 'emulated',
    'messages.reasoning_history': 'mapped',
    'tools.strict': 'mapped',
    'tool_choice.named': 'emulated',
    parallel_tool_calls: 'mapped',
    logit_bias: 'dropped',
    logprobs: 'dropped',
    top_logprobs: 'dropped',
    prediction: 'mapped',
    prompt_cache_key: 'mapped',
    top_k: 'dropped',
  },
  quirks: {
    renames: { seed: 'random_seed' },
    requiredChoice: 'any',
    toolIdLength: 9,
    filePart: 'document_url',
    reasoningHistory: 'blocks',
    // Magistral always thinks and knows no effort.
    efforts: [{ models: /^magistral/, values: { '*': null } }],
  },
});
