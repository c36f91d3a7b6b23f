/** Tools, functions among them, and the choice between those. Spec: fidelity 5.1. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { allowedTools, askedChoice, askedTools, calledName } from './asked-tools.ts';
import { dropCacheMarks } from './google-content.ts';
import type { GeminiDraft } from './google-draft.ts';
import { isEmptyObject, toOpenApiSchema } from './google-schema.ts';
import { objectOf, objectsIn, textOf } from './json-values.ts';
import { refuse, refuseValue } from './openai-draft.ts';

function parametersOf({ abilities }: GeminiDraft, schema: JsonValue | undefined, param: string): JsonObject {
  if (!isJsonObject(schema) || Object.keys(schema).length === 0) return {};
  if (abilities.jsonSchema) return { parametersJsonSchema: schema };
  return isEmptyObject(schema) ? {} : { parameters: toOpenApiSchema(schema, param) };
}

function declaration(draft: GeminiDraft, declared: JsonObject, position: number): JsonObject {
  const description = textOf(declared.description);
  if (declared.strict === true && !draft.abilities.strictTools) draft.drop(`tools.${position}.function.strict`);
  return {
    name: declared.name,
    ...(description === '' ? {} : { description }),
    ...parametersOf(draft, declared.parameters, `tools[${position}].function.parameters`),
  };
}

type Choice = {
  /** One of OpenAI's words, or a choice of one tool. */
  mode: JsonValue | undefined;
  /** The only ones that may be called; null: all. */
  names: readonly string[] | null;
};

function readChoice({ source }: GeminiDraft): Choice {
  const asked = askedChoice(source);
  const allowed = allowedTools(asked);
  if (allowed === null) return { mode: asked, names: null };
  return { mode: allowed.mode ?? 'auto', names: objectsIn(allowed.tools).map((tool) => textOf(calledName(tool))) };
}

/** Without the mode that checks calls, names can only narrow a call that is forced: the others are not offered. */
const isHidden = (draft: GeminiDraft, { mode, names }: Choice, { name }: JsonObject): boolean =>
  names !== null && mode === 'auto' && !draft.abilities.strictTools && !names.includes(textOf(name));

type Offered = { functions: JsonObject[]; own: JsonObject[]; isStrict: boolean };

function readTools(draft: GeminiDraft, choice: Choice): Offered {
  const offered: Offered = { functions: [], own: [], isStrict: false };
  for (const [position, tool] of askedTools(draft.source).entries()) {
    dropCacheMarks(draft, tool, `tools.${position}`);
    const declared = tool.function;
    if (isJsonObject(declared)) {
      if (isHidden(draft, choice, declared)) continue;
      offered.functions.push(declaration(draft, declared, position));
      offered.isStrict ||= declared.strict === true && draft.abilities.strictTools;
    } else if (tool.type === undefined && tool.custom === undefined) {
      // A tool of Gemini's own has no type, and goes as the caller wrote it.
      offered.own.push({ ...tool });
    } else refuse(`tools[${position}]`);
  }
  return offered;
}

/** How much is searched cannot be said, nor where. */
function addSearch(draft: GeminiDraft, { functions, own }: Offered): void {
  const options = draft.value('web_search_options');
  if (!isJsonObject(options)) return;
  if (functions.length > 0 && !draft.isThirdGeneration) {
    refuseValue(
      'web_search_options',
      'This model cannot search the web and call functions in one request. Leave one out.',
    );
  }
  if (isJsonObject(options.user_location)) draft.drop('web_search_options.user_location');
  own.push({ googleSearch: {} });
}

function named(choice: JsonObject): JsonObject {
  if (choice.type !== 'function') refuse('tool_choice');
  return { mode: 'ANY', allowedFunctionNames: [textOf(calledName(choice))] };
}

/** null: as the model does anyway. */
function callingConfig({ abilities }: GeminiDraft, { mode, names }: Choice, isStrict: boolean): JsonObject | null {
  if (mode === 'none') return { mode: 'NONE' };
  if (isJsonObject(mode)) return named(mode);
  const narrowed = names === null ? {} : { allowedFunctionNames: [...names] };
  if (mode === 'required') return { mode: 'ANY', ...narrowed };
  if (isStrict || (names !== null && abilities.strictTools)) return { mode: 'VALIDATED', ...narrowed };
  return mode === undefined ? null : { mode: 'AUTO' };
}

/** Without a function to call the choice itself has no place. */
export function writeTools(draft: GeminiDraft): void {
  const choice = readChoice(draft);
  const offered = readTools(draft, choice);
  const { functions, own, isStrict } = offered;
  addSearch(draft, offered);
  if (functions.length > 0) {
    const config = callingConfig(draft, choice, isStrict);
    if (config !== null) draft.toolConfig.functionCallingConfig = config;
  }
  // Both kinds at once must be asked for there, and cannot be asked for on Vertex.
  if (functions.length > 0 && own.length > 0 && draft.isThirdGeneration && draft.surface === 'gemini') {
    draft.toolConfig.includeServerSideToolInvocations = true;
  }
  if (functions.length > 0) own.push({ functionDeclarations: functions });
  if (own.length > 0) draft.body.tools = own;
  Object.assign(draft.toolConfig, objectOf(draft.value('toolConfig')));
}
