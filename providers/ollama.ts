/** Ollama, on this machine or another; its cloud is another base URL. Reasoning comes as `reasoning`. */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { localFates } from './openai-fates.ts';

export const ollama = createOpenAiCompatible({
  id: 'ollama',
  name: 'Ollama',
  baseUrl: 'http://127.0.0.1:11434/v1',
  needsKey: false,
  fates: { ...localFates, logit_bias: 'dropped' },
});
