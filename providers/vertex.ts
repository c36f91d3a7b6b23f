/** Google's models on Vertex AI: the same dialect, in a project and at a place, as a service account. */
import type { ProviderAdapter } from '../src/contract/provider.ts';
import { createGoogleChat } from './google-chat.ts';
import { findError, mapError } from './google-errors.ts';

/** Single regions, places of several, and the one that is everywhere each have hosts of their own form. */
function hostOf(location: string): string {
  if (location === 'global') return 'aiplatform.googleapis.com';
  return /^[a-z]{2}$/.test(location)
    ? `aiplatform.${location}.rep.googleapis.com`
    : `${location}-aiplatform.googleapis.com`;
}

function createVertex({ project = 'project', location = 'global' }: Readonly<Record<string, string>>): ProviderAdapter {
  return {
    id: 'vertex',
    name: 'Vertex AI',
    baseUrl: `https://${hostOf(location)}`,
    needsKey: true,
    // Of a token that was fetched for the account.
    authorize: (token) => ({ authorization: `Bearer ${token}` }),
    signing: { scheme: 'service-account', scopes: ['https://www.googleapis.com/auth/cloud-platform'] },
    settings: {
      project: {
        description: 'the id of a Google Cloud project',
        isRequired: true,
        pattern: /^[a-z0-9](?:[a-z0-9.:-]{0,61}[a-z0-9])?$/,
      },
      location: {
        description: 'a region such as europe-west4, a place such as eu, or global, which is the default',
        isRequired: false,
        pattern: /^[a-z]+(?:-[a-z]+\d+)?$/,
      },
    },
    configure: createVertex,
    endpoints: {
      chat: createGoogleChat('vertex', `/v1beta1/projects/${project}/locations/${location}/publishers/google/models`),
    },
    mapError,
    findError,
  };
}

export const vertex = createVertex({});
