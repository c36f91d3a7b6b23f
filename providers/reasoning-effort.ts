/** `reasoning_effort`, for dialects that count what a model may think in tokens. Spec: fidelity 4.4. */
import type { JsonObject } from '../src/contract/json.ts';
import { refuseValue } from './openai-draft.ts';

/** Of the longest answer of the model. */
export const budgetShares: ReadonlyMap<string, number> = new Map([
  ['none', 0],
  ['minimal', 0.02],
  ['low', 0.1],
  ['medium', 0.3],
  ['high', 0.6],
  ['xhigh', 0.9],
  ['max', 0.9],
]);

export function askedEffort(request: JsonObject): string | null {
  const asked = request.reasoning_effort ?? undefined;
  if (asked === undefined) return null;
  if (typeof asked === 'string' && budgetShares.has(asked)) return asked;
  const known = [...budgetShares.keys()].join(', ');
  return refuseValue('reasoning_effort', `\`reasoning_effort\` must be one of ${known}.`);
}
