/** vLLM of any age: old builds refuse members that they do not know and have flat errors, new ones print many nulls. */
import { createOpenAiCompatible, type OpenAiCompatibleOptions } from './openai-compatible.ts';
import { localFates } from './openai-fates.ts';

const createOptions = ({ legacy }: Readonly<Record<string, string>>): OpenAiCompatibleOptions => ({
  id: 'vllm',
  name: 'vLLM',
  baseUrl: 'http://127.0.0.1:8000/v1',
  needsKey: false,
  settings: {
    legacy: {
      description: 'true or false; true for a build of 2024 or before, which refuses newer members',
      isRequired: false,
      pattern: /^(?:true|false)$/,
    },
  },
  configure: createOptions,
  supportsStreamOptions: legacy !== 'true',
  fates: localFates,
  noise: ['prompt_logprobs', 'kv_transfer_params'],
});

export const vllm = createOpenAiCompatible(createOptions({}));
