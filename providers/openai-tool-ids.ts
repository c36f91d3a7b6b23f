/**
 * Ids of tool calls for vendors that take only short ones, so that a conversation begun elsewhere can go on there. The
 * same id becomes the same short one each time, which keeps calls and results together. Spec: fidelity 1, rule 14.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';

const digits = 'abcdefghijklmnopqrstuvwxyz0123456789';
const isShort = (id: string, length: number): boolean => id.length === length && /^[a-z0-9]*$/i.test(id);

/** Two mixes of 32 bits (FNV-1a and its reverse): ids of one conversation do not meet by chance. */
function hash(text: string): bigint {
  let forward = 0x811c9dc5;
  let backward = 0x811c9dc5;
  for (let position = 0; position < text.length; position += 1) {
    forward = Math.imul(forward ^ text.charCodeAt(position), 0x01000193);
    backward = Math.imul(backward ^ text.charCodeAt(text.length - 1 - position), 0x01000193);
  }
  return (BigInt(forward >>> 0) << 32n) | BigInt(backward >>> 0);
}

function shortId(id: string, length: number): string {
  if (isShort(id, length)) return id;
  let rest = hash(id);
  return Array.from({ length }, () => {
    const digit = digits[Number(rest % 36n)] ?? 'a';
    rest /= 36n;
    return digit;
  }).join('');
}

function withShortId(source: JsonValue, member: string, length: number): JsonValue {
  if (!isJsonObject(source)) return source;
  const id = source[member];
  return typeof id !== 'string' || isShort(id, length) ? source : { ...source, [member]: shortId(id, length) };
}

export function withShortIds(message: JsonObject, length: number): JsonObject {
  const { tool_calls: calls } = message;
  const answered = withShortId(message, 'tool_call_id', length) as JsonObject;
  if (!Array.isArray(calls)) return answered;
  const edited = calls.map((call) => withShortId(call, 'id', length));
  return edited.some((call, position) => call !== calls[position]) ? { ...answered, tool_calls: edited } : answered;
}
