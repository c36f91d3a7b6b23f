/** Knobs of the answer: length, stop sequences, temperature. Needs to know whether the model thinks. Spec: fidelity 4.1. */
import type { JsonValue } from '../src/contract/json.ts';
import type { MessagesDraft } from './anthropic-draft.ts';

/** Longer answers may take more than ten minutes; a silent connection does not live that long. Spec: fidelity 4.2. */
const longestUnaryTokens = 21_333;

export const isLong = (outputTokens: JsonValue | undefined): boolean => Number(outputTokens) > longestUnaryTokens;

export function writeTokenLimit(draft: MessagesDraft): void {
  const name = draft.value('max_completion_tokens') === undefined ? 'max_tokens' : 'max_completion_tokens';
  const asked = draft.value(name);
  const limit = draft.maxOutputTokens;
  if (typeof asked === 'number' && asked > limit) draft.drop(`${name}(${asked}->${limit})`);
  draft.body.max_tokens = typeof asked === 'number' ? Math.min(asked, limit) : limit;
}

export function writeStream(draft: MessagesDraft): { streamsUpstream: boolean } {
  const isAsked = draft.value('stream') === true;
  const streamsUpstream = !isAsked && isLong(draft.body.max_tokens);
  if (isAsked || streamsUpstream) draft.body.stream = true;
  return { streamsUpstream };
}

const asNumber = (value: JsonValue | undefined): number | null => (typeof value === 'number' ? value : null);

/** 1 is what the model does anyway. */
function writeTemperature(draft: MessagesDraft): void {
  const asked = asNumber(draft.value('temperature'));
  if (asked === null) return;
  if (draft.abilities.sampling === 'none' || draft.isThinking) {
    if (asked !== 1) draft.drop('temperature');
    return;
  }
  if (asked > 1) draft.drop(`temperature(${asked}->1)`);
  draft.body.temperature = Math.min(asked, 1);
}

function writeTopP(draft: MessagesDraft): void {
  const asked = asNumber(draft.value('top_p'));
  if (asked === null) return;
  const { sampling } = draft.abilities;
  const isBlocked = sampling === 'none' || draft.isThinking;
  if (!isBlocked && (sampling === 'both' || draft.body.temperature === undefined)) draft.body.top_p = asked;
  else if (asked !== 1) draft.drop('top_p');
}

export function writeSampling(draft: MessagesDraft): void {
  writeTemperature(draft);
  writeTopP(draft);
  const topK = draft.value('top_k');
  if (topK === undefined) return;
  if (draft.abilities.topK && !draft.isThinking) draft.body.top_k = topK;
  else draft.drop('top_k');
}

/** A sequence of blanks alone is refused upstream. */
export function writeStop(draft: MessagesDraft): void {
  const stop = draft.value('stop');
  const asked = Array.isArray(stop) ? stop : stop === undefined ? [] : [stop];
  const own = draft.value('stop_sequences');
  const sequences: JsonValue[] = Array.isArray(own) ? [...own] : [];
  for (const [position, sequence] of asked.entries()) {
    if (typeof sequence === 'string' && sequence.trim() !== '') sequences.push(sequence);
    else draft.drop(Array.isArray(stop) ? `stop.${position}` : 'stop');
  }
  if (sequences.length > 0) draft.body.stop_sequences = sequences;
}
