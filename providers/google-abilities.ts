/** What a Gemini model can do where the catalogue says nothing: by the number in its name, else all that the newest can. Spec: fidelity 5.1. */
import type { ModelAbilities } from '../src/contract/flow.ts';
import type { AdapterTarget } from '../src/contract/provider.ts';

type Known = 'thinking' | 'canStopThinking' | 'thinksByDefault' | 'efforts' | 'jsonSchema' | 'strictTools';
export type GeminiAbilities = ModelAbilities & Required<Pick<ModelAbilities, Known>>;

/** Version 3 and later: the lowest level of some is `minimal`, which others refuse. */
const newest: GeminiAbilities = {
  thinking: 'level',
  canStopThinking: false,
  thinksByDefault: true,
  efforts: ['low', 'medium', 'high'],
  jsonSchema: true,
  strictTools: true,
};
const budgeted: GeminiAbilities = { ...newest, thinking: 'budget', canStopThinking: true, efforts: [] };
const oldest: GeminiAbilities = {
  ...budgeted,
  thinking: 'none',
  thinksByDefault: false,
  jsonSchema: false,
  strictTools: false,
};

const isPro = (name: string): boolean => name.includes('pro');

export const isGemma = ({ upstreamModel: name }: AdapterTarget): boolean => name.startsWith('gemma');

function abilitiesByName(target: AdapterTarget): GeminiAbilities {
  const name = target.upstreamModel;
  const [, major, minor = '0'] = /^gemini-(\d+)(?:\.(\d+))?/.exec(name) ?? [];
  if (isGemma(target)) return oldest;
  if (major === undefined || Number(major) >= 3) return newest;
  if (Number(major) < 2 || Number(minor) < 5) return oldest;
  if (isPro(name)) return { ...budgeted, canStopThinking: false };
  return name.includes('lite') ? { ...budgeted, thinksByDefault: false } : budgeted;
}

export const abilitiesOf = (target: AdapterTarget): GeminiAbilities => ({
  ...abilitiesByName(target),
  ...target.model?.abilities,
});

/** What a budget may be, in tokens, on every model that takes one. */
export const budgetLimits = ({ upstreamModel }: AdapterTarget): { least: number; most: number } => ({
  least: 512,
  most: isPro(upstreamModel) ? 32_768 : 24_576,
});
