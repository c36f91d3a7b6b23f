/** Reading JSON that may be anything: what is not there, or is something else, reads as empty. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';

export const textOf = (value: JsonValue | undefined): string => (typeof value === 'string' ? value : '');

export const objectOf = (value: JsonValue | undefined): JsonObject => (isJsonObject(value) ? value : {});

export const objectsIn = (value: JsonValue | undefined): JsonObject[] =>
  Array.isArray(value) ? value.filter(isJsonObject) : [];

/** null for half a document or a page of a proxy; the caller learns that the provider failed, not its text. */
export function parseObject(data: string): JsonObject | null {
  try {
    const value = JSON.parse(data) as JsonValue;
    return isJsonObject(value) ? value : null;
  } catch {
    return null;
  }
}
