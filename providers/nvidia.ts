/** NVIDIA's hosted models: vLLM and its like behind one door, with nothing of their own beyond it. */
import { createOpenAiCompatible } from './openai-compatible.ts';
import { hostedFates } from './openai-fates.ts';

export const nvidia = createOpenAiCompatible({
  id: 'nvidia',
  name: 'NVIDIA',
  baseUrl: 'https://integrate.api.nvidia.com/v1',
  fates: hostedFates,
});
