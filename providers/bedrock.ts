/**
 * Amazon Bedrock, by its Converse API: one form of request for the models of every vendor there. The key is
 * `<access key id>:<secret access key>[:<session token>]`, with which each request is signed, or a Bedrock API key, which
 * has no colon and is sent as it is.
 */
import type { AdapterTarget, ChatEndpoint, ProviderAdapter } from '../src/contract/provider.ts';
import { adaptReply } from './bedrock-answer.ts';
import { namedUrls } from './bedrock-content.ts';
import { findError, mapError } from './bedrock-errors.ts';
import { thinkingAllowance } from './anthropic-thinking.ts';
import { modelOf } from './bedrock-abilities.ts';
import { bedrockFates } from './bedrock-fates.ts';
import { writeRequest } from './bedrock-request.ts';
import { BedrockStreamTranslator } from './bedrock-stream.ts';
import { readUsage } from './bedrock-usage.ts';

/** An ARN has slashes and colons in it. */
const path = ({ upstreamModel }: AdapterTarget, isStream: boolean): string =>
  `/model/${encodeURIComponent(upstreamModel)}/converse${isStream ? '-stream' : ''}`;

const chat: ChatEndpoint = {
  fates: bedrockFates,
  path,
  assets: namedUrls,
  request: writeRequest,
  outputAllowance(body, target) {
    const { abilities, maxOutputTokens } = modelOf(target);
    return thinkingAllowance(body, abilities, maxOutputTokens);
  },
  response: adaptReply,
  stream: (context) => new BedrockStreamTranslator(context),
  framing: 'amazon-event-stream',
  usage: readUsage,
};

function createBedrock(region: string): ProviderAdapter {
  const domain = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
  return {
    id: 'bedrock',
    name: 'Amazon Bedrock',
    baseUrl: `https://bedrock-runtime.${region}.${domain}`,
    needsKey: true,
    authorize: (secret) => ({ authorization: `Bearer ${secret}` }),
    signing: { scheme: 'sigv4', service: 'bedrock', region },
    settings: {
      region: {
        description: 'a region of Amazon, such as us-east-1',
        isRequired: true,
        pattern: /^[a-z]{2,3}(?:-[a-z]+)+-\d{1,2}$/,
      },
    },
    configure: ({ region: configured = region }) => createBedrock(configured),
    endpoints: { chat },
    mapError,
    findError,
  };
}

export const bedrock = createBedrock('us-east-1');
