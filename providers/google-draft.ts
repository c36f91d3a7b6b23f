/** One generateContent request under construction. The caller's body is only read. */
import type { JsonObject, JsonValue } from '../src/contract/json.ts';
import type { AdapterTarget } from '../src/contract/provider.ts';
import { abilitiesOf, type GeminiAbilities } from './google-abilities.ts';

export type Part = JsonObject;

/** The two places where the same models are served. They differ in a few fields. */
export type Surface = 'gemini' | 'vertex';

export class GeminiDraft {
  readonly source: JsonObject;
  readonly target: AdapterTarget;
  readonly surface: Surface;
  readonly abilities: GeminiAbilities;
  readonly body: JsonObject = {};
  readonly generationConfig: JsonObject = {};
  readonly toolConfig: JsonObject = {};
  readonly system: Part[] = [];
  readonly headers: Record<string, string> = {};
  readonly dropped: string[] = [];

  constructor(source: JsonObject, target: AdapterTarget, surface: Surface) {
    this.source = source;
    this.target = target;
    this.surface = surface;
    this.abilities = abilitiesOf(target);
  }

  /** Null counts as absent. */
  value(key: string): JsonValue | undefined {
    return this.source[key] ?? undefined;
  }

  drop(path: string): void {
    this.dropped.push(path);
  }

  /** From version 3 on. */
  get isThirdGeneration(): boolean {
    return this.abilities.thinking === 'level';
  }
}
