/** A whole message of Claude's as a chat completion. Spec: fidelity 4.6. */
import { isJsonObject, type JsonObject } from '../src/contract/json.ts';
import type { AdaptedResponse, ReplyContext } from '../src/contract/provider.ts';
import { ClaudeAnswer, shownContainer, shownServiceTier } from './anthropic-answer.ts';
import { readUsage } from './anthropic-usage.ts';
import { toMessage } from './chat-deltas.ts';
import { objectsIn } from './json-values.ts';
import { writeUsage } from './openai-usage.ts';

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
      ...shownContainer(body.container),
      ...(usage === null ? {} : { usage: writeUsage({}, usage) }),
    },
    usage,
  };
}
