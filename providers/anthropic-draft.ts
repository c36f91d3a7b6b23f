/** One Messages request under construction. The caller's body is only read. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { AdapterTarget } from '../src/contract/provider.ts';
import { abilitiesOf, outputTokensOf, type ClaudeAbilities } from './anthropic-abilities.ts';

export type Block = JsonObject;

type KnownModel = { abilities: ClaudeAbilities; maxOutputTokens: number };

export class MessagesDraft {
  readonly source: JsonObject;
  readonly target: AdapterTarget;
  readonly abilities: ClaudeAbilities;
  readonly maxOutputTokens: number;
  readonly body: JsonObject = {};
  readonly dropped: string[] = [];
  readonly betas = new Set<string>();
  readonly system: Block[] = [];
  /** Names of tools that the history calls. */
  readonly calledTools = new Set<string>();
  /** True: the last answer calls tools and its thinking is lost, so the model may not think now. */
  hasLostThinking = false;

  /** `known`: of a model that is known elsewhere than in the catalogue. */
  constructor(source: JsonObject, target: AdapterTarget, known?: KnownModel) {
    this.source = source;
    this.target = target;
    this.abilities = known?.abilities ?? abilitiesOf(target);
    this.maxOutputTokens = known?.maxOutputTokens ?? outputTokensOf(target);
  }

  /** Null counts as absent. */
  value(key: string): JsonValue | undefined {
    return this.source[key] ?? undefined;
  }

  drop(path: string): void {
    this.dropped.push(path);
  }

  get isThinking(): boolean {
    const { thinking } = this.body;
    return isJsonObject(thinking) && thinking.type !== 'disabled';
  }
}
