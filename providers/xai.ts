/**
 * xAI. Reasoning is left out of `completion_tokens`, and cached tokens may exceed the prompt; errors are
 * `{code, error: "text"}`, also inside a 200 and in the middle of a stream.
 */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const xai = createOpenAiCompatible({
  id: 'xai',
  name: 'xAI',
  baseUrl: 'https://api.x.ai/v1',
  tokenLimit: 'either',
  fates: {
    ...hostedFates,
    'messages.image_detail': 'mapped',
    parallel_tool_calls: 'mapped',
    stop: 'dropped',
    presence_penalty: 'dropped',
    frequency_penalty: 'dropped',
    logit_bias: 'dropped',
    user: 'mapped',
    safety_identifier: 'mapped',
    top_k: 'dropped',
    // Its search in chat is gone: 410 for whoever asks.
    web_search_options: 'refused',
  },
  quirks: {
    unknownKeywords: ['additionalProperties'],
    efforts: [{ models: /^grok-4\.20/, values: { '*': null } }],
  },
});
