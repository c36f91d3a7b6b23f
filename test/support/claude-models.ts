/** Claude models as a target: those of the shipped catalogue, and families that are too old to be in it. */
import { registry } from '../../providers/index.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { ModelAbilities, ModelSpec } from '../../src/contract/flow.ts';
import type { AdapterTarget } from '../../src/contract/provider.ts';

const { catalogue } = loadConfig({
  environment: {},
  workingDirectory: import.meta.dirname,
  providerIds: Object.keys(registry),
  keylessProviderIds: ['demo'],
  dialects: [],
});

const plain: ModelAbilities = {
  thinking: 'none',
  sampling: 'both',
  topK: true,
  jsonSchema: false,
  strictTools: false,
  forcedTool: 'accepted',
  inlineSystem: false,
  prefill: true,
};
const budget: ModelAbilities = {
  ...plain,
  thinking: 'budget',
  canStopThinking: true,
  forcedTool: 'unless-thinking',
};

/** Spec: fidelity 4.3, the rows of models that have left the price list. */
const older: Readonly<Record<string, { maxOutputTokens: number; abilities: ModelAbilities }>> = {
  'claude-3-haiku': { maxOutputTokens: 4096, abilities: plain },
  'claude-3-opus-latest': { maxOutputTokens: 4096, abilities: plain },
  'claude-3-7-sonnet': { maxOutputTokens: 64_000, abilities: budget },
  'claude-sonnet-4-0': { maxOutputTokens: 64_000, abilities: budget },
  'claude-opus-4-1': { maxOutputTokens: 32_000, abilities: { ...budget, jsonSchema: true, strictTools: true } },
};

function modelOf(name: string): ModelSpec | null {
  const undated = name.replace(/-\d{8}$/, '');
  const known = catalogue.find(({ id }) => id === `anthropic/${undated}`);
  const first = catalogue.find(({ providerId }) => providerId === 'anthropic');
  const row = older[undated];
  return known ?? (row === undefined || first === undefined ? null : { ...first, ...row, upstreamModel: name });
}

/** `model` is null for a name that nobody knows. */
export const claude = (name: string): AdapterTarget => ({ upstreamModel: name, model: modelOf(name) });
