/**
 * Together AI. Every delta repeats the role and carries `text` and `token_id`; replies have an empty `prompt`; usage rides
 * on the finish chunk with `cached_tokens` at its top level. Inline `<think>` of some models stays in the content.
 */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const together = createOpenAiCompatible({
  id: 'together',
  name: 'Together AI',
  baseUrl: 'https://api.together.xyz/v1',
  fates: hostedFates,
  noise: ['prompt'],
});
