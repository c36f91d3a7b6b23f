/** Reasoning on the way in: how hard to think, and what was thought before. Spec: fidelity 8 and 10. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { Draft } from './openai-draft.ts';

const textMembers = ['reasoning_content', 'reasoning'];
const historyMembers = [...textMembers, 'thinking_blocks', 'reasoning_details'];

/** Takes members out and reports those that said something; the same object when there were none. */
export function without(draft: Draft, source: JsonObject, keys: readonly string[], path: string): JsonObject {
  const present = keys.filter((key) => source[key] !== undefined);
  if (present.length === 0) return source;
  draft.dropped.push(...present.filter((key) => source[key] !== null).map((key) => `${path}.${key}`));
  return Object.fromEntries(Object.entries(source).filter(([key]) => !present.includes(key)));
}

export function editEffort(draft: Draft): void {
  const effort = draft.value('reasoning_effort');
  const fate = draft.fate('reasoning_effort');
  if (typeof effort !== 'string' || fate === 'dropped' || fate === 'refused') return;
  const { efforts, nestsEffort } = draft.rules.quirks;
  const rule = efforts?.find(({ models }) => models === undefined || models.test(draft.target.upstreamModel));
  const isOwnWord = draft.target.model?.abilities?.efforts?.includes(effort) === true;
  const values = isOwnWord ? {} : (rule?.values ?? {});
  const wanted = Object.hasOwn(values, effort)
    ? values[effort]
    : (values['*'] ?? (values['*'] === null ? null : effort));
  if (wanted === null) {
    draft.take('reasoning_effort');
    draft.dropped.push('reasoning_effort');
  } else if (isJsonObject(wanted)) {
    draft.take('reasoning_effort');
    draft.setAbsent(wanted);
  } else if (wanted !== undefined) {
    if (wanted !== effort) draft.dropped.push(`reasoning_effort(${effort}->${wanted})`);
    if (nestsEffort === true) {
      const theirs = draft.value('reasoning');
      draft.take('reasoning_effort');
      draft.replace('reasoning', { effort: wanted, ...(isJsonObject(theirs) ? theirs : {}) });
    } else if (wanted !== effort) draft.replace('reasoning_effort', wanted);
  }
}

function reasoningText(message: JsonObject): string | null {
  for (const key of textMembers) {
    const text = message[key];
    if (typeof text === 'string') return text;
  }
  return null;
}

const parts = (content: JsonValue | undefined): readonly JsonValue[] => {
  if (Array.isArray(content)) return content;
  return typeof content === 'string' && content !== '' ? [{ type: 'text', text: content }] : [];
};

function withText(message: JsonObject, member: string, text: string | null): JsonObject {
  const stray = textMembers.filter((key) => key !== member && message[key] !== undefined);
  if (stray.length === 0 && (text === null || message[member] === text)) return message;
  const rest = Object.fromEntries(Object.entries(message).filter(([key]) => !textMembers.includes(key)));
  return text === null ? rest : { ...rest, [member]: text };
}

/** One answer of the history with its reasoning in the form that the model takes; the same object when nothing changes. */
export function editReasoning(draft: Draft, message: JsonObject, path: string): JsonObject {
  const { fates, quirks } = draft.rules;
  const isDemanded = quirks.demandsReasoning === true && Array.isArray(message.tool_calls);
  if (!isDemanded && historyMembers.every((member) => message[member] === undefined)) return message;
  const isDropped = fates['messages.reasoning_history'] === 'dropped';
  const policy =
    draft.target.model?.abilities?.reasoningHistory ?? (isDropped ? 'strip' : (quirks.reasoningHistory ?? 'content'));
  if (policy === 'strip') return without(draft, message, historyMembers, path);
  const text = reasoningText(message);
  if (policy === 'details') {
    const kept = without(draft, message, ['thinking_blocks'], path);
    // The details hold the same words, signed.
    const hasDetails = Array.isArray(message.reasoning_details) && message.reasoning_details.length > 0;
    return withText(kept, 'reasoning', hasDetails ? null : text);
  }
  const kept = without(draft, message, ['thinking_blocks', 'reasoning_details'], path);
  if (policy === 'blocks') {
    if (text === null || text === '') return withText(kept, '', null);
    const thinking = { type: 'thinking', thinking: [{ type: 'text', text }] };
    return { ...withText(kept, '', null), content: [thinking, ...parts(kept.content)] };
  }
  return withText(kept, quirks.reasoningMember ?? 'reasoning_content', text ?? (isDemanded ? '' : null));
}
