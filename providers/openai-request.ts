/**
 * The smallest edit that makes a Chat Completions body right for one OpenAI-shaped upstream: its own model name, its name
 * for the token limit, usage asked for, and each parameter's declared fate. It never changes the body it is given and
 * never rebuilds it: a member that is not named in the table goes through as it came. Spec: fidelity 10.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { AdapterTarget, ParameterFate, RequestEdit } from '../src/contract/provider.ts';
import { Draft, refuse, type RequestRules } from './openai-draft.ts';
import { toToolChoice, toTools, usesLegacyFunctions } from './openai-legacy.ts';
import { editResponseFormat } from './openai-request-format.ts';
import { editMessages } from './openai-request-messages.ts';
import { editEffort } from './openai-request-reasoning.ts';
import { editTools } from './openai-request-tools.ts';

/** Values that ask for nothing: taken out without a word where the parameter itself cannot stay. */
export function asksForNothing(key: string, value: JsonValue): boolean {
  if (Array.isArray(value)) {
    return value.length === 0 || (key === 'modalities' && value.length === 1 && value[0] === 'text');
  }
  if (key === 'n') return value === 1;
  if (key === 'presence_penalty' || key === 'frequency_penalty' || key === 'top_logprobs') return value === 0;
  if (key === 'parallel_tool_calls') return value === true;
  return value === false || (isJsonObject(value) && Object.keys(value).length === 0);
}

/** OpenAI's reasoning models know only the newer name. */
const wantsNewLimit = (model: string): boolean => /^(?:ft:)?(?:o\d|gpt-[5-9])/.test(model);

function editTokenLimit(draft: Draft): void {
  const { body, rules, target } = draft;
  const older = body.max_tokens ?? undefined;
  const newer = body.max_completion_tokens ?? undefined;
  switch (rules.tokenLimit) {
    case 'by-model':
      if (older === undefined || !wantsNewLimit(target.upstreamModel)) return;
      if (newer === undefined) draft.replace('max_completion_tokens', older);
      draft.take('max_tokens');
      return;
    case 'max_tokens':
      if (newer === undefined) return;
      draft.replace('max_tokens', newer);
      draft.take('max_completion_tokens');
      return;
    case 'either':
      if (newer !== undefined) draft.take('max_tokens');
  }
}

/** The meter needs the figures of every stream, whoever asked. */
function editStreamOptions(draft: Draft): void {
  const { body, rules } = draft;
  const theirs = isJsonObject(body.stream_options) ? body.stream_options : {};
  if (body.stream === true && rules.supportsStreamOptions) {
    if (theirs.include_usage !== true) draft.replace('stream_options', { ...theirs, include_usage: true });
  } else if (!rules.isVerbatim) {
    draft.take('stream_options');
  }
}

function editLegacyFunctions(draft: Draft): void {
  const { body, rules } = draft;
  if (rules.fates.functions !== 'emulated') return;
  if (usesLegacyFunctions(body) && Array.isArray(body.functions)) {
    draft.replace('tools', toTools(body.functions));
    const choice = body.function_call ?? undefined;
    if (choice !== undefined) draft.replace('tool_choice', toToolChoice(choice));
  }
  draft.take('functions');
  draft.take('function_call');
}

/** These have steps of their own, before the table is read. */
const handledApart = new Set([
  'messages',
  'model',
  'tools',
  'tool_choice',
  'stream',
  'stream_options',
  'max_tokens',
  'max_completion_tokens',
]);

/** What the catalogue says that the model cannot do. Knobs are then dropped; what changes the answer is refused. */
function isLacking(draft: Draft, key: string): boolean {
  const outputs = draft.target.model?.outputModalities ?? [];
  if (key === 'modalities' || key === 'audio') return outputs.length > 0 && !outputs.includes('audio');
  return !draft.supports(...(key === 'reasoning_effort' ? [key, 'reasoning'] : [key]));
}

const changesAnswer = new Set(['n', 'modalities', 'audio', 'web_search_options']);

function modelFate(draft: Draft, key: string): ParameterFate {
  if (!isLacking(draft, key)) return 'mapped';
  return changesAnswer.has(key) ? 'refused' : 'dropped';
}

function fateOf(draft: Draft, key: string): ParameterFate | undefined {
  const { fates, quirks } = draft.rules;
  if (!Object.hasOwn(fates, key)) return quirks.ownMembers?.includes(key) === true ? 'mapped' : draft.fate('*');
  const fate = draft.fate(key);
  return fate === 'by-model' ? modelFate(draft, key) : fate;
}

function applyFate(draft: Draft, key: string): void {
  const { body, rules } = draft;
  const value = body[key];
  const fate = fateOf(draft, key);
  if (value === undefined || fate === undefined || handledApart.has(key)) return;
  if (fate === 'consumed' && rules.isVerbatim) return;
  if (fate === 'mapped' && !Object.hasOwn(rules.fates, key)) return;
  const staysHere = fate === 'mapped' || fate === 'emulated';
  if (value === null) {
    if (!rules.isVerbatim || !staysHere) draft.take(key);
    return;
  }
  if (staysHere) {
    rename(draft, key);
    return;
  }
  draft.take(key);
  if (fate === 'consumed' || asksForNothing(key, value)) return;
  if (fate === 'refused') refuse(key);
  draft.dropped.push(key);
}

function rename(draft: Draft, key: string): void {
  const name = draft.rules.quirks.renames?.[key];
  const value = draft.value(key);
  if (name === undefined || value === undefined) return;
  if (draft.value(name) === undefined) draft.replace(name, value);
  draft.take(key);
}

function editKnobs(draft: Draft): void {
  const { quirks } = draft.rules;
  if (quirks.zeroTemperature !== undefined && draft.body.temperature === 0) {
    draft.replace('temperature', quirks.zeroTemperature);
  }
  const { defaults } = quirks;
  if (defaults?.models.test(draft.target.upstreamModel) === true) draft.setAbsent(defaults.members);
}

export function editRequest(body: JsonObject, target: AdapterTarget, rules: RequestRules): RequestEdit {
  const draft = new Draft(body, target, rules);
  if (body.model !== target.upstreamModel) draft.replace('model', target.upstreamModel);
  editTokenLimit(draft);
  editStreamOptions(draft);
  editLegacyFunctions(draft);
  if (!rules.isVerbatim) editTools(draft);
  editMessages(draft);
  editResponseFormat(draft);
  for (const key of Object.keys(body)) applyFate(draft, key);
  editEffort(draft);
  editKnobs(draft);
  return { set: draft.set, remove: draft.remove, dropped: draft.dropped };
}
