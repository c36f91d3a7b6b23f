/** Deltas of the chat surface, for dialects whose unary reply is read as a stream of one event. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { objectOf, objectsIn, textOf } from './json-values.ts';

function addCall(calls: JsonObject[], { index, ...delta }: JsonObject): void {
  const known = calls[Number(index)];
  if (known === undefined) calls.push(delta);
  else known.function = joined(known.function, delta.function);
}

function joined(known: JsonValue | undefined, more: JsonValue | undefined): JsonObject {
  const before = objectOf(known);
  const after = objectOf(more);
  return { ...before, ...after, arguments: textOf(before.arguments) + textOf(after.arguments) };
}

/** The message that they add up to. Texts and lists grow, calls grow in their places. */
export function toMessage(deltas: readonly JsonObject[]): JsonObject {
  const said: JsonObject = {};
  const calls: JsonObject[] = [];
  for (const delta of deltas) {
    for (const [name, value] of Object.entries(delta)) {
      if (name === 'tool_calls') for (const call of objectsIn(value)) addCall(calls, call);
      else if (name === 'function_call') said[name] = joined(said[name], value);
      else if (Array.isArray(value)) said[name] = [...objectsIn(said[name]), ...value];
      else said[name] = textOf(said[name]) + textOf(value);
    }
  }
  const { content, refusal = null, ...others } = said;
  const isSilent = calls.length > 0 || refusal !== null || others.function_call !== undefined;
  return {
    role: 'assistant',
    content: content ?? (isSilent ? null : ''),
    refusal,
    ...others,
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

/** Characters that the model has produced, for the estimate when no figures come. */
export function lengthOf({ content, reasoning_content, refusal, tool_calls, function_call }: JsonObject): number {
  const called = isJsonObject(function_call) ? [function_call] : objectsIn(tool_calls).map((call) => call.function);
  const texts = called.filter(isJsonObject).flatMap((call) => [textOf(call.name), textOf(call.arguments)]);
  return [textOf(content), textOf(reasoning_content), textOf(refusal), ...texts].join('').length;
}
