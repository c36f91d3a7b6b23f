/** Google's Gemini API, by its own generateContent: requests are written anew, replies and streams translated. */
import type { ProviderAdapter } from '../src/contract/provider.ts';
import { createGoogleChat } from './google-chat.ts';
import { findError, mapError } from './google-errors.ts';

export const google: ProviderAdapter = {
  id: 'google',
  name: 'Google',
  baseUrl: 'https://generativelanguage.googleapis.com/v1beta',
  needsKey: true,
  authorize: (secret) => ({ 'x-goog-api-key': secret }),
  endpoints: { chat: createGoogleChat('gemini', '/models') },
  mapError,
  findError,
};
