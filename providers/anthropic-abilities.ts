/** What a Claude model can do where the catalogue says nothing: all that the newest family can. Spec: fidelity 4.3. */
import type { ModelAbilities } from '../src/contract/flow.ts';
import type { AdapterTarget } from '../src/contract/provider.ts';

type Known = 'thinking' | 'canStopThinking' | 'efforts' | 'sampling' | 'topK' | 'jsonSchema' | 'strictTools';
export type ClaudeAbilities = ModelAbilities &
  Required<Pick<ModelAbilities, Known | 'forcedTool' | 'inlineSystem' | 'prefill'>>;

/** A later system message is hoisted and thinking is turned down instead of off: both are never refused. */
const newest: ClaudeAbilities = {
  thinking: 'adaptive',
  canStopThinking: false,
  efforts: ['low', 'medium', 'high', 'xhigh', 'max'],
  sampling: 'none',
  topK: false,
  jsonSchema: true,
  strictTools: true,
  forcedTool: 'accepted',
  inlineSystem: false,
  prefill: false,
};

const newestOutputTokens = 128_000;

export const abilitiesOf = ({ model }: AdapterTarget): ClaudeAbilities => ({ ...newest, ...model?.abilities });

/** The longest answer of the model, which is also what is asked for when the caller names no limit. */
export function outputTokensOf({ model }: AdapterTarget): number {
  return model !== null && model.maxOutputTokens > 0 ? model.maxOutputTokens : newestOutputTokens;
}
