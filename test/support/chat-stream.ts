/** What a Chat Completions stream says, added up, and the rules that every client relies on. */
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/contract/json.ts';
import type { SseEvent } from '../../src/contract/provider.ts';
import { parseObject, textAt } from './json-at.ts';

export type ToolCall = { id: string; name: string; arguments: string };
export type ChoiceSum = { text: string; reasoning: string; calls: ToolCall[]; finish: string | null };

export const objects = (value: JsonValue | undefined): JsonObject[] =>
  Array.isArray(value) ? value.filter(isJsonObject) : [];

/** The chunks of a stream that went out to a client, without the end marker. */
export const chunksOf = (events: readonly SseEvent[]): JsonObject[] =>
  events.filter(({ data }) => data !== '[DONE]').map(({ data }) => parseObject(data));

/** Adds up a normalised stream; it relies on the rules below, so they are checked first. */
export function sumChoices(chunks: readonly JsonObject[]): Map<number, ChoiceSum> {
  const sums = new Map<number, ChoiceSum>();
  for (const choice of chunks.flatMap((chunk) => objects(chunk.choices))) {
    const index = Number(choice.index);
    const sum = sums.get(index) ?? { text: '', reasoning: '', calls: [], finish: null };
    sums.set(index, sum);
    sum.text += textAt(choice, 'delta', 'content');
    sum.reasoning += textAt(choice, 'delta', 'reasoning_content');
    for (const call of objects(isJsonObject(choice.delta) ? choice.delta.tool_calls : undefined)) {
      const known = (sum.calls[Number(call.index)] ??= { id: '', name: '', arguments: '' });
      known.id += textAt(call, 'id');
      known.name += textAt(call, 'function', 'name');
      known.arguments += textAt(call, 'function', 'arguments');
    }
    if (typeof choice.finish_reason === 'string') sum.finish = choice.finish_reason;
  }
  return sums;
}

function deltaFaults(choice: JsonObject, hasRole: boolean, openCalls: Set<number>): string[] {
  const delta = isJsonObject(choice.delta) ? choice.delta : {};
  const faults: string[] = [];
  if (!hasRole && delta.role !== 'assistant') faults.push('the first delta has no role');
  if (hasRole && Object.hasOwn(delta, 'role')) faults.push('a role is repeated');
  if (Array.isArray(delta.content)) faults.push('content is an array');
  for (const call of objects(delta.tool_calls)) {
    const index = Number(call.index);
    const isFirst = !openCalls.has(index);
    openCalls.add(index);
    const name = isJsonObject(call.function) ? call.function.name : undefined;
    const named = [call.id, call.type, name].filter((value) => value !== undefined).length;
    if (isFirst && (named !== 3 || index !== openCalls.size - 1))
      faults.push('a tool call does not start with id, type, name');
    if (!isFirst && named !== 0) faults.push('a tool call repeats id, type or name');
  }
  return faults;
}

/** Every broken rule of "How to check it" 3; empty for a stream that any client can read. */
export function streamFaults(events: readonly SseEvent[], includeUsage: boolean): string[] {
  const chunks = chunksOf(events);
  const faults: string[] = [];
  const openCalls = new Map<number, Set<number>>();
  const finished = new Set<number>();
  for (const choice of chunks.flatMap((chunk) => objects(chunk.choices))) {
    const index = Number(choice.index);
    const calls = openCalls.get(index);
    if (finished.has(index)) faults.push('a choice goes on after its finish');
    const known = calls ?? new Set<number>();
    openCalls.set(index, known);
    faults.push(...deltaFaults(choice, calls !== undefined, known));
    if (choice.finish_reason === null) continue;
    finished.add(index);
    if (JSON.stringify(choice.delta) !== '{}') faults.push('a finish chunk has a delta');
  }
  for (const member of ['id', 'created', 'model', 'object']) {
    if (new Set(chunks.map((chunk) => chunk[member])).size > 1) faults.push(`${member} changes`);
  }
  if (chunks.some((chunk) => chunk.object !== 'chat.completion.chunk')) faults.push('an object is not a chunk');
  const bare = chunks.filter((chunk) => objects(chunk.choices).length === 0);
  if (bare.length > (includeUsage ? 1 : 0)) faults.push('a chunk without choices was not asked for');
  if (bare.some((chunk) => !isJsonObject(chunk.usage))) faults.push('a chunk without choices has no usage');
  const others = chunks.filter((chunk) => !bare.includes(chunk));
  if (others.some((chunk) => (includeUsage ? chunk.usage !== null : Object.hasOwn(chunk, 'usage')))) {
    faults.push('usage is not where it was asked for');
  }
  if (events.slice(0, -1).some(({ data }) => data === '[DONE]')) faults.push('something follows the end marker');
  if (events.at(-1)?.data === '[DONE]' && finished.size < openCalls.size) faults.push('an end marker without a finish');
  for (const { calls } of sumChoices(chunks).values()) {
    for (const call of calls) {
      if (call.id === '' || !isJsonObject(JSON.parse(call.arguments) as JsonValue))
        faults.push('arguments are no object');
    }
  }
  return [...new Set(faults)];
}
