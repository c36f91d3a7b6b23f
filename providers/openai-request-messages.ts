/** The history, message by message, for upstreams that know fewer roles, members and kinds of content. Spec: fidelity 10. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { toToolMessage } from './openai-legacy.ts';
import { refuse, type Draft } from './openai-draft.ts';
import { editReasoning, without } from './openai-request-reasoning.ts';
import { withShortIds } from './openai-tool-ids.ts';

const cacheMarks = ['cache_control', 'prompt_cache_breakpoint'];
const partRows = [
  'messages.image',
  'messages.image_detail',
  'messages.input_audio',
  'messages.file_data',
  'messages.file_id',
  'messages.cache_marks',
];

function editImage(draft: Draft, part: JsonObject, path: string, param: string): JsonObject {
  if (!draft.takesInput('image', 'messages.image')) refuse(param);
  const image = part.image_url;
  if (draft.fate('messages.image_detail') !== 'dropped' || !isJsonObject(image)) return part;
  const edited = without(draft, image, ['detail'], `${path}.image_url`);
  return edited === image ? part : { ...part, image_url: edited };
}

function editFile(draft: Draft, part: JsonObject, param: string): JsonObject {
  const file = isJsonObject(part.file) ? part.file : {};
  if (typeof file.file_id === 'string') {
    if (draft.fate('messages.file_id') === 'refused') refuse(param);
    return part;
  }
  if (draft.fate('messages.file_data') === 'refused') refuse(param);
  if (draft.rules.quirks.filePart !== 'document_url') return part;
  const name = file.filename === undefined ? {} : { document_name: file.filename };
  return { type: 'document_url', document_url: file.file_data ?? '', ...name };
}

function editPart(draft: Draft, part: JsonValue, path: string, param: string): JsonValue {
  if (!isJsonObject(part)) return part;
  if (part.type === 'input_audio' && !draft.takesInput('audio', 'messages.input_audio')) refuse(param);
  let edited = part;
  if (part.type === 'file') edited = editFile(draft, part, param);
  if (part.type === 'image_url') edited = editImage(draft, part, path, param);
  return draft.fate('messages.cache_marks') === 'dropped' ? without(draft, edited, cacheMarks, path) : edited;
}

function editContent(draft: Draft, message: JsonObject, position: number): JsonObject {
  const { content } = message;
  if (!Array.isArray(content)) return message;
  const edited = content.map((part, index) =>
    editPart(draft, part, `messages.${position}.content.${index}`, `messages[${position}].content[${index}]`),
  );
  return edited.some((part, index) => part !== content[index]) ? { ...message, content: edited } : message;
}

/** What the table asks of every message, looked up once. */
type Steps = {
  /** By function name, the id under which it was last called. */
  calledIds: Map<string, string>;
  maps: { functions: boolean; developer: boolean };
  drops: { name: boolean; cacheMarks: boolean };
  /** False: every kind of part goes as sent. */
  readsParts: boolean;
};

function editMessage(draft: Draft, source: JsonObject, position: number, steps: Steps): JsonObject {
  const path = `messages.${position}`;
  let message = source;
  if (message.role === 'assistant') message = editReasoning(draft, message, path);
  if (steps.maps.functions) message = toToolMessage(message, position, steps.calledIds);
  if (steps.maps.developer && message.role === 'developer') message = { ...message, role: 'system' };
  if (steps.drops.name) message = without(draft, message, ['name'], path);
  if (steps.drops.cacheMarks) message = without(draft, message, cacheMarks, path);
  if (draft.rules.quirks.toolIdLength !== undefined) message = withShortIds(message, draft.rules.quirks.toolIdLength);
  return steps.readsParts ? editContent(draft, message, position) : message;
}

export function editMessages(draft: Draft): void {
  const { messages } = draft.body;
  if (!Array.isArray(messages)) return;
  const steps = {
    calledIds: new Map<string, string>(),
    maps: {
      functions: draft.fate('functions') === 'emulated',
      developer: draft.fate('messages.developer') === 'emulated',
    },
    drops: {
      name: draft.fate('messages.name') === 'dropped',
      cacheMarks: draft.fate('messages.cache_marks') === 'dropped',
    },
    readsParts: partRows.some((row) => draft.fate(row) !== 'mapped'),
  };
  const edited = messages.map((message, position) =>
    isJsonObject(message) ? editMessage(draft, message, position, steps) : message,
  );
  if (edited.some((message, position) => message !== messages[position])) draft.replace('messages', edited);
}
