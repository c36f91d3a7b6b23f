/** Moonshot AI. No tool can be forced; reasoning is `reasoning_content`, cached tokens stand at the top of usage. */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const moonshot = createOpenAiCompatible({
  id: 'moonshot',
  name: 'Moonshot AI',
  baseUrl: 'https://api.moonshot.ai/v1',
  fates: { ...hostedFates, 'tool_choice.required': 'dropped' },
});
