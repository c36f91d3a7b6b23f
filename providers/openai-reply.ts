/** A unary answer of an OpenAI-shaped upstream, edited where OpenAI's own would differ. Spec: fidelity 2.3. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { AdaptedResponse, ReplyContext } from '../src/contract/provider.ts';
import { mapFinish } from './openai-finish.ts';
import { toLegacyMessage, usesLegacyFunctions } from './openai-legacy.ts';
import { readMessage, withoutNoise } from './openai-message.ts';
import { splitThinking } from './openai-think.ts';
import { completeToolCalls } from './openai-tool-calls.ts';
import { readUsage, writeUsage } from './openai-usage.ts';

function adaptMessage(source: JsonObject, context: ReplyContext, noise: readonly string[]): JsonObject {
  const parts = readMessage(source, noise);
  if (parts.content !== null && context.target?.model?.abilities?.parseThink === true) {
    const { content, reasoning } = splitThinking(parts.content);
    parts.content = content;
    parts.reasoning += reasoning;
  }
  const message: JsonObject = { role: 'assistant', content: parts.content, ...parts.rest };
  const toolCalls = completeToolCalls(parts.toolCalls, noise, () => context.randomId());
  if (toolCalls.length === 0) message.content ??= '';
  else message.tool_calls = toolCalls;
  if (toolCalls.length > 0 && message.content === '') message.content = null;
  if (parts.reasoning !== '') message.reasoning_content = parts.reasoning;
  return message;
}

function adaptChoice(
  source: JsonObject,
  position: number,
  context: ReplyContext,
  noise: readonly string[],
): JsonObject {
  const message = adaptMessage(isJsonObject(source.message) ? source.message : {}, context, noise);
  const hasCalls = Array.isArray(message.tool_calls);
  const finish = mapFinish(source.finish_reason) ?? (hasCalls ? 'tool_calls' : 'stop');
  const isLegacy = hasCalls && usesLegacyFunctions(context.request);
  const choice = withoutNoise(source, source.text === undefined ? noise : [...noise, 'text', 'delta']);
  return {
    ...choice,
    index: typeof source.index === 'number' ? source.index : position,
    message: isLegacy ? toLegacyMessage(message) : message,
    finish_reason: isLegacy && finish === 'tool_calls' ? 'function_call' : finish,
  };
}

function isSame(left: JsonValue | undefined, right: JsonValue | undefined): boolean {
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((item, position) => isSame(item, right[position]));
  }
  if (!isJsonObject(left) || !isJsonObject(right)) return left === right;
  const keys = Object.keys(left);
  return keys.length === Object.keys(right).length && keys.every((key) => isSame(left[key], right[key]));
}

const isSeconds = (value: unknown): boolean => typeof value === 'number' && value > 0 && value < 1e11;

export function adaptReply(body: JsonObject, context: ReplyContext, noise: readonly string[]): AdaptedResponse {
  const usage = readUsage(body);
  const choices = Array.isArray(body.choices) ? body.choices.filter(isJsonObject) : [];
  const adapted: JsonObject = {
    ...withoutNoise(body, noise),
    id: typeof body.id === 'string' && body.id !== '' ? body.id : `chatcmpl-${context.randomId()}`,
    object: 'chat.completion',
    created: isSeconds(body.created) ? body.created : context.created,
    model: context.publicModel,
    choices: choices.map((choice, position) => adaptChoice(choice, position, context, noise)),
  };
  // Figures that cannot be believed are not shown either.
  if (usage === null) delete adapted.usage;
  else adapted.usage = writeUsage(body, usage);
  for (const key of ['service_tier', 'system_fingerprint']) if (adapted[key] === '') delete adapted[key];
  // Only a reply that already names the public model can come through unchanged.
  const isUnchanged = body.model === context.publicModel && isSame(adapted, body);
  return { body: isUnchanged ? null : adapted, usage };
}
