/**
 * Cerebras. Refuses the knobs below; content is absent beside tool calls; reasoning comes and goes as `reasoning`, and
 * `clear_thinking` is a member of its own.
 */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const cerebras = createOpenAiCompatible({
  id: 'cerebras',
  name: 'Cerebras',
  baseUrl: 'https://api.cerebras.ai/v1',
  tokenLimit: 'either',
  fates: {
    ...hostedFates,
    'messages.reasoning_history': 'mapped',
    parallel_tool_calls: 'dropped',
    presence_penalty: 'dropped',
    frequency_penalty: 'dropped',
    logit_bias: 'dropped',
    service_tier: 'dropped',
  },
  quirks: { reasoningMember: 'reasoning' },
  noise: ['time_info'],
});
