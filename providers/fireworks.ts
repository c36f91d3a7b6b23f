/** Fireworks AI. Errors come as text, as an object, as `{fault}` or as `{detail}`. */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const fireworks = createOpenAiCompatible({
  id: 'fireworks',
  name: 'Fireworks AI',
  baseUrl: 'https://api.fireworks.ai/inference/v1',
  fates: {
    ...hostedFates,
    'messages.reasoning_history': 'mapped',
    user: 'mapped',
    safety_identifier: 'mapped',
    service_tier: 'mapped',
    reasoning_effort: 'mapped',
    prediction: 'mapped',
    prompt_cache_key: 'mapped',
  },
  quirks: { efforts: [{ values: { minimal: 'low', xhigh: 'high', max: 'high' } }] },
});
