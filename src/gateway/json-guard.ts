/** What a parsed body may not hold, found in one walk over its containers, and exact questions to its text. */
import type { JsonObject, JsonValue } from '../contract/json.ts';

export const maximumDepth = 64;

export type Hazard = { kind: 'depth' | 'number' | 'surrogate' | 'prototype'; path: string };
type Found = { kind: Hazard['kind']; segments: (string | number)[] };

/**
 * The first hazard, or null. Names and strings are only read when the bytes could hide something in them: half a
 * surrogate pair can come as an escape alone.
 */
export function findHazard(body: JsonObject, rawBody: Buffer): Hazard | null {
  const readsText = rawBody.includes('\\u') || rawBody.includes('__proto__');
  const found = walk(body, 1, readsText);
  return found === null ? null : { kind: found.kind, path: formatPath(found.segments) };
}

function walk(value: JsonValue | undefined, depth: number, readsText: boolean): Found | null {
  if (typeof value === 'number') return Number.isFinite(value) ? null : { kind: 'number', segments: [] };
  if (typeof value === 'string') {
    return readsText && !value.isWellFormed() ? { kind: 'surrogate', segments: [] } : null;
  }
  if (typeof value !== 'object' || value === null) return null;
  if (depth > maximumDepth) return { kind: 'depth', segments: [] };
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) {
      const found = walk(value[index], depth + 1, readsText);
      if (found !== null) return { ...found, segments: [index, ...found.segments] };
    }
    return null;
  }
  for (const name of Object.keys(value)) {
    if (name === '__proto__') return { kind: 'prototype', segments: [name] };
    if (readsText && !name.isWellFormed()) return { kind: 'surrogate', segments: [name] };
    const found = walk(value[name], depth + 1, readsText);
    if (found !== null) return { ...found, segments: [name, ...found.segments] };
  }
  return null;
}

function formatPath(segments: readonly (string | number)[]): string {
  const shown = segments.slice(0, 8);
  const path = shown.reduce<string>(
    (text, segment) =>
      typeof segment === 'number' ? `${text}[${segment}]` : text === '' ? segment : `${text}.${segment}`,
    '',
  );
  // The cut may fall inside a character, and half of one is nothing that every client can print.
  return (segments.length > shown.length ? `${path}…` : path).slice(0, 200).toWellFormed();
}

/** How often a key stands at the top level of a JSON object's text, whichever way its letters are written. */
export function countTopLevelKey(text: string, key: string): number {
  let depth = 0;
  let count = 0;
  let expectsKey = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') {
      const end = endOfString(text, at);
      if (depth === 1 && expectsKey && JSON.parse(text.slice(at, end)) === key) count += 1;
      expectsKey = false;
      at = end - 1;
    } else if (character === '{' || character === '[') {
      depth += 1;
      expectsKey = depth === 1 && character === '{';
    } else if (character === '}' || character === ']') depth -= 1;
    else if (character === ',') expectsKey = depth === 1;
  }
  return count;
}

/** The index behind the closing quote of the string that opens at `start`. */
export function endOfString(text: string, start: number): number {
  let at = start + 1;
  for (;;) {
    const quote = text.indexOf('"', at);
    if (quote === -1) return text.length;
    let backslashes = 0;
    while (text[quote - 1 - backslashes] === '\\') backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1;
    at = quote + 1;
  }
}
