/** Anthropic, by its own Messages API: requests are written anew, replies and streams translated. */
import type { ChatEndpoint, ProviderAdapter } from '../src/contract/provider.ts';
import { abilitiesOf, outputTokensOf } from './anthropic-abilities.ts';
import { findError, mapError } from './anthropic-errors.ts';
import { anthropicFates } from './anthropic-fates.ts';
import { adaptReply } from './anthropic-reply.ts';
import { writeRequest } from './anthropic-request.ts';
import { AnthropicStreamTranslator } from './anthropic-stream.ts';
import { thinkingAllowance } from './anthropic-thinking.ts';
import { readUsage } from './anthropic-usage.ts';

const chat: ChatEndpoint = {
  fates: anthropicFates,
  path: () => '/messages',
  request: writeRequest,
  outputAllowance: (body, target) => thinkingAllowance(body, abilitiesOf(target), outputTokensOf(target)),
  response: adaptReply,
  stream: (context) => new AnthropicStreamTranslator(context),
  usage: readUsage,
};

export const anthropic: ProviderAdapter = {
  id: 'anthropic',
  name: 'Anthropic',
  baseUrl: 'https://api.anthropic.com/v1',
  needsKey: true,
  authorize: (secret) => ({ 'x-api-key': secret, 'anthropic-version': '2023-06-01' }),
  endpoints: { chat },
  mapError,
  findError,
};
