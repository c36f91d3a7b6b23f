/** Recorded requests to Bedrock's Converse: the same conversation in OpenAI's words must become that request again. */
import t from 'tap';
import { bedrock } from '../../providers/bedrock.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/contract/json.ts';
import type { ChatEndpoint } from '../../src/contract/provider.ts';
import { requests } from '../support/bedrock-recordings.ts';
import { objects } from '../support/chat-stream.ts';
import { at, parseObject, textAt } from '../support/json-at.ts';
import { hasRecordings } from '../support/recordings.ts';

const chat = bedrock.endpoints.chat as ChatEndpoint;
if (!hasRecordings()) t.comment('fixtures absent: the recorded requests are not beside this repository');

const secretOf = (block: JsonObject): string =>
  textAt(block, 'reasoningContent', 'reasoningText', 'signature') ||
  textAt(block, 'reasoningContent', 'redactedContent');

const marked = (blocks: readonly JsonObject[]): JsonObject[] =>
  blocks.flatMap((block, index) => {
    if (block.cachePoint !== undefined) return [];
    return [blocks[index + 1]?.cachePoint === undefined ? block : { ...block, cache_control: { type: 'ephemeral' } }];
  });

const mediaTypes: Record<string, string> = { txt: 'text/plain', pdf: 'application/pdf', png: 'image/png' };

/** null for what chat cannot say. */
function chatPart(block: JsonObject): JsonObject | null {
  const { text, document, cache_control, ...unknown } = block;
  const mark = cache_control === undefined ? {} : { cache_control };
  if (Object.keys(unknown).length > 0) return null;
  if (typeof text === 'string') return text.trim() === '' ? null : { type: 'text', text, ...mark };
  const data = `data:${mediaTypes[textAt(document, 'format')] ?? ''};base64,${textAt(document, 'source', 'bytes')}`;
  return { type: 'file', file: { file_data: data, filename: `${textAt(document, 'name')}.txt` }, ...mark };
}

function chatAnswer(blocks: readonly JsonObject[]): JsonObject[] | null {
  const calls = blocks.filter((block) => isJsonObject(block.toolUse)).map(({ toolUse }) => toolUse as JsonObject);
  if (blocks.some((block) => block.toolResult !== undefined)) return null;
  const thinking = blocks
    .filter((block) => secretOf(block) !== '')
    .map(({ reasoningContent }) => {
      const { text, signature } = (at(reasoningContent, 'reasoningText') ?? {}) as JsonObject;
      return signature === undefined
        ? { type: 'redacted_thinking', data: at(reasoningContent, 'redactedContent') }
        : { type: 'thinking', thinking: text, signature };
    });
  const content = blocks.map((block) => textAt(block, 'text')).join('');
  return [
    {
      role: 'assistant',
      content: content === '' ? null : content,
      ...(thinking.length === 0 ? {} : { thinking_blocks: thinking }),
      ...(calls.length === 0
        ? {}
        : {
            tool_calls: calls.map(({ toolUseId: id, name, input }) => ({
              id,
              type: 'function',
              function: { name, arguments: JSON.stringify(input) },
            })),
          }),
    },
  ];
}

function chatMessages(message: JsonObject): JsonObject[] | null {
  const blocks = marked(objects(message.content));
  if (message.role === 'assistant') return chatAnswer(blocks);
  const results = blocks.filter((block) => isJsonObject(block.toolResult));
  const parts = blocks.filter((block) => block.toolResult === undefined).map(chatPart);
  if (parts.includes(null)) return null;
  const said = results.map(({ toolResult }) => ({
    role: 'tool',
    tool_call_id: textAt(toolResult, 'toolUseId'),
    content: textAt(toolResult, 'content', 0, 'text'),
  }));
  return [...said, ...(parts.length === 0 ? [] : [{ role: 'user', content: parts } as JsonObject])];
}

function chatChoice(choice: JsonValue | undefined): JsonObject {
  if (!isJsonObject(choice)) return {};
  if (isJsonObject(choice.tool)) return { tool_choice: { type: 'function', function: { name: choice.tool.name } } };
  return { tool_choice: choice.any === undefined ? 'auto' : 'required' };
}

