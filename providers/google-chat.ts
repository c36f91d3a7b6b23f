/** The chat endpoint of generateContent, as both surfaces serve it. */
import type { AdapterTarget, ChatEndpoint } from '../src/contract/provider.ts';
import type { Surface } from './google-draft.ts';
import { googleFates } from './google-fates.ts';
import { adaptReply } from './google-reply.ts';
import { writeRequest } from './google-request.ts';
import { GoogleStreamTranslator } from './google-stream.ts';
import { readUsage } from './google-usage.ts';

/** `models`: the path of the models below the base URL. */
export const createGoogleChat = (surface: Surface, models: string): ChatEndpoint => ({
  fates: googleFates,
  path: ({ upstreamModel }: AdapterTarget, isStream) =>
    `${models}/${encodeURIComponent(upstreamModel)}:${isStream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`,
  request: (body, target) => writeRequest(body, target, surface),
  response: adaptReply,
  stream: (context) => new GoogleStreamTranslator(context),
  usage: readUsage,
});
