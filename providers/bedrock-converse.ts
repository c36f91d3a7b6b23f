/**
 * A Messages request in Converse's words: the same turns and blocks under other names, cache marks as blocks of their own.
 * A block without a type is Converse's own and goes as it is. Spec: fidelity 5.4.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { objectOf, objectsIn, textOf } from './json-values.ts';

/** Converse refuses a result without any content. */
const noResult: JsonObject = { text: '(no output)' };

export function cachePoint(mark: JsonObject): JsonObject {
  return { cachePoint: { type: 'default', ...(typeof mark.ttl === 'string' ? { ttl: mark.ttl } : {}) } };
}

function toolResult({ tool_use_id: id, content, is_error: isError }: JsonObject): JsonObject {
  const blocks = typeof content === 'string' ? textBlocks(content) : toBlocks(objectsIn(content));
  return {
    toolResult: {
      toolUseId: id,
      content: blocks.length === 0 ? [noResult] : blocks,
      // Few models know a status, and without one a result is a success.
      ...(isError === true ? { status: 'error' } : {}),
    },
  };
}

const textBlocks = (text: string): JsonObject[] => (text.trim() === '' ? [] : [{ text }]);

function toBlock(block: JsonObject): JsonObject {
  switch (textOf(block.type)) {
    case 'text':
      return { text: block.text };
    case 'thinking':
      return { reasoningContent: { reasoningText: { text: block.thinking, signature: block.signature } } };
    case 'redacted_thinking':
      return { reasoningContent: { redactedContent: block.data } };
    case 'tool_use':
      return { toolUse: { toolUseId: block.id, name: block.name, input: block.input } };
    case 'tool_result':
      return toolResult(block);
    default:
      return block;
  }
}

export function toBlocks(blocks: readonly JsonObject[]): JsonObject[] {
  return blocks.flatMap(({ cache_control: mark, ...block }) =>
    isJsonObject(mark) ? [toBlock(block), cachePoint(mark)] : [toBlock(block)],
  );
}

export const toMessages = (messages: JsonValue | undefined): JsonObject[] =>
  objectsIn(messages).map(({ role, content }) => ({ role, content: toBlocks(objectsIn(content)) }));

function toTool(tool: JsonObject): JsonObject {
  const { name, description, input_schema: schema, strict } = tool;
  if (schema === undefined) return tool;
  return {
    toolSpec: {
      name,
      ...(description === undefined ? {} : { description }),
      inputSchema: { json: schema },
      ...(strict === undefined ? {} : { strict }),
    },
  };
}

export function toTools(tools: readonly JsonObject[]): JsonObject[] {
  return tools.flatMap(({ cache_control: mark, ...tool }) =>
    isJsonObject(mark) ? [toTool(tool), cachePoint(mark)] : [toTool(tool)],
  );
}

/** null: there is no such choice. */
export function toToolChoice(choice: JsonValue | undefined): JsonObject | null {
  const { type, name } = objectOf(choice);
  if (type === 'tool') return { tool: { name } };
  return type === 'auto' || type === 'any' ? { [type]: {} } : null;
}

/** `format` as Anthropic has it, with the name that the caller gave it. */
export function toOutputConfig(format: JsonObject, declared: JsonObject): JsonObject {
  const { name, description } = declared;
  const jsonSchema: JsonObject = {
    ...(typeof name === 'string' && name !== '' ? { name } : {}),
    schema: JSON.stringify(format.schema),
    ...(typeof description === 'string' && description !== '' ? { description } : {}),
  };
  return { textFormat: { type: 'json_schema', structure: { jsonSchema } } };
}
