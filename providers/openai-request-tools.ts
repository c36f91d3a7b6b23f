/** Tools and the choice between them, for upstreams that know fewer forms of both. Spec: fidelity 10. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { refuse, type Draft } from './openai-draft.ts';

const functionName = (tool: JsonValue | undefined): JsonValue | undefined =>
  isJsonObject(tool) && isJsonObject(tool.function) ? tool.function.name : undefined;

function nameText(choice: JsonValue): string {
  const name = functionName(choice);
  return typeof name === 'string' ? name : 'named';
}

/** Below these a key is a name that the caller chose, not a keyword. */
const namedSchemas = new Set(['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas']);
/** Below these there is data, not a schema. */
const values = new Set(['const', 'default', 'enum', 'examples']);

/** The schema without these keywords, wherever they stand; the same object when it has none. */
function withoutKeywords(schema: JsonValue | undefined, keywords: readonly string[]): JsonValue | undefined {
  if (Array.isArray(schema)) {
    const edited = schema.map((item) => withoutKeywords(item, keywords) ?? null);
    return edited.some((item, position) => item !== schema[position]) ? edited : schema;
  }
  if (!isJsonObject(schema)) return schema;
  let isChanged = false;
  const edited: JsonObject = {};
  for (const [key, value] of Object.entries(schema)) {
    if (keywords.includes(key)) {
      isChanged = true;
      continue;
    }
    let below = value;
    if (namedSchemas.has(key) && isJsonObject(value)) below = eachSchema(value, keywords);
    else if (!values.has(key)) below = withoutKeywords(value, keywords);
    isChanged ||= below !== value;
    edited[key] = below;
  }
  return isChanged ? edited : schema;
}

function eachSchema(schemas: JsonObject, keywords: readonly string[]): JsonObject {
  const entries = Object.entries(schemas);
  const edited = entries.map(([name, schema]) => [name, withoutKeywords(schema, keywords)] as const);
  return edited.some(([, schema], position) => schema !== entries[position]?.[1])
    ? Object.fromEntries(edited)
    : schemas;
}

function editFunction(draft: Draft, declared: JsonObject, path: string): JsonObject {
  let edited = declared;
  if (draft.fate('tools.strict') === 'dropped' && declared.strict !== undefined) {
    const { strict, ...rest } = declared;
    if (strict === true) draft.dropped.push(`${path}.strict`);
    edited = rest;
  }
  const keywords = draft.rules.quirks.unknownKeywords ?? [];
  if (keywords.length === 0 || edited.parameters === undefined) return edited;
  const parameters = withoutKeywords(edited.parameters, keywords);
  if (parameters === edited.parameters) return edited;
  draft.dropped.push(...keywords.map((keyword) => `${path}.parameters.${keyword}`));
  return { ...edited, parameters };
}

/** One tool without what the upstream does not know; the same object when nothing had to go. */
function editTool(draft: Draft, tool: JsonValue, position: number): JsonValue {
  if (!isJsonObject(tool)) return tool;
  if (draft.fate('tools.custom') === 'refused' && (tool.type === 'custom' || isJsonObject(tool.custom))) {
    refuse(`tools[${position}]`);
  }
  let edited = tool;
  if (draft.fate('messages.cache_marks') === 'dropped' && tool.cache_control !== undefined) {
    const { cache_control: mark, ...rest } = tool;
    if (mark !== null) draft.dropped.push(`tools.${position}.cache_control`);
    edited = rest;
  }
  if (!isJsonObject(edited.function)) return edited;
  const declared = editFunction(draft, edited.function, `tools.${position}.function`);
  return declared === edited.function ? edited : { ...edited, function: declared };
}

function keepTools(draft: Draft, names: readonly (JsonValue | undefined)[]): void {
  const tools = draft.value('tools');
  if (!Array.isArray(tools)) return;
  const kept = tools.filter((tool) => names.includes(functionName(tool)));
  if (kept.length < tools.length) draft.replace('tools', kept);
}

/** `allowed_tools` narrows the list itself; what remains of the choice is its mode. */
function narrowTools(draft: Draft, choice: JsonObject): 'required' | 'auto' {
  const allowed = isJsonObject(choice.allowed_tools) ? choice.allowed_tools : choice;
  keepTools(draft, (Array.isArray(allowed.tools) ? allowed.tools : []).map(functionName));
  return allowed.mode === 'required' ? 'required' : 'auto';
}

/** Where the upstream would refuse to be forced, the model chooses by itself and the caller is told. */
function canForce(draft: Draft, row: string): boolean {
  const fate = draft.fate(row);
  if (fate !== 'by-model' && fate !== 'dropped') return true;
  const known = draft.target.model?.abilities?.forcedTool;
  if (known !== undefined) return known === 'accepted';
  return fate === 'by-model' && draft.rules.quirks.unforceable?.test(draft.target.upstreamModel) !== true;
}

function editToolChoice(draft: Draft): void {
  const asked = draft.value('tool_choice');
  if (asked === undefined) {
    draft.take('tool_choice');
    return;
  }
  const isNamed = isJsonObject(asked) && asked.type !== 'allowed_tools';
  let choice = isJsonObject(asked) && !isNamed ? narrowTools(draft, asked) : asked;
  if (isNamed && draft.fate('tool_choice.named') === 'emulated') {
    keepTools(draft, [functionName(asked)]);
    choice = 'required';
  }
  const isForced = isJsonObject(choice) || choice === 'required';
  if (isForced && !canForce(draft, isJsonObject(choice) ? 'tool_choice.named' : 'tool_choice.required')) {
    const name = draft.body.tool_choice === undefined ? 'function_call' : 'tool_choice';
    draft.dropped.push(`${name}(${isNamed ? nameText(asked) : 'required'}->auto)`);
    choice = 'auto';
  }
  if (draft.fate('tool_choice') === 'dropped') {
    draft.take('tool_choice');
    if (choice === 'none') draft.dropped.push('tool_choice');
    return;
  }
  if (choice === 'required') choice = draft.rules.quirks.requiredChoice ?? choice;
  if (choice !== asked) draft.replace('tool_choice', choice);
}

/** The options of OpenAI's own search, said as a tool. */
function addWebSearch(draft: Draft): void {
  const options = draft.value('web_search_options');
  const type = draft.rules.quirks.webSearchTool;
  if (type === undefined || !isJsonObject(options)) return;
  const { user_location: location, ...parameters } = options;
  const place = isJsonObject(location) && isJsonObject(location.approximate) ? location.approximate : null;
  if (place !== null) parameters.user_location = { type: 'approximate', ...place };
  const tools = draft.value('tools');
  draft.replace('tools', [...(Array.isArray(tools) ? tools : []), { type, parameters }]);
  draft.take('web_search_options');
}

export function editTools(draft: Draft): void {
  const tools = draft.value('tools');
  if (!Array.isArray(tools) || tools.length === 0) {
    draft.take('tools');
  } else {
    if (draft.fate('tools') === 'by-model' && !draft.supports('tools')) {
      refuse(draft.body.tools === undefined ? 'functions' : 'tools');
    }
    const edited = tools.map((tool, position) => editTool(draft, tool, position));
    if (edited.some((tool, position) => tool !== tools[position])) draft.replace('tools', edited);
  }
  editToolChoice(draft);
  addWebSearch(draft);
}
