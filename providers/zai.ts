/**
 * Z.ai. `thinking` is its own member, and what was thought before goes back as `reasoning_content`, which it reads where
 * `clear_thinking` is false. Every delta has a role; errors have numbers in text for codes.
 */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const zai = createOpenAiCompatible({
  id: 'zai',
  name: 'Z.ai',
  baseUrl: 'https://api.z.ai/api/paas/v4',
  fates: {
    ...hostedFates,
    'messages.reasoning_history': 'mapped',
    'tool_choice.required': 'dropped',
    'tool_choice.named': 'dropped',
    thinking: 'mapped',
  },
  quirks: { efforts: [{ values: { none: { thinking: { type: 'disabled' } } } }] },
});
