/** A whole message of Claude's as a chat completion. Spec: fidelity 4.6. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { AdaptedResponse, ReplyContext } from '../src/contract/provider.ts';
import { ClaudeAnswer, shownServiceTier } from './anthropic-answer.ts';
import { objectsIn, textOf } from './anthropic-draft.ts';
import { readUsage } from './anthropic-usage.ts';
import { writeUsage } from './openai-usage.ts';

function addCall(calls: JsonObject[], { index, ...delta }: JsonObject): void {
  const known = calls[Number(index)];
  if (known === undefined) calls.push(delta);
  else known.function = joined(known.function, delta.function);
}

function joined(known: JsonValue | undefined, more: JsonValue | undefined): JsonObject {
  const before = isJsonObject(known) ? known : {};
  const after = isJsonObject(more) ? more : {};
  return { ...before, ...after, arguments: textOf(before.arguments) + textOf(after.arguments) };
}

/** Texts and lists grow, calls grow in their places. */
function toMessage(deltas: readonly JsonObject[]): JsonObject {
  const said: JsonObject = {};
  const calls: JsonObject[] = [];
  for (const delta of deltas) {
    for (const [name, value] of Object.entries(delta)) {
      if (name === 'tool_calls') for (const call of objectsIn(value)) addCall(calls, call);
      else if (name === 'function_call') said[name] = joined(said[name], value);
      else if (Array.isArray(value)) said[name] = [...objectsIn(said[name]), ...value];
      else said[name] = textOf(said[name]) + textOf(value);
    }
  }
  const { content, refusal = null, ...others } = said;
  const isSilent = calls.length > 0 || refusal !== null || others.function_call !== undefined;
  return {
    role: 'assistant',
    content: content ?? (isSilent ? null : ''),
    refusal,
    ...others,
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

export function adaptReply(body: JsonObject, context: ReplyContext): AdaptedResponse {
  const usage = readUsage(body);
  const answer = new ClaudeAnswer(context);
  const deltas = objectsIn(body.content).flatMap((block, index) => [
    ...answer.openBlock(index, block),
    ...answer.closeBlock(index),
  ]);
  deltas.push(...answer.close(body.stop_reason, body.stop_details));
  const tier = isJsonObject(body.usage) ? body.usage.service_tier : undefined;
  return {
    body: {
      id: `chatcmpl-${context.randomId()}`,
      object: 'chat.completion',
      created: context.created,
      model: context.publicModel,
      choices: [
        { index: 0, message: toMessage(deltas), logprobs: null, finish_reason: answer.finish(body.stop_reason) },
      ],
      ...shownServiceTier(tier),
      ...(usage === null ? {} : { usage: writeUsage({}, usage) }),
    },
    usage,
  };
}
