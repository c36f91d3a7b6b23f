/**
 * A Chat Completions body as a Converse request. Its turns, tools and thinking are Anthropic's under other names, so they
 * are written as a Messages request first, by the same rules, and then renamed. Spec: fidelity 4 and 5.4.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { AdapterTarget, RequestRewrite } from '../src/contract/provider.ts';
import { limitCacheMarks } from './anthropic-cache.ts';
import { MessagesDraft } from './anthropic-draft.ts';
import { writeMessages } from './anthropic-messages.ts';
import { formatOf, writeOutputFormat } from './anthropic-output.ts';
import { isLong, writeSampling, writeStop, writeTokenLimit } from './anthropic-sampling.ts';
import { writeThinking } from './anthropic-thinking.ts';
import { relaxChoice, writeTools } from './anthropic-tools.ts';
import { modelOf, type ConverseModel } from './bedrock-abilities.ts';
import { ConverseContent, type Assets } from './bedrock-content.ts';
import { toBlocks, toMessages, toOutputConfig, toToolChoice, toTools } from './bedrock-converse.ts';
import { bedrockFates, ownFields } from './bedrock-fates.ts';
import { objectOf, objectsIn, textOf } from './json-values.ts';
import { refuse } from './openai-draft.ts';
import type { FateTable } from './openai-fates.ts';
import { asksForNothing } from './openai-request.ts';
import { askedEffort } from './reasoning-effort.ts';

const serviceTiers: Readonly<Record<string, string>> = {
  auto: 'default',
  default: 'default',
  flex: 'flex',
  priority: 'priority',
  fast: 'priority',
  scale: 'reserved',
  reserved: 'reserved',
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
  'stream',
  'stream_options',
  'service_tier',
  'metadata',
]);

function followFates(draft: MessagesDraft): void {
  const fates: FateTable = bedrockFates;
  for (const [key, value] of Object.entries(draft.source)) {
    if (value === undefined || value === null || written.has(key)) continue;
    if (ownFields.has(key) || asksForNothing(key, value)) continue;
    if (Object.hasOwn(fates, key) && fates[key] === 'refused') refuse(key);
    draft.drop(key);
  }
}

/** The three levels that these models know. */
function threeLevels(effort: string): string {
  if (effort === 'minimal') return 'low';
  return effort === 'xhigh' || effort === 'max' ? 'high' : effort;
}

/** What is said of thinking to a model that is no Claude. */
function foreignThinking(draft: MessagesDraft, { effortForm }: ConverseModel): JsonObject {
  const effort = askedEffort(draft.source);
  const thinking = draft.value('thinking');
  const own = isJsonObject(thinking) ? { thinking } : {};
  if (effort === null) return own;
  if (effortForm === 'gpt-oss' && effort !== 'none') return { ...own, reasoning_effort: threeLevels(effort) };
  if (effortForm === 'nova') {
    const level = { type: 'enabled', maxReasoningEffort: threeLevels(effort) };
    return { ...own, reasoningConfig: effort === 'none' ? { type: 'disabled' } : level };
  }
  draft.drop('reasoning_effort');
  return own;
}

function additionalFields(draft: MessagesDraft, model: ConverseModel, foreign: JsonObject): JsonObject {
  const { thinking, output_config: output, top_k: topK } = draft.body;
  const { format: _, ...effort } = objectOf(output);
  return {
    ...foreign,
    ...(thinking === undefined ? {} : { thinking }),
    ...(Object.keys(effort).length === 0 ? {} : { output_config: effort }),
    ...(typeof topK === 'number' ? model.topK(topK) : {}),
  };
}

/** Without a limit the model's own holds; only a budget of thinking has to fit into one that is said. */
function inferenceConfig(draft: MessagesDraft): JsonObject {
  const { max_tokens: limit, temperature, top_p: topP, stop_sequences: stopSequences, thinking } = draft.body;
  const isAsked = (draft.value('max_completion_tokens') ?? draft.value('max_tokens')) !== undefined;
  const isBudget = objectOf(thinking).budget_tokens !== undefined;
  return {
    ...((isAsked || isBudget) && Number.isFinite(limit) ? { maxTokens: limit } : {}),
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { topP }),
    ...(stopSequences === undefined ? {} : { stopSequences }),
  };
}

