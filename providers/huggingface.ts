/** Hugging Face's router: each request goes to a vendor, whose quirks come back with the answer. */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const huggingface = createOpenAiCompatible({
  id: 'huggingface',
  name: 'Hugging Face',
  baseUrl: 'https://router.huggingface.co/v1',
  fates: hostedFates,
  noise: ['prompt'],
});
