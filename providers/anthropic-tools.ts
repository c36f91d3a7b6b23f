/** Tools and the choice between them. Spec: fidelity 4.1. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { cacheMark } from './anthropic-cache.ts';
import type { Block, MessagesDraft } from './anthropic-draft.ts';
import { sanitiseSchema } from './anthropic-schema.ts';
import { allowedTools, askedChoice, askedTools, calledName } from './asked-tools.ts';
import { objectsIn, textOf } from './json-values.ts';
import { refuse } from './openai-draft.ts';

/** OpenAI names no number of searches; these are what the sizes are worth elsewhere in the field. */
const searchesBySize: Readonly<Record<string, number>> = { low: 1, medium: 5, high: 10 };

function functionTool(draft: MessagesDraft, declared: JsonObject, position: number): Block {
  const schema = isJsonObject(declared.parameters) ? declared.parameters : { type: 'object', properties: {} };
  const isStrict = declared.strict === true && draft.abilities.strictTools;
  if (declared.strict === true && !isStrict) draft.drop(`tools.${position}.function.strict`);
  const description = textOf(declared.description);
  return {
    name: declared.name,
    ...(description === '' ? {} : { description }),
    // A strict tool is held to the subset of schemas that structured output knows.
    input_schema: isStrict ? sanitiseSchema(schema) : { type: 'object', ...schema },
    ...(isStrict ? { strict: true } : {}),
  };
}

function toTool(draft: MessagesDraft, tool: JsonObject, position: number): Block {
  const { type: _type, function: declared, cache_control: _mark, prompt_cache_breakpoint: _breakpoint, ...own } = tool;
  if (!isJsonObject(declared)) {
    if (isJsonObject(tool.custom)) refuse(`tools[${position}]`);
    // A tool of Anthropic's own, with or without a server behind it.
    return { ...tool };
  }
  // Beside the function stands what Anthropic alone knows of tools, such as `defer_loading`.
  const written = { ...functionTool(draft, declared, position), ...own };
  const mark = cacheMark(tool) ?? cacheMark(declared);
  return mark === null ? written : { ...written, cache_control: mark };
}

function searchTool(options: JsonObject): Block {
  const place = isJsonObject(options.user_location) ? options.user_location : {};
  const where = isJsonObject(place.approximate) ? place.approximate : null;
  const uses = searchesBySize[textOf(options.search_context_size)];
  return {
    type: 'web_search_20250305',
    name: 'web_search',
    ...(uses === undefined ? {} : { max_uses: uses }),
    ...(where === null ? {} : { user_location: { ...where, type: 'approximate' } }),
  };
}

/** Only those that may be called. */
function offeredTools(draft: MessagesDraft): Block[] {
  const allowed = allowedTools(askedChoice(draft.source));
  const names = objectsIn(allowed?.tools).map(calledName);
  const isOffered = (tool: JsonObject): boolean => allowed === null || names.includes(calledName(tool));
  return askedTools(draft.source).flatMap((tool, position) => (isOffered(tool) ? [toTool(draft, tool, position)] : []));
}

/** A history with calls needs their tools declared, even when the caller offers none any more. */
const rememberedTools = (draft: MessagesDraft, jsonTool: Block | null): Block[] =>
  [...draft.calledTools]
    .filter((name) => name !== jsonTool?.name)
    .map((name) => ({ name, input_schema: { type: 'object', properties: {} } }));

/** Without a tool to call the choice itself has no place. */
export function writeTools(draft: MessagesDraft, jsonTool: Block | null): void {
  const tools = offeredTools(draft);
  const search = draft.value('web_search_options');
  if (isJsonObject(search)) tools.push(searchTool(search));
  const hasAny = tools.length > 0;
  if (!hasAny) tools.push(...rememberedTools(draft, jsonTool));
  if (jsonTool !== null) tools.push(jsonTool);
  if (tools.length === 0) return;
  draft.body.tools = tools;
  if (jsonTool !== null) draft.body.tool_choice = jsonChoice(draft, jsonTool, hasAny);
  else if (!hasAny) draft.body.tool_choice = { type: 'none' };
  else writeChoice(draft);
}

/** The answer is a call of one tool or the other; in parallel they would be two answers. */
function jsonChoice(draft: MessagesDraft, jsonTool: Block, hasOthers: boolean): JsonObject {
  const asked = askedChoice(draft.source);
  const name = isJsonObject(asked) && asked.type === 'function' ? calledName(asked) : undefined;
  if (name !== undefined) return { type: 'tool', name, disable_parallel_tool_use: true };
  const isFree = hasOthers && asked !== 'none';
  return isFree
    ? { type: 'any', disable_parallel_tool_use: true }
    : { type: 'tool', name: jsonTool.name, disable_parallel_tool_use: true };
}

function readChoice(asked: JsonValue | undefined): JsonObject | null {
  const allowed = allowedTools(asked);
  const mode = allowed === null ? asked : allowed.mode;
  if (mode === 'none') return { type: 'none' };
  if (mode === 'required') return { type: 'any' };
  if (!isJsonObject(mode)) return mode === 'auto' || allowed !== null ? { type: 'auto' } : null;
  if (mode.type === 'custom') refuse('tool_choice');
  return mode.type === 'function' ? { type: 'tool', name: calledName(mode) } : { ...mode };
}

function writeChoice(draft: MessagesDraft): void {
  const isSerial = draft.value('parallel_tool_calls') === false;
  const choice = readChoice(askedChoice(draft.source)) ?? (isSerial ? { type: 'auto' } : null);
  if (choice === null) return;
  if (isSerial && choice.type !== 'none') choice.disable_parallel_tool_use = true;
  draft.body.tool_choice = choice;
}

/** After it is known whether the model thinks: some models refuse to be forced then, and a few always. */
export function relaxChoice(draft: MessagesDraft): void {
  const { body, abilities } = draft;
  const choice = body.tool_choice;
  if (!isJsonObject(choice) || (choice.type !== 'any' && choice.type !== 'tool')) return;
  const { forcedTool } = abilities;
  if (forcedTool === 'accepted' || (forcedTool === 'unless-thinking' && !draft.isThinking)) return;
  const { name: _name, ...others } = choice;
  body.tool_choice = { ...others, type: 'auto' };
  const name = draft.value('tool_choice') === undefined ? 'function_call' : 'tool_choice';
  draft.drop(`${name}(${choice.type === 'any' ? 'required' : 'function'}->auto)`);
}