/** Converse knows no choice `none`: the tools are left out, unless the history calls them. */
function toolConfig(draft: MessagesDraft, { takesNamedTool }: ConverseModel): JsonObject {
  const { tools, tool_choice: choice } = draft.body;
  const isForbidden = objectOf(choice).type === 'none';
  if (isForbidden && draft.calledTools.size === 0) return {};
  // Tools that only the history knows were never offered, so there is no choice to report.
  const isOffered = objectsIn(draft.value('tools')).length > 0 || objectsIn(draft.value('functions')).length > 0;
  if (isForbidden && isOffered) {
    draft.drop(`${draft.value('tool_choice') === undefined ? 'function_call' : 'tool_choice'}(none->auto)`);
  }
  const { type, name } = objectOf(choice);
  const isAlone = type === 'tool' && !takesNamedTool;
  const offered = isAlone ? objectsIn(tools).filter((tool) => tool.name === name) : objectsIn(tools);
  if (offered.length === 0) return {};
  const toolChoice = toToolChoice(isAlone ? { type: 'any' } : choice);
  return { tools: toTools(offered), ...(toolChoice === null ? {} : { toolChoice }) };
}

function limitCachePoints(draft: MessagesDraft, { cachePoints }: ConverseModel): void {
  limitCacheMarks(draft);
  if (cachePoints === 'everywhere') return;
  const messages = objectsIn(draft.body.messages).flatMap(({ content }) => objectsIn(content));
  const inPrompt = cachePoints === 'nowhere' ? [...draft.system, ...messages] : [];
  const holders = [...objectsIn(draft.body.tools), ...inPrompt].filter((holder) => isJsonObject(holder.cache_control));
  for (const holder of holders) delete holder.cache_control;
  if (holders.length > 0) draft.drop('cache_control');
}

function serviceTier(draft: MessagesDraft): JsonObject {
  const asked = draft.value('service_tier');
  if (asked === undefined) return {};
  const type = serviceTiers[textOf(asked)];
  if (type !== undefined) return { type };
  draft.drop('service_tier');
  return {};
}

/** What the caller says in Converse's own words counts more than what is made of OpenAI's. */
function setAll(body: JsonObject, source: JsonObject, members: Readonly<Record<string, JsonObject>>): void {
  for (const [key, made] of Object.entries(members)) {
    const own = source[key];
    const value: JsonValue = isJsonObject(own) ? { ...made, ...own } : made;
    if (Object.keys(value).length > 0) body[key] = value;
  }
  for (const key of ownFields) {
    const value = source[key] ?? undefined;
    if (body[key] === undefined && value !== undefined) body[key] = value;
  }
}

export function writeRequest(body: JsonObject, target: AdapterTarget, assets: Assets = new Map()): RequestRewrite {
  const model = modelOf(target);
  const content = new ConverseContent(assets);
  const source = { ...body, messages: content.messages(body.messages) };
  const draft = new MessagesDraft(source, target, model);
  draft.dropped.push(...content.dropped);
  followFates(draft);
  writeTokenLimit(draft);
  writeMessages(draft);
  const jsonTool = writeOutputFormat(draft);
  writeTools(draft, jsonTool);
  const foreign = model.effortForm === 'claude' ? {} : foreignThinking(draft, model);
  if (model.effortForm === 'claude') writeThinking(draft, jsonTool !== null);
  relaxChoice(draft);
  writeSampling(draft);
  writeStop(draft);
  if (draft.value('parallel_tool_calls') === false) draft.drop('parallel_tool_calls');
  draft.body.system = draft.system;
  limitCachePoints(draft, model);
  const format = objectOf(objectOf(draft.body.output_config).format);
  const sent: JsonObject = { messages: toMessages(draft.body.messages) };
  if (draft.system.length > 0) sent.system = toBlocks(draft.system);
  setAll(sent, source, {
    inferenceConfig: inferenceConfig(draft),
    toolConfig: toolConfig(draft, model),
    outputConfig:
      format.schema === undefined ? {} : toOutputConfig(format, objectOf(formatOf(draft.source).json_schema)),
    additionalModelRequestFields: additionalFields(draft, model, foreign),
    serviceTier: serviceTier(draft),
  });
  const streamsUpstream = draft.value('stream') !== true && isLong(objectOf(sent.inferenceConfig).maxTokens);
  return { body: sent, dropped: draft.dropped, ...(streamsUpstream ? { streamsUpstream } : {}) };
}
