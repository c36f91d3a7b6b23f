/**
 * Cohere, by its endpoint in OpenAI's shape. It takes no unknown members and no `stream_options`; a call without
 * arguments has the text `null` for them; errors are `{id, message}`.
 */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const cohere = createOpenAiCompatible({
  id: 'cohere',
  name: 'Cohere',
  baseUrl: 'https://api.cohere.ai/compatibility/v1',
  supportsStreamOptions: false,
  fates: {
    ...hostedFates,
    'messages.name': 'dropped',
    'tool_choice.named': 'emulated',
    n: 'refused',
    logit_bias: 'dropped',
    logprobs: 'dropped',
    top_logprobs: 'dropped',
    reasoning_effort: 'emulated',
    '*': 'dropped',
  },
  quirks: {
    renames: { top_k: 'k' },
    ownMembers: ['k', 'p', 'documents', 'citation_options', 'safety_mode', 'strict_tools', 'priority'],
    // It knows thinking and not thinking.
    efforts: [{ values: { none: 'none', '*': 'high' } }],
  },
});
