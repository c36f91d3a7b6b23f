/**
 * The function fields that came before tools, for upstreams that no longer know them: the request is rewritten to tools
 * and the answer back to `function_call`. Spec: fidelity 10, the row `functions, function_call`, and case 108.
 */
import { gatewayError } from '../src/contract/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';

/** Did the caller ask in the legacy form? Tools beside functions win. */
export function usesLegacyFunctions(request: JsonObject | undefined): boolean {
  if (request === undefined || !Array.isArray(request.functions) || request.functions.length === 0) return false;
  return !Array.isArray(request.tools) || request.tools.length === 0;
}

export function toTools(functions: readonly JsonValue[]): JsonValue[] {
  return functions.map((declared) => ({ type: 'function', function: declared }));
}

export function toToolChoice(functionCall: JsonValue): JsonValue {
  return isJsonObject(functionCall) ? { type: 'function', function: { name: functionCall.name } } : functionCall;
}

const nameOf = (name: JsonValue | undefined): string => (typeof name === 'string' ? name : '');

/** One message of the history. `calledIds` remembers, by function name, the id under which it was last called. */
export function toToolMessage(message: JsonObject, position: number, calledIds: Map<string, string>): JsonObject {
  if (message.role === 'assistant' && isJsonObject(message.function_call)) {
    const { function_call: called, ...rest } = message;
    const id = `call_legacy_${position}`;
    calledIds.set(nameOf(called.name), id);
    return { ...rest, tool_calls: [{ id, type: 'function', function: called }] };
  }
  if (message.role === 'assistant' && message.function_call === null) {
    const { function_call: _, ...rest } = message;
    return rest;
  }
  if (message.role !== 'function') return message;
  const { name, ...rest } = message;
  const id = calledIds.get(nameOf(name));
  if (id === undefined) {
    throw gatewayError('invalidValue', {
      message: `Invalid value: messages[${position}] answers the function '${nameOf(name)}', which was not called before.`,
      param: `messages[${position}].name`,
    });
  }
  return { ...rest, role: 'tool', tool_call_id: id };
}

/** Stream: the legacy form knows one call, so only the first is shown. */
export function toLegacyDeltas(calls: readonly JsonObject[]): JsonObject {
  const first = calls.find((call) => call.index === 0);
  return first === undefined || !isJsonObject(first.function) ? {} : { function_call: first.function };
}

/** Unary: the first call takes the place of `tool_calls`. */
export function toLegacyMessage(message: JsonObject): JsonObject {
  const { tool_calls: calls, ...rest } = message;
  const first = Array.isArray(calls) ? calls.find(isJsonObject) : undefined;
  return first === undefined ? message : { ...rest, function_call: first.function };
}
