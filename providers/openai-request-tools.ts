/** Tools and the choice between them, for upstreams that know fewer forms of both. Spec: fidelity 10. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { refuse, type Draft } from './openai-draft.ts';

const functionName = (tool: JsonValue | undefined): JsonValue | undefined =>
  isJsonObject(tool) && isJsonObject(tool.function) ? tool.function.name : undefined;

/** One tool without what the upstream does not know; the same object when nothing had to go. */
function editTool(draft: Draft, tool: JsonValue, position: number): JsonValue {
  if (!isJsonObject(tool)) return tool;
  const { fates } = draft.rules;
  if (fates['tools.custom'] === 'refused' && (tool.type === 'custom' || isJsonObject(tool.custom))) {
    refuse(`tools[${position}]`);
  }
  let edited = tool;
  if (fates['messages.cache_marks'] === 'dropped' && tool.cache_control !== undefined) {
    const { cache_control: mark, ...rest } = tool;
    if (mark !== null) draft.dropped.push(`tools.${position}.cache_control`);
    edited = rest;
  }
  const declared = edited.function;
  if (fates['tools.strict'] === 'dropped' && isJsonObject(declared) && declared.strict !== undefined) {
    const { strict, ...rest } = declared;
    if (strict === true) draft.dropped.push(`tools.${position}.function.strict`);
    edited = { ...edited, function: rest };
  }
  return edited;
}

/** `allowed_tools` narrows the list itself; what remains of the choice is its mode. */
function narrowTools(draft: Draft, choice: JsonObject): 'required' | 'auto' {
  const allowed = isJsonObject(choice.allowed_tools) ? choice.allowed_tools : choice;
  const names = (Array.isArray(allowed.tools) ? allowed.tools : []).map(functionName);
  const tools = draft.value('tools');
  if (Array.isArray(tools)) {
    draft.replace(
      'tools',
      tools.filter((tool) => names.includes(functionName(tool))),
    );
  }
  return allowed.mode === 'required' ? 'required' : 'auto';
}

function editToolChoice(draft: Draft): void {
  const asked = draft.value('tool_choice');
  if (asked === undefined) {
    draft.take('tool_choice');
    return;
  }
  const narrowed = isJsonObject(asked) && asked.type === 'allowed_tools' ? narrowTools(draft, asked) : null;
  if (narrowed !== null) draft.replace('tool_choice', narrowed);
  if (draft.rules.fates.tool_choice !== 'dropped') return;
  draft.take('tool_choice');
  // An emulated choice that says no more than the default needs no report.
  if (narrowed === 'auto') return;
  const name = draft.body.tool_choice === undefined ? 'function_call' : 'tool_choice';
  draft.dropped.push(narrowed === null ? name : `${name}(required->auto)`);
}

export function editTools(draft: Draft): void {
  const tools = draft.value('tools');
  if (!Array.isArray(tools) || tools.length === 0) {
    draft.take('tools');
  } else {
    if (draft.rules.fates.tools === 'by-model' && !draft.supports('tools')) {
      refuse(draft.body.tools === undefined ? 'functions' : 'tools');
    }
    const edited = tools.map((tool, position) => editTool(draft, tool, position));
    if (edited.some((tool, position) => tool !== tools[position])) draft.replace('tools', edited);
  }
  editToolChoice(draft);
}
