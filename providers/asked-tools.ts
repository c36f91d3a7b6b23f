/** Which tools the caller offers and what it says of the choice, in either of the two forms that OpenAI knows. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { objectsIn } from './json-values.ts';
import { toToolChoice, toTools, usesLegacyFunctions } from './openai-legacy.ts';

/** The name in a tool, or in a choice of one. */
export const calledName = (tool: JsonObject): JsonValue | undefined =>
  isJsonObject(tool.function) ? tool.function.name : tool.name;

/** `mode` and `tools` of a choice that narrows the list; null for every other choice. */
export function allowedTools(choice: JsonValue | undefined): JsonObject | null {
  if (!isJsonObject(choice) || choice.type !== 'allowed_tools') return null;
  return isJsonObject(choice.allowed_tools) ? choice.allowed_tools : choice;
}

export function askedChoice(request: JsonObject): JsonValue | undefined {
  const choice = request.tool_choice ?? undefined;
  const legacy = request.function_call ?? undefined;
  return choice === undefined && legacy !== undefined ? toToolChoice(legacy) : choice;
}

export function askedTools(request: JsonObject): JsonObject[] {
  const { functions } = request;
  const isLegacy = usesLegacyFunctions(request) && Array.isArray(functions);
  return isLegacy ? objectsIn(toTools(functions)) : objectsIn(request.tools);
}

/** The arguments of a call in the history, as an object whatever stands there. */
export function readArguments(written: unknown): JsonObject {
  const text = typeof written === 'string' ? written.trim() : written;
  if (isJsonObject(text)) return text;
  if (typeof text !== 'string' || text === '') return {};
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : value === null ? {} : { value: value as string };
  } catch {
    // A call that was cut off stands in the history; the model still learns what was said.
    return { invalid_json: text };
  }
}
