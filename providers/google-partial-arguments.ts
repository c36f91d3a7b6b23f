/**
 * Arguments of a function that come in pieces, each at a path such as `$.recipe.ingredients[0].amount`. Text that goes on
 * is added to, everything else replaces. Spec: fidelity 5.2.
 */
import type { JsonObject, JsonValue } from '../src/contract/json.ts';
import { textOf } from './json-values.ts';

type Step = string | number;
type Node = Map<Step, Node | JsonValue>;

/** More elements than any call has; a path beyond it is a fault upstream. */
const longestArray = 10_000;

function stepsOf(path: string): Step[] {
  const steps = path.matchAll(/\[(\d+)\]|\[(?:'([^']*)'|"([^"]*)")\]|\.?([^.[\]]+)/g);
  return [...steps].flatMap<Step>(([whole, index, single, double, name]) => {
    if (index !== undefined) return [Number(index)];
    return whole === '$' ? [] : [single ?? double ?? name ?? ''];
  });
}

function valueOf(partial: JsonObject): JsonValue {
  return partial.stringValue ?? partial.numberValue ?? partial.boolValue ?? null;
}

function toJson(node: Node | JsonValue): JsonValue {
  if (!(node instanceof Map)) return node;
  const keys = [...node.keys()];
  if (keys.length > 0 && keys.every((key) => typeof key === 'number')) {
    return Array.from({ length: Math.max(...keys) + 1 }, (_, index) => toJson(node.get(index) ?? null));
  }
  return Object.fromEntries([...node].map(([key, value]) => [key, toJson(value)]));
}

export class PartialArguments {
  readonly #root: Node = new Map();
  /** The path of the text that goes on. */
  #openPath = '';

  /** Arguments that came whole. */
  addWhole(members: JsonObject): void {
    for (const [name, value] of Object.entries(members)) this.#root.set(name, value ?? null);
  }

  add(partial: JsonObject): void {
    const path = textOf(partial.jsonPath);
    const steps = stepsOf(path);
    const last = steps.pop();
    if (last === undefined || [...steps, last].some((step) => typeof step === 'number' && step >= longestArray)) return;
    const parent = steps.reduce<Node>((node, step) => {
      const known = node.get(step);
      if (known instanceof Map) return known;
      const fresh: Node = new Map();
      node.set(step, fresh);
      return fresh;
    }, this.#root);
    const before = this.#openPath === path ? parent.get(last) : undefined;
    const value = valueOf(partial);
    parent.set(last, typeof before === 'string' && typeof value === 'string' ? before + value : value);
    this.#openPath = partial.willContinue === true ? path : '';
  }

  toString(): string {
    return JSON.stringify(toJson(this.#root));
  }
}
