/** OpenAI itself: the dialect of the house, so nothing is translated. */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { openAiFates } from './openai-fates.ts';

export const openai = createOpenAiCompatible({
  id: 'openai',
  name: 'OpenAI',
  baseUrl: 'https://api.openai.com/v1',
  isExact: true,
  fates: openAiFates,
});
