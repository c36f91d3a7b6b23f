/** Log probabilities in OpenAI's form. */
import type { JsonObject } from '../src/contract/json.ts';
import { objectOf, objectsIn, textOf } from './json-values.ts';

const shown = ({ token, logProbability }: JsonObject): JsonObject => ({
  token: textOf(token),
  logprob: typeof logProbability === 'number' ? logProbability : 0,
  bytes: [...Buffer.from(textOf(token))],
});

/** null when the candidate has none. */
export function logprobsOf(candidate: JsonObject): JsonObject | null {
  const result = objectOf(candidate.logprobsResult);
  const chosen = objectsIn(result.chosenCandidates);
  if (chosen.length === 0) return null;
  const top = objectsIn(result.topCandidates);
  const content = chosen.map((token, position) => ({
    ...shown(token),
    top_logprobs: objectsIn(top[position]?.candidates).map(shown),
  }));
  return { content, refusal: null };
}
