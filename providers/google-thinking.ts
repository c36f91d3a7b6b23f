/** How much the model thinks before it answers: by level, or by a budget in tokens; and that its thoughts are told. Spec: fidelity 5.1. */
import type { JsonObject } from '../src/contract/json.ts';
import { budgetLimits } from './google-abilities.ts';
import type { GeminiDraft } from './google-draft.ts';
import { objectOf } from './json-values.ts';
import { askedEffort, budgetShares } from './reasoning-effort.ts';

const efforts = [...budgetShares.keys()];
const outputTokens = 65_536;

/** The nearest level that the model knows, upwards if there is one. */
function levelOf(effort: string, known: readonly string[]): string {
  const enough = efforts.slice(efforts.indexOf(effort)).find((candidate) => known.includes(candidate));
  return enough ?? known.at(-1) ?? 'high';
}

function levelConfig(draft: GeminiDraft, effort: string): JsonObject {
  const level = levelOf(effort, draft.abilities.efforts);
  if (level !== effort) draft.drop(`reasoning_effort(${effort}->${level})`);
  return { thinkingLevel: level, ...(effort === 'none' ? {} : { includeThoughts: true }) };
}

function budgetConfig(draft: GeminiDraft, effort: string): JsonObject {
  const { least, most } = budgetLimits(draft.target);
  if (effort === 'none') {
    if (draft.abilities.canStopThinking) return { thinkingBudget: 0 };
    draft.drop('reasoning_effort(none->minimal)');
    return { thinkingBudget: least };
  }
  const share = Math.floor((draft.target.model?.maxOutputTokens || outputTokens) * (budgetShares.get(effort) ?? 0));
  return { thinkingBudget: Math.min(most, Math.max(least, share)), includeThoughts: true };
}

/** Thoughts may only be asked for where there are some. A configuration of the caller's own wins, as a whole. */
export function writeThinking(draft: GeminiDraft): void {
  const { thinking, thinksByDefault } = draft.abilities;
  const effort = askedEffort(draft.source);
  const hasOwn = objectOf(draft.value('generationConfig')).thinkingConfig !== undefined;
  if (thinking === 'none' || hasOwn) {
    if (effort !== null && (hasOwn || effort !== 'none')) draft.drop('reasoning_effort');
    return;
  }
  if (effort !== null) {
    draft.generationConfig.thinkingConfig =
      thinking === 'budget' ? budgetConfig(draft, effort) : levelConfig(draft, effort);
  } else if (thinksByDefault) draft.generationConfig.thinkingConfig = { includeThoughts: true };
}
