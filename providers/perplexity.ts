/** Perplexity. Usage on every chunk, each the sum so far; the last is a `chat.completion.done`; `citations` stay on top. */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { localFates } from './openai-fates.ts';

export const perplexity = createOpenAiCompatible({
  id: 'perplexity',
  name: 'Perplexity',
  baseUrl: 'https://api.perplexity.ai',
  supportsStreamOptions: false,
  fates: localFates,
  noise: ['delta'],
});
