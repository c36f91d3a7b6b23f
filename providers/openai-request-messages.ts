/** The history, message by message, for upstreams that know fewer roles, members and kinds of content. Spec: fidelity 10. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { toToolMessage } from './openai-legacy.ts';
import { refuse, type Draft } from './openai-draft.ts';

const cacheMarks = ['cache_control', 'prompt_cache_breakpoint'];
const reasoningHistory = ['reasoning_content', 'reasoning', 'thinking_blocks', 'reasoning_details'];

/** Takes members out and reports those that said something; the same object when there were none. */
function without(draft: Draft, source: JsonObject, keys: readonly string[], path: string): JsonObject {
  const present = keys.filter((key) => source[key] !== undefined);
  if (present.length === 0) return source;
  draft.dropped.push(...present.filter((key) => source[key] !== null).map((key) => `${path}.${key}`));
  return Object.fromEntries(Object.entries(source).filter(([key]) => !present.includes(key)));
}

function editImage(draft: Draft, part: JsonObject, path: string, param: string): JsonObject {
  const modalities = draft.target.model?.inputModalities ?? [];
  const isChecked = draft.rules.fates['messages.image'] === 'by-model';
  if (isChecked && modalities.length > 0 && !modalities.includes('image')) refuse(param);
  const image = part.image_url;
  if (draft.rules.fates['messages.image_detail'] !== 'dropped' || !isJsonObject(image)) return part;
  const edited = without(draft, image, ['detail'], `${path}.image_url`);
  return edited === image ? part : { ...part, image_url: edited };
}

function editPart(draft: Draft, part: JsonValue, path: string, param: string): JsonValue {
  if (!isJsonObject(part)) return part;
  const { fates } = draft.rules;
  if (part.type === 'input_audio' && fates['messages.input_audio'] === 'refused') refuse(param);
  if (part.type === 'file') {
    const isById = isJsonObject(part.file) && typeof part.file.file_id === 'string';
    if (fates[isById ? 'messages.file_id' : 'messages.file_data'] === 'refused') refuse(param);
  }
  const edited = part.type === 'image_url' ? editImage(draft, part, path, param) : part;
  return fates['messages.cache_marks'] === 'dropped' ? without(draft, edited, cacheMarks, path) : edited;
}

function editContent(draft: Draft, message: JsonObject, position: number): JsonObject {
  const { content } = message;
  if (!Array.isArray(content)) return message;
  const edited = content.map((part, index) =>
    editPart(draft, part, `messages.${position}.content.${index}`, `messages[${position}].content[${index}]`),
  );
  return edited.some((part, index) => part !== content[index]) ? { ...message, content: edited } : message;
}

function editMessage(draft: Draft, source: JsonObject, position: number, calledIds: Map<string, string>): JsonObject {
  const { fates, isVerbatim } = draft.rules;
  const path = `messages.${position}`;
  let message = source;
  if (fates['messages.reasoning_history'] === 'dropped' && message.role === 'assistant') {
    message = without(draft, message, reasoningHistory, path);
  }
  if (isVerbatim) return message;
  if (fates.functions === 'emulated') message = toToolMessage(message, position, calledIds);
  if (fates['messages.developer'] === 'emulated' && message.role === 'developer') {
    message = { ...message, role: 'system' };
  }
  if (fates['messages.name'] === 'dropped') message = without(draft, message, ['name'], path);
  if (fates['messages.cache_marks'] === 'dropped') message = without(draft, message, cacheMarks, path);
  return editContent(draft, message, position);
}

export function editMessages(draft: Draft): void {
  const { messages } = draft.body;
  if (!Array.isArray(messages)) return;
  const calledIds = new Map<string, string>();
  const edited = messages.map((message, position) =>
    isJsonObject(message) ? editMessage(draft, message, position, calledIds) : message,
  );
  if (edited.some((message, position) => message !== messages[position])) draft.replace('messages', edited);
}
