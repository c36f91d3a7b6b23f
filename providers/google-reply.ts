/** A whole reply of generateContent as a chat completion. Spec: fidelity 5.2. */
import type { JsonObject } from '../src/contract/json.ts';
import type { AdaptedResponse, ReplyContext } from '../src/contract/provider.ts';
import { toMessage } from './chat-deltas.ts';
import { GeminiAnswer, blockedPrompt, indexOf } from './google-answer.ts';
import { logprobsOf } from './google-logprobs.ts';
import { readUsage, shownServiceTier } from './google-usage.ts';
import { objectsIn } from './json-values.ts';
import { writeUsage } from './openai-usage.ts';

function toChoice(candidate: JsonObject, answer: GeminiAnswer): JsonObject {
  const message = toMessage([...answer.add(candidate), ...answer.close()]);
  const reason = answer.finish();
  if (reason === 'content_filter' && message.content === '') message.content = null;
  return { index: indexOf(candidate), message, logprobs: logprobsOf(candidate), finish_reason: reason };
}

function blockedChoice(feedback: JsonObject, answer: GeminiAnswer): JsonObject {
  answer.block(feedback.blockReasonMessage);
  return toChoice({}, answer);
}

export function adaptReply(body: JsonObject, context: ReplyContext): AdaptedResponse {
  const usage = readUsage(body);
  const blocked = blockedPrompt(body);
  const choices =
    blocked === null
      ? objectsIn(body.candidates).map((candidate) => toChoice(candidate, new GeminiAnswer(context)))
      : [blockedChoice(blocked, new GeminiAnswer(context))];
  return {
    body: {
      id: `chatcmpl-${context.randomId()}`,
      object: 'chat.completion',
      created: context.created,
      model: context.publicModel,
      choices,
      ...shownServiceTier(body),
      ...(usage === null ? {} : { usage: writeUsage({}, usage) }),
    },
    usage,
  };
}