function chatTool(tool: JsonObject): JsonObject {
  const { toolSpec, cache_control } = tool;
  if (!isJsonObject(toolSpec)) return tool;
  const { inputSchema, ...declared } = toolSpec;
  const mark = cache_control === undefined ? {} : { cache_control };
  return { type: 'function', function: { ...declared, parameters: at(inputSchema, 'json') }, ...mark };
}

/** A recorded request in OpenAI's words. */
function asChat(recorded: JsonObject): JsonObject | null {
  const { messages, system, toolConfig, inferenceConfig, outputConfig, additionalModelRequestFields, serviceTier } =
    recorded;
  const written = objects(messages).map(chatMessages);
  if (written.includes(null)) return null;
  const leading = marked(objects(system)).map(({ text, cache_control }) => ({
    role: 'system',
    content: [{ type: 'text', text, ...(cache_control === undefined ? {} : { cache_control }) }],
  }));
  const format = at(outputConfig, 'textFormat', 'structure', 'jsonSchema') as JsonObject | undefined;
  const { maxTokens, topP, ...sampling } = (inferenceConfig ?? {}) as JsonObject;
  return {
    messages: [...leading, ...written.flatMap((list) => list ?? [])],
    ...sampling,
    ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
    ...(topP === undefined ? {} : { top_p: topP }),
    ...(toolConfig === undefined ? {} : { tools: marked(objects(at(toolConfig, 'tools'))).map(chatTool) }),
    ...chatChoice(at(toolConfig, 'toolChoice')),
    ...(isJsonObject(serviceTier) ? { service_tier: serviceTier.type } : {}),
    ...(format === undefined
      ? {}
      : {
          response_format: {
            type: 'json_schema',
            json_schema: { ...format, schema: parseObject(textAt(format, 'schema')) },
          },
        }),
    ...((additionalModelRequestFields ?? {}) as JsonObject),
  };
}

/** Forms that mean the same to the API: a success that is said or not, an object that may have no more members. */
function comparable(body: JsonObject): JsonValue {
  const { system = [], inferenceConfig = {}, ...others } = structuredClone(body);
  for (const block of objects(others.messages).flatMap((message) => objects(message.content))) {
    if (isJsonObject(block.toolResult) && block.toolResult.status === 'success') delete block.toolResult.status;
  }
  const format = at(others.outputConfig, 'textFormat', 'structure', 'jsonSchema');
  if (isJsonObject(format)) format.schema = { additionalProperties: false, ...parseObject(textAt(format, 'schema')) };
  return { system, inferenceConfig, ...others };
}

const seen: string[] = [];
for (const { name, exchange } of requests) {
  const body = exchange === null ? null : asChat(exchange.request);
  if (exchange === null || body === null) continue;
  seen.push(name);
  t.test(`writes the request of ${name}`, (t) => {
    const [, escaped = '', operation = ''] = /(\/model\/(?:[^/]+))(\/[\w-]+)$/.exec(exchange.url) ?? [];
    const target = { upstreamModel: decodeURIComponent(escaped.slice('/model/'.length)), model: null };
    t.equal(chat.path(target, operation === '/converse-stream'), escaped + operation);
    const { dropped, ...change } = chat.request(body, target);
    const sent = 'body' in change ? change.body : {};
    t.same(dropped, []);
    const expected = comparable(exchange.request) as JsonObject;
    // A budget is never sent without a limit that it fits in.
    if (at(sent, 'additionalModelRequestFields', 'thinking') !== undefined) {
      t.equal(at(sent, 'inferenceConfig', 'maxTokens'), 64_000);
      expected.inferenceConfig = { maxTokens: 64_000 };
    }
    t.same(comparable(sent), expected);
    t.end();
  });
}

if (hasRecordings()) {
  t.test('has written the requests, and passed over only what chat cannot say', (t) => {
    t.equal(seen.length, 25);
    t.end();
  });
}
