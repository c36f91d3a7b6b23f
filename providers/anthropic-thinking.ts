/** How much the model thinks before it answers: by effort, or by a budget in tokens. Spec: fidelity 4.4, 4.5. */
import type { ModelAbilities } from '../src/contract/flow.ts';
import { isJsonObject, type JsonObject } from '../src/contract/json.ts';
import type { MessagesDraft } from './anthropic-draft.ts';
import { textOf } from './json-values.ts';
import { askedEffort, budgetShares } from './reasoning-effort.ts';

const minimumBudget = 1024;

/** The nearest level that the model knows by name. */
function levelOf(effort: string, known: readonly string[]): string {
  const named = effort === 'minimal' || effort === 'none' ? 'low' : effort;
  return named === 'xhigh' && !known.includes('xhigh') ? 'max' : named;
}

function setEffort(draft: MessagesDraft, effort: string): void {
  const own = isJsonObject(draft.body.output_config) ? draft.body.output_config : {};
  const level = levelOf(effort, draft.abilities.efforts);
  draft.body.output_config = { effort: level, ...own };
}

function turnDown(draft: MessagesDraft): void {
  if (draft.abilities.canStopThinking) {
    draft.body.thinking = { type: 'disabled' };
    return;
  }
  setEffort(draft, 'none');
  draft.drop('reasoning_effort(none->low)');
}

const budgetOf = (effort: string, maxOutputTokens: number): number =>
  Math.max(minimumBudget, Math.floor(maxOutputTokens * (budgetShares.get(effort) ?? 0)));

/** What a budget for thinking adds to the answer that the caller asked for; at most, as it is only known of the effort. */
export function thinkingAllowance(
  { reasoning_effort: effort }: JsonObject,
  { thinking }: Pick<ModelAbilities, 'thinking'>,
  maxOutputTokens: number,
): number {
  if (thinking !== 'budget' || typeof effort !== 'string' || effort === 'none' || !budgetShares.has(effort)) return 0;
  return budgetOf(effort, maxOutputTokens);
}

/** A budget needs room for itself and for the answer. */
function setBudget(draft: MessagesDraft, effort: string): void {
  const { maxOutputTokens, body } = draft;
  const share = budgetOf(effort, maxOutputTokens);
  body.thinking = { type: 'enabled', budget_tokens: share };
  body.max_tokens = Math.min(maxOutputTokens, Number(body.max_tokens) + share);
}

/** Where the request cannot be answered while thinking, thinking is what goes, and it is said by which parameter. */
function mayThink(draft: MessagesDraft, isForced: boolean): boolean {
  return draft.abilities.thinking !== 'budget' || (!draft.hasLostThinking && !isForced);
}

function writeOwn(draft: MessagesDraft, isForced: boolean): boolean {
  const own = draft.value('thinking');
  if (!isJsonObject(own)) return false;
  if (own.type === 'disabled' || mayThink(draft, isForced)) draft.body.thinking = { ...own };
  else draft.drop('thinking');
  return true;
}

/** `isForced`: a tool that stands in for the form of the answer must be called, which outweighs an effort. */
export function writeThinking(draft: MessagesDraft, isForced: boolean): void {
  const { abilities } = draft;
  const effort = askedEffort(draft.source);
  const hasOwn = writeOwn(draft, isForced);
  if (effort === null) return;
  if (abilities.thinking === 'none') {
    if (effort !== 'none') draft.drop('reasoning_effort');
    return;
  }
  if (hasOwn) {
    const { thinking } = draft.body;
    const isOff = isJsonObject(thinking) && textOf(thinking.type) === 'disabled';
    if (abilities.thinking === 'budget') draft.drop('reasoning_effort');
    else if (isOff && (effort === 'xhigh' || effort === 'max')) {
      // Without thinking, some models know no effort above high.
      draft.drop(`reasoning_effort(${effort}->high)`);
      setEffort(draft, 'high');
    } else setEffort(draft, effort);
    return;
  }
  if (effort === 'none') turnDown(draft);
  else if (!mayThink(draft, isForced)) draft.drop('reasoning_effort');
  else if (abilities.thinking === 'budget') setBudget(draft, effort);
  else {
    draft.body.thinking = { type: 'adaptive', display: 'summarized' };
    setEffort(draft, effort);
  }
}
