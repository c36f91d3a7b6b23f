/** An answer of Converse's, block by block: told to the reader of Claude's answers, whose blocks they are. Spec: fidelity 5.4. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { AdaptedResponse, ReplyContext } from '../src/contract/provider.ts';
import { ClaudeAnswer } from './anthropic-answer.ts';
import { readUsage } from './bedrock-usage.ts';
import { toMessage } from './chat-deltas.ts';
import { objectOf, objectsIn, textOf } from './json-values.ts';
import { writeUsage } from './openai-usage.ts';

/** The tools that were sent decide which call is the answer itself. */
export function openAnswer(context: ReplyContext): ClaudeAnswer {
  const { sent } = context;
  if (sent === undefined) return new ClaudeAnswer(context);
  const tools = objectsIn(objectOf(sent.toolConfig).tools).map(({ toolSpec }) => objectOf(toolSpec));
  return new ClaudeAnswer({ ...context, sent: { tools } });
}

/** A call that the provider makes and answers by itself is nothing that a caller could answer. */
export function toolBlock({ toolUseId, name, input, type }: JsonObject): JsonObject {
  return { type: type === 'server_tool_use' ? type : 'tool_use', id: toolUseId, name, input };
}

/** Citations of the web in the form that is known; others as they are. */
export function citation(written: JsonObject): JsonObject {
  const web = objectOf(written.location).web;
  if (!isJsonObject(web)) return written;
  return { type: 'web_search_result_location', url: web.url, title: written.title };
}

function toBlock(block: JsonObject): JsonObject {
  const { text, toolUse, reasoningContent, citationsContent } = block;
  if (typeof text === 'string') return { type: 'text', text };
  if (isJsonObject(toolUse)) return toolBlock(toolUse);
  if (isJsonObject(reasoningContent)) {
    const { reasoningText, redactedContent } = reasoningContent;
    if (!isJsonObject(reasoningText)) return { type: 'redacted_thinking', data: redactedContent };
    return { type: 'thinking', thinking: reasoningText.text, signature: reasoningText.signature };
  }
  if (!isJsonObject(citationsContent)) return {};
  const cited = objectsIn(citationsContent.content).map((part) => textOf(part.text));
  return { type: 'text', text: cited.join(''), citations: objectsIn(citationsContent.citations).map(citation) };
}

const shownTiers: Readonly<Record<string, string>> = {
  default: 'default',
  flex: 'flex',
  priority: 'priority',
  reserved: 'scale',
};

/** Members beside the answer: the tier that served, in OpenAI's words, and what the caller asked for in Converse's own. */
export function extras(body: JsonObject): JsonObject {
  const tier = shownTiers[textOf(objectOf(body.serviceTier).type)];
  const kept: [string, JsonValue | undefined][] = ['additionalModelResponseFields', 'performanceConfig', 'trace'].map(
    (name) => [name, body[name]],
  );
  const shown = kept.filter(([, value]) => isJsonObject(value));
  return { ...(tier === undefined ? {} : { service_tier: tier }), ...Object.fromEntries(shown) };
}

export function adaptReply(body: JsonObject, context: ReplyContext): AdaptedResponse {
  const usage = readUsage(body);
  const answer = openAnswer(context);
  const deltas = objectsIn(objectOf(objectOf(body.output).message).content).flatMap((block, index) => [
    ...answer.openBlock(index, toBlock(block)),
    ...answer.closeBlock(index),
  ]);
  deltas.push(...answer.close(body.stopReason, undefined));
  const finish = answer.finish(body.stopReason);
  return {
    body: {
      id: `chatcmpl-${context.randomId()}`,
      object: 'chat.completion',
      created: context.created,
      model: context.publicModel,
      choices: [{ index: 0, message: toMessage(deltas), logprobs: null, finish_reason: finish }],
      ...extras(body),
      ...(usage === null ? {} : { usage: writeUsage({}, usage) }),
    },
    usage,
  };
}
