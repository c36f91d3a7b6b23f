/** Azure OpenAI: the upstream model is a deployment; filter results come with each reply. A token of Entra is a key too. */
import { createOpenAiCompatible, chatPath, type OpenAiCompatibleOptions } from './openai-compatible.ts';
import { openAiFates } from './openai-fates.ts';

type Settings = Readonly<Record<string, string>>;

function createOptions({ resource = 'resource', api_version: version }: Settings): OpenAiCompatibleOptions {
  const host = `https://${resource}.openai.azure.com/openai`;
  return {
    id: 'azure-openai',
    name: 'Azure OpenAI',
    baseUrl: version === undefined ? `${host}/v1` : host,
    path: ({ upstreamModel: name }) =>
      version === undefined ? chatPath : `/deployments/${encodeURIComponent(name)}${chatPath}?api-version=${version}`,
    authorize: (secret): Record<string, string> =>
      secret.startsWith('eyJ') ? { authorization: `Bearer ${secret}` } : { 'api-key': secret },
    settings: {
      resource: { description: 'the name before .openai.azure.com', isRequired: true, pattern: /^[a-z0-9-]{2,64}$/i },
      api_version: {
        description: 'a version such as 2024-10-21; deployments then have paths of their own',
        isRequired: false,
        pattern: /^\d{4}-\d{2}-\d{2}(?:-preview)?$/,
      },
    },
    configure: createOptions,
    isVerbatim: true,
    tokenLimit: 'by-model',
    fates: {
      ...openAiFates,
      'messages.file_data': 'refused',
      'messages.cache_marks': 'dropped',
      web_search_options: 'refused',
      moderation: 'refused',
    },
  };
}

export const azureOpenai = createOpenAiCompatible(createOptions({}));
