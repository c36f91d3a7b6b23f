/**
 * The form of the answer: by a schema where the model knows that, else by a forced tool whose input is the answer; or any
 * JSON object, asked for in words. Spec: fidelity 4.1, 4.2.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { ReplyContext } from '../src/contract/provider.ts';
import type { Block, MessagesDraft } from './anthropic-draft.ts';
import { sanitiseSchema } from './anthropic-schema.ts';
import { objectsIn, textOf } from './json-values.ts';

const jsonInstruction =
  'Answer with a single valid JSON object and nothing else: no text before or after it, no code fence around it.';

export function formatOf(request: JsonObject): JsonObject {
  return isJsonObject(request.response_format) ? request.response_format : {};
}

function schemaOf(format: JsonObject): { schema: JsonObject; description: string } {
  const declared = isJsonObject(format.json_schema) ? format.json_schema : {};
  const schema = isJsonObject(declared.schema) ? declared.schema : { type: 'object' };
  return { schema, description: textOf(declared.description) };
}

const nameOf = (tool: JsonObject): JsonValue | undefined =>
  isJsonObject(tool.function) ? tool.function.name : tool.name;

/** `json`, unless the caller has a tool of that name. */
function jsonToolName(request: JsonObject): string {
  const taken = [...objectsIn(request.tools), ...objectsIn(request.functions)].map(nameOf);
  let name = 'json';
  while (taken.includes(name)) name += '_';
  return name;
}

/** Says in the request how to answer; the tool that stands in for a schema is given, for it has a say in other fields. */
export function writeOutputFormat(draft: MessagesDraft): Block | null {
  const own = draft.value('output_config');
  if (isJsonObject(own)) draft.body.output_config = { ...own };
  const format = formatOf(draft.source);
  if (format.type === 'json_object') draft.system.push({ type: 'text', text: jsonInstruction });
  if (format.type !== 'json_schema') return null;
  const { schema, description } = schemaOf(format);
  if (draft.abilities.jsonSchema) {
    const output = { type: 'json_schema', schema: sanitiseSchema(schema) };
    draft.body.output_config = { format: output, ...(isJsonObject(own) ? own : {}) };
    return null;
  }
  return {
    name: jsonToolName(draft.source),
    description: description === '' ? 'Give the answer in this form.' : description,
    input_schema: schema,
  };
}

/** The name of the tool that stood in for the schema when this reply was asked for; null when there was none. */
export function jsonToolOf({ request, sent }: ReplyContext): string | null {
  if (request === undefined || sent === undefined || formatOf(request).type !== 'json_schema') return null;
  const name = jsonToolName(request);
  return objectsIn(sent.tools).some((tool) => tool.name === name) ? name : null;
}
