/**
 * Chunks of a chat completion put together again, for a caller who asked for one reply where the upstream was asked for a
 * stream. Members that it does not know are taken from the last chunk that has them. Spec: fidelity 4.2.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../contract/json.ts';

type Choice = { rest: JsonObject; message: JsonObject; calls: Map<number, JsonObject>; logprobs: JsonObject | null };

const perChunk: ReadonlySet<string> = new Set(['object', 'choices', 'usage', 'obfuscation']);

export class ChunkSum {
  #top: JsonObject = {};
  #usage: JsonObject | null = null;
  readonly #choices = new Map<number, Choice>();

  add(chunk: JsonObject): void {
    for (const [name, value] of Object.entries(chunk)) if (!perChunk.has(name)) this.#top[name] = value;
    if (isJsonObject(chunk['usage'])) this.#usage = chunk['usage'];
    for (const choice of objectsIn(chunk['choices'])) this.#addChoice(choice);
  }

  /** A `chat.completion`; choices in the order of their index. */
  completion(): JsonObject {
    const choices = [...this.#choices].sort(([one], [other]) => one - other);
    return {
      ...this.#top,
      object: 'chat.completion',
      choices: choices.map(([index, choice]) => completed(index, choice)),
      ...(this.#usage === null ? {} : { usage: this.#usage }),
    };
  }

  #addChoice({ index: position, delta, logprobs, ...rest }: JsonObject): void {
    const index = typeof position === 'number' ? position : 0;
    const fresh: Choice = { rest: {}, message: {}, calls: new Map(), logprobs: null };
    const choice = this.#choices.get(index) ?? fresh;
    this.#choices.set(index, choice);
    for (const [name, value] of Object.entries(rest)) {
      if (value !== null || choice.rest[name] === undefined) choice.rest[name] = value;
    }
    if (isJsonObject(logprobs)) choice.logprobs = joined(choice.logprobs ?? {}, logprobs);
    if (!isJsonObject(delta)) return;
    const { tool_calls: calls, role, ...said } = delta;
    if (typeof role === 'string') choice.message['role'] = role;
    choice.message = joined(choice.message, said);
    for (const call of objectsIn(calls)) addCall(choice.calls, call);
  }
}

function addCall(
  calls: Map<number, JsonObject>,
  { index: position, id, type, function: part, ...rest }: JsonObject,
): void {
  const index = typeof position === 'number' ? position : calls.size;
  const call = calls.get(index) ?? { ...rest, id: id ?? null, type: type ?? 'function', function: {} };
  calls.set(index, { ...call, ...rest });
  const target = calls.get(index);
  if (target !== undefined && isJsonObject(target['function']) && isJsonObject(part)) {
    target['function'] = joined(target['function'], part);
  }
}

/** Text and lists grow, objects member by member; whatever else is said again replaces what was said. */
function joined(before: JsonObject, more: JsonObject): JsonObject {
  const out = { ...before };
  for (const [name, value] of Object.entries(more)) {
    const old = out[name];
    if (typeof old === 'string' && typeof value === 'string') out[name] = old + value;
    else if (Array.isArray(old) && Array.isArray(value)) out[name] = [...old, ...value];
    else if (isJsonObject(old) && isJsonObject(value)) out[name] = joined(old, value);
    else if (value !== null || old === undefined) out[name] = value;
  }
  return out;
}

function completed(index: number, { rest, message, calls, logprobs }: Choice): JsonObject {
  const called = [...calls].sort(([one], [other]) => one - other).map(([, call]) => call);
  const { role, content, refusal = null, ...others } = message;
  const hasSaid = typeof content === 'string' && content !== '';
  const hasOther = called.length > 0 || refusal !== null || isJsonObject(others['function_call']);
  return {
    index,
    message: {
      role: role ?? 'assistant',
      content: hasSaid || !hasOther ? (content ?? '') : null,
      refusal,
      ...others,
      ...(called.length === 0 ? {} : { tool_calls: called }),
    },
    logprobs,
    ...rest,
  };
}

const objectsIn = (value: JsonValue | undefined): JsonObject[] =>
  Array.isArray(value) ? value.filter((entry) => isJsonObject(entry)) : [];
