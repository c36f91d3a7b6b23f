/** Reading deep into JSON in assertions. */
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/contract/json.ts';

export const parseObject = (text: string): JsonObject => JSON.parse(text) as JsonObject;

export function at(value: JsonValue | undefined, ...path: (string | number)[]): JsonValue | undefined {
  return path.reduce<JsonValue | undefined>((node, key) => {
    if (Array.isArray(node)) return node[Number(key)];
    return isJsonObject(node) ? node[key] : undefined;
  }, value);
}

/** The string at a path; empty when there is none. */
export function textAt(value: JsonValue | undefined, ...path: (string | number)[]): string {
  const found = at(value, ...path);
  return typeof found === 'string' ? found : '';
}

/** What a function throws; undefined when it returns. */
export function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}
