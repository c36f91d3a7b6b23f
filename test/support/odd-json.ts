/** JSON that nobody expects, made of good JSON: the same in every run. */
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';

const odd: readonly JsonValue[] = [
  null,
  '',
  ' ',
  'x',
  0,
  -1,
  true,
  [],
  {},
  [null],
  ['x'],
  [[]],
  { type: 'x' },
  { '': 1 },
];

/** Every object and list in a value, with what it is in. */
function nodes(value: JsonValue): (JsonObject | JsonValue[])[] {
  if (Array.isArray(value)) return [value, ...value.flatMap(nodes)];
  if (typeof value !== 'object' || value === null) return [];
  return [value, ...Object.values(value).flatMap((member) => nodes(member ?? null))];
}

/** Changes some members, anywhere in there, to something odd. */
export function spoil(value: JsonObject, random: () => number, changes = 3): void {
  const pick = <T>(list: readonly T[]): T | undefined => list[Math.floor(random() * list.length)];
  for (let change = 0; change < changes; change += 1) {
    const node = pick(nodes(value)) ?? value;
    const key = pick(Object.keys(node)) ?? 'x';
    Object.assign(node, { [key]: structuredClone(pick(odd)) ?? null });
  }
}
