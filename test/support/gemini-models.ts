/** Gemini models of each kind, for tests of what is asked of them. */
import type { ModelAbilities, ModelSpec } from '../../src/contract/flow.ts';
import type { AdapterTarget } from '../../src/contract/provider.ts';

/** A model that the catalogue does not know: its name alone tells what it can do. */
export const named = (upstreamModel: string): AdapterTarget => ({ upstreamModel, model: null });

export function gemini(upstreamModel: string, abilities: ModelAbilities = {}, maxOutputTokens = 65_536): AdapterTarget {
  const model: ModelSpec = {
    id: `google/${upstreamModel}`,
    providerId: 'google',
    upstreamModel,
    name: upstreamModel,
    contextTokens: 1_048_576,
    maxOutputTokens,
    inputModalities: [],
    outputModalities: [],
    supportedParameters: [],
    price: null,
    abilities,
    created: 0,
  };
  return { upstreamModel, model };
}
