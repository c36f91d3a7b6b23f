/** What the demo answers to one Chat Completions body: text, a tool call or an instance of a schema. Nothing here waits. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { schemaInstance } from './demo-schema.ts';
import type { DemoSettings } from './demo-settings.ts';
import { countTokens, loremText, splitPieces } from './demo-text.ts';

export type DemoChoice = {
  /** Set when the choice is a call of this function; the pieces are then its arguments. */
  functionName: string | null;
  pieces: readonly string[];
  finish: 'stop' | 'length' | 'tool_calls';
};

const members = (value: JsonValue | undefined): JsonObject[] =>
  Array.isArray(value) ? value.filter(isJsonObject) : [];

function textOf(content: JsonValue | undefined): string {
  if (typeof content === 'string') return content;
  return members(content)
    .map((part) => (typeof part.text === 'string' ? part.text : ''))
    .join('');
}

function lastUserText(body: JsonObject): string {
  return textOf(members(body.messages).findLast((message) => message.role === 'user')?.content);
}

/** The function to call: a named one, else the first where a call is required. */
function chosenFunction(body: JsonObject): JsonObject | null {
  const functions = members(body.tools)
    .map((tool) => tool.function)
    .filter(isJsonObject);
  const choice = body.tool_choice;
  if (choice === 'required') return functions[0] ?? null;
  if (!isJsonObject(choice)) return null;
  if (isJsonObject(choice.function)) {
    const { name } = choice.function;
    return functions.find((declared) => declared.name === name) ?? null;
  }
  const allowed = choice.allowed_tools;
  if (!isJsonObject(allowed) || allowed.mode !== 'required') return null;
  const names = members(allowed.tools).map((tool) => (isJsonObject(tool.function) ? tool.function.name : undefined));
  return functions.find((declared) => names.includes(declared.name)) ?? null;
}

function structuredText(body: JsonObject, text: string): string | null {
  const format = body.response_format;
  if (!isJsonObject(format)) return null;
  if (format.type === 'json_object') return JSON.stringify({ text });
  if (format.type !== 'json_schema' || !isJsonObject(format.json_schema)) return null;
  return JSON.stringify(schemaInstance(format.json_schema.schema));
}

function beforeStop(text: string, stop: JsonValue | undefined): string {
  const ends = (Array.isArray(stop) ? stop : [stop])
    .filter((end): end is string => typeof end === 'string' && end !== '')
    .map((end) => text.indexOf(end))
    .filter((position) => position >= 0);
  return ends.length === 0 ? text : text.slice(0, Math.min(...ends));
}

function tokenLimit(body: JsonObject): number {
  const limit = body.max_completion_tokens ?? body.max_tokens;
  return typeof limit === 'number' ? limit : Infinity;
}

export function demoChoices(body: JsonObject, isEcho: boolean, settings: DemoSettings): DemoChoice[] {
  const choiceCount = typeof body.n === 'number' ? body.n : 1;
  const called = chosenFunction(body);
  return Array.from({ length: choiceCount }, (_, index) => {
    const plain = isEcho ? lastUserText(body) : loremText(settings.tokens, index * 7);
    const text =
      called === null
        ? beforeStop(structuredText(body, plain) ?? plain, body.stop)
        : JSON.stringify(schemaInstance(called.parameters));
    const pieces = splitPieces(text);
    const kept = pieces.slice(0, tokenLimit(body));
    const isCut = kept.length < pieces.length;
    const functionName = typeof called?.name === 'string' ? called.name : null;
    return { functionName, pieces: kept, finish: isCut ? 'length' : functionName === null ? 'stop' : 'tool_calls' };
  });
}

/** Each message costs three tokens beside its text, each answer three to begin; tools count as their JSON. */
export function countPromptTokens(body: JsonObject): number {
  const messages = members(body.messages).map(
    (message) =>
      3 +
      countTokens(textOf(message.content)) +
      (message.tool_calls === undefined ? 0 : jsonTokens(message.tool_calls)),
  );
  return messages.reduce((sum, tokens) => sum + tokens, 3) + jsonTokens(body.tools);
}

const jsonTokens = (value: JsonValue | undefined): number =>
  value === undefined || value === null ? 0 : countTokens(JSON.stringify(value));
