/** LM Studio, on this machine or another. */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { localFates } from './openai-fates.ts';

export const lmstudio = createOpenAiCompatible({
  id: 'lmstudio',
  name: 'LM Studio',
  baseUrl: 'http://127.0.0.1:1234/v1',
  needsKey: false,
  fates: localFates,
});
