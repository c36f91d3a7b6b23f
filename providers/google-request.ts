/**
 * A Chat Completions body as a generateContent request. It is written anew, for no member is alike; members of Gemini's
 * own go as sent, and win over what was made of OpenAI's. Spec: fidelity 5.1.
 */
import type { JsonObject } from '../src/contract/json.ts';
import type { AdapterTarget, RequestRewrite } from '../src/contract/provider.ts';
import { writeContents } from './google-contents.ts';
import { GeminiDraft, type Surface } from './google-draft.ts';
import { googleFates, ownFields } from './google-fates.ts';
import { writeGeneration } from './google-generation.ts';
import { writeThinking } from './google-thinking.ts';
import { writeTools } from './google-tools.ts';
import { objectOf, textOf } from './json-values.ts';
import { passOwnMembers } from './own-members.ts';

/** These fields have steps of their own; the rest follows its fate. */
const written: ReadonlySet<string> = new Set([
  'messages',
  'model',
  'tools',
  'tool_choice',
  'functions',
  'function_call',
  'web_search_options',
  'response_format',
  'reasoning_effort',
  'max_tokens',
  'max_completion_tokens',
  'temperature',
  'top_p',
  'top_k',
  'seed',
  'presence_penalty',
  'frequency_penalty',
  'n',
  'stop',
  'logprobs',
  'top_logprobs',
  'modalities',
  'stream',
  'stream_options',
  'service_tier',
  'metadata',
  'generationConfig',
  'toolConfig',
]);

const serviceTiers: Readonly<Record<string, string>> = { default: 'standard', flex: 'flex', priority: 'priority' };

/** A field on one surface, a header on the other. `auto` is what both do anyway. */
function writeServiceTier(draft: GeminiDraft): void {
  const asked = textOf(draft.value('service_tier'));
  if (asked === '' || asked === 'auto') return;
  const tier = Object.hasOwn(serviceTiers, asked) ? serviceTiers[asked] : undefined;
  if (tier === undefined) draft.drop('service_tier');
  else if (draft.surface === 'gemini') draft.body.serviceTier = tier;
  else if (tier !== 'standard') draft.headers['x-vertex-ai-llm-shared-request-type'] = tier;
}

function addIfAny(body: JsonObject, name: string, members: JsonObject): void {
  if (Object.keys(members).length > 0) body[name] = members;
}

export function writeRequest(source: JsonObject, target: AdapterTarget, surface: Surface): RequestRewrite {
  const draft = new GeminiDraft(source, target, surface);
  const { body, generationConfig, toolConfig, headers, dropped } = draft;
  writeContents(draft);
  writeTools(draft);
  writeGeneration(draft);
  writeThinking(draft);
  if (draft.system.length > 0) body.systemInstruction = { parts: draft.system };
  addIfAny(body, 'generationConfig', { ...generationConfig, ...objectOf(draft.value('generationConfig')) });
  addIfAny(body, 'toolConfig', toolConfig);
  writeServiceTier(draft);
  passOwnMembers(draft, { written, fates: googleFates, own: ownFields });
  return { body, dropped, ...(Object.keys(headers).length === 0 ? {} : { headers }) };
}
