/**
 * The factory for every upstream that speaks Chat Completions, more or less. It takes what is special about a vendor as
 * data and gives a `ProviderAdapter`; a vendor that needs more than data has its own file. An exact vendor is passed
 * through untouched, all others go through the normaliser. Spec: fidelity 2.2 and 8.
 */
import type { AdapterTarget, ChatEndpoint, ProviderAdapter, ProviderSetting } from '../src/contract/provider.ts';
import type { RequestRules } from './openai-draft.ts';
import { findError, mapError } from './openai-errors.ts';
import { localFates, type FateTable } from './openai-fates.ts';
import { commonNoise } from './openai-message.ts';
import { adaptReply } from './openai-reply.ts';
import { editRequest } from './openai-request.ts';
import type { RequestQuirks } from './openai-quirks.ts';
import { OpenAiStreamNormaliser } from './openai-stream.ts';
import { readUsage } from './openai-usage.ts';

export type OpenAiCompatibleOptions = {
  id: string;
  /** As people write it. */
  name: string;
  /** Without a slash at its end. */
  baseUrl: string;
  /** False: runs without a key; one that is given is sent. */
  needsKey?: boolean;
  /** True: replies pass through untouched, because the upstream is OpenAI or exactly like it. */
  isExact?: boolean;
  /** True: requests too go as sent, but for what the table of fates forbids; the default follows `isExact`. */
  isVerbatim?: boolean;
  fates?: FateTable;
  tokenLimit?: RequestRules['tokenLimit'];
  /** False: the server gives usage by itself, or is too old to be asked. */
  supportsStreamOptions?: boolean;
  quirks?: RequestQuirks;
  /** Below the base URL; by default `chatPath` for every model. */
  path?: (target: AdapterTarget) => string;
  /** How the key travels; by default as a bearer token. */
  authorize?: ProviderAdapter['authorize'];
  settings?: Readonly<Record<string, ProviderSetting>>;
  /** The options under these settings. */
  configure?: (settings: Readonly<Record<string, string>>) => OpenAiCompatibleOptions;
  /** Members of replies that are of no use to anybody, beside those that many vendors share. */
  noise?: readonly string[];
};

export const chatPath = '/chat/completions';

export function createChatEndpoint(options: OpenAiCompatibleOptions): ChatEndpoint {
  const isExact = options.isExact ?? false;
  const noise = [...commonNoise, ...(options.noise ?? [])];
  const rules: RequestRules = {
    isVerbatim: options.isVerbatim ?? isExact,
    fates: options.fates ?? localFates,
    tokenLimit: options.tokenLimit ?? (isExact ? 'by-model' : 'max_tokens'),
    supportsStreamOptions: options.supportsStreamOptions ?? true,
    quirks: options.quirks ?? {},
  };
  const endpoint: ChatEndpoint = {
    fates: rules.fates,
    path: options.path ?? (() => chatPath),
    request: (body, target) => editRequest(body, target, rules),
    response: (body, context) => (isExact ? { body: null, usage: readUsage(body) } : adaptReply(body, context, noise)),
    usage: readUsage,
  };
  return isExact ? endpoint : { ...endpoint, stream: (context) => new OpenAiStreamNormaliser(context, noise) };
}

const bearer = (secret: string): Record<string, string> => (secret === '' ? {} : { authorization: `Bearer ${secret}` });

export function createOpenAiCompatible(options: OpenAiCompatibleOptions): ProviderAdapter {
  const { id, name, baseUrl, settings, configure } = options;
  return {
    id,
    name,
    baseUrl,
    needsKey: options.needsKey ?? true,
    authorize: options.authorize ?? bearer,
    ...(settings === undefined ? {} : { settings }),
    ...(configure === undefined ? {} : { configure: (given) => createOpenAiCompatible(configure(given)) }),
    endpoints: { chat: createChatEndpoint(options) },
    mapError,
    findError,
  };
}
