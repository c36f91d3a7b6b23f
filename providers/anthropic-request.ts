/**
 * A Chat Completions body as a Messages request. It is written anew, for no member is alike, but not from a list of what
 * is known: what the table of fates does not name is Anthropic's own and goes as sent, or it is reported. Spec: fidelity 4.
 */
import type { JsonObject } from '../src/contract/json.ts';
import type { AdapterTarget, RequestRewrite } from '../src/contract/provider.ts';
import { limitCacheMarks } from './anthropic-cache.ts';
import { MessagesDraft } from './anthropic-draft.ts';
import { anthropicFates, ownFields } from './anthropic-fates.ts';
import { writeMessages } from './anthropic-messages.ts';
import { writeOutputFormat } from './anthropic-output.ts';
import { writeSampling, writeStop, writeStream, writeTokenLimit } from './anthropic-sampling.ts';
import { writeThinking } from './anthropic-thinking.ts';
import { relaxChoice, writeTools } from './anthropic-tools.ts';
import { textOf } from './json-values.ts';
import { passOwnMembers } from './own-members.ts';

const serviceTiers: Readonly<Record<string, string>> = {
  auto: 'auto',
  default: 'standard_only',
  priority: 'auto',
  fast: 'auto',
  standard_only: 'standard_only',
};

/** These fields have steps of their own; the rest follows its fate. */
const written: ReadonlySet<string> = new Set([
  'messages',
  'system',
  'model',
  'tools',
  'tool_choice',
  'parallel_tool_calls',
  'functions',
  'function_call',
  'web_search_options',
  'response_format',
  'output_config',
  'reasoning_effort',
  'thinking',
  'max_tokens',
  'max_completion_tokens',
  'temperature',
  'top_p',
  'top_k',
  'stop',
  'stop_sequences',
  'stream',
  'stream_options',
  'user',
  'safety_identifier',
  'service_tier',
  'metadata',
  'betas',
]);

function writeUser(draft: MessagesDraft): void {
  const user = textOf(draft.value('safety_identifier')) || textOf(draft.value('user'));
  if (user !== '') draft.body.metadata = { user_id: user };
}

function writeServiceTier(draft: MessagesDraft): void {
  const asked = draft.value('service_tier');
  if (asked === undefined) return;
  const tier = serviceTiers[textOf(asked)];
  if (tier === undefined) draft.drop('service_tier');
  else draft.body.service_tier = tier;
}

/** `betas` is how Anthropic's own clients name them beside the body. */
function betaHeader(draft: MessagesDraft): Record<string, string> | undefined {
  const own = draft.value('betas');
  for (const name of Array.isArray(own) ? own : []) {
    if (typeof name === 'string' && /^[a-z0-9-]+$/.test(name)) draft.betas.add(name);
    else draft.drop('betas');
  }
  return draft.betas.size === 0 ? undefined : { 'anthropic-beta': [...draft.betas].join(',') };
}

export function writeRequest(source: JsonObject, target: AdapterTarget): RequestRewrite {
  const draft = new MessagesDraft(source, target);
  draft.body.model = target.upstreamModel;
  writeTokenLimit(draft);
  writeMessages(draft);
  const jsonTool = writeOutputFormat(draft);
  if (draft.system.length > 0) draft.body.system = draft.system;
  writeTools(draft, jsonTool);
  writeThinking(draft, jsonTool !== null);
  relaxChoice(draft);
  writeSampling(draft);
  writeStop(draft);
  writeUser(draft);
  writeServiceTier(draft);
  passOwnMembers(draft, { written, fates: anthropicFates, own: ownFields });
  limitCacheMarks(draft);
  const headers = betaHeader(draft);
  const { streamsUpstream } = writeStream(draft);
  return {
    body: draft.body,
    dropped: draft.dropped,
    ...(headers === undefined ? {} : { headers }),
    ...(streamsUpstream ? { streamsUpstream } : {}),
  };
}
