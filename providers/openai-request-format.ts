/**
 * The form of the answer, for upstreams that know JSON but no schema: the schema becomes an instruction, in the system
 * message where there is one. Spec: fidelity 8 and 10, case 32.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { Draft } from './openai-draft.ts';

const plainInstruction = 'Answer with one JSON object and nothing else.';

function schemaInstruction(format: JsonObject): string {
  const declared = isJsonObject(format.json_schema) ? format.json_schema : {};
  if (declared.schema === undefined) return plainInstruction;
  const purpose = typeof declared.description === 'string' ? `\n${declared.description}` : '';
  return `${plainInstruction} It must match this JSON Schema:\n${JSON.stringify(declared.schema)}${purpose}`;
}

function saysJson(messages: readonly JsonValue[]): boolean {
  return messages.some((message) => isJsonObject(message) && /json/i.test(JSON.stringify(message.content ?? '')));
}

function withInstruction(messages: readonly JsonValue[], instruction: string): JsonValue[] {
  const [first, ...rest] = messages;
  if (isJsonObject(first) && first.role === 'system') {
    if (typeof first.content === 'string') {
      return [{ ...first, content: `${first.content}\n\n${instruction}` }, ...rest];
    }
    if (Array.isArray(first.content)) {
      return [{ ...first, content: [...first.content, { type: 'text', text: instruction }] }, ...rest];
    }
  }
  return [{ role: 'system', content: instruction }, ...messages];
}

function lacksSchemas(draft: Draft): boolean {
  const fate = draft.fate('response_format.json_schema');
  return fate === 'emulated' || (fate === 'by-model' && draft.target.model?.abilities?.jsonSchema === false);
}

/** Comes after the messages have their final roles. */
export function editResponseFormat(draft: Draft): void {
  const format = draft.value('response_format');
  const messages = draft.value('messages');
  if (!isJsonObject(format) || !Array.isArray(messages)) return;
  const isEmulated = format.type === 'json_schema' && lacksSchemas(draft);
  if (isEmulated) draft.replace('response_format', { type: 'json_object' });
  const wantsWord = format.type === 'json_object' && draft.rules.quirks.needsJsonWord === true && !saysJson(messages);
  if (!isEmulated && !wantsWord) return;
  draft.replace('messages', withInstruction(messages, isEmulated ? schemaInstruction(format) : plainInstruction));
}
