/** OpenRouter: usage on a chunk that has a choice, errors after the finish. `referer` and `title` show in its rankings. */
import { createOpenAiCompatible, type OpenAiCompatibleOptions } from './openai-compatible.ts';
import { openAiFates } from './openai-fates.ts';

const createOptions = ({ referer, title }: Readonly<Record<string, string>>): OpenAiCompatibleOptions => ({
  id: 'openrouter',
  name: 'OpenRouter',
  baseUrl: 'https://openrouter.ai/api/v1',
  authorize: (secret) => ({
    authorization: `Bearer ${secret}`,
    ...(referer === undefined ? {} : { 'http-referer': referer }),
    ...(title === undefined ? {} : { 'x-title': title }),
  }),
  settings: {
    referer: { description: 'a URL for its rankings', isRequired: false, pattern: /^https?:\/\/\S+$/ },
    title: { description: 'a name for its rankings', isRequired: false, pattern: /^[\x20-\x7e]{1,100}$/ },
  },
  configure: createOptions,
  fates: {
    ...openAiFates,
    'messages.image': 'mapped',
    'messages.file_id': 'refused',
    'messages.reasoning_history': 'mapped',
    'tools.custom': 'refused',
    'tool_choice.allowed_tools': 'emulated',
    n: 'refused',
    metadata: 'consumed',
    store: 'dropped',
    reasoning_effort: 'mapped',
    prediction: 'dropped',
    web_search_options: 'emulated',
    prompt_cache_key: 'dropped',
    moderation: 'refused',
    functions: 'emulated',
    function_call: 'emulated',
  },
  quirks: { nestsEffort: true, reasoningHistory: 'details', webSearchTool: 'openrouter:web_search' },
});

export const openrouter = createOpenAiCompatible(createOptions({}));
