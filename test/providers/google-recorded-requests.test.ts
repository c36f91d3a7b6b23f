/**
 * Every recorded request of generateContent: the same conversation in OpenAI's form must become that request again. The
 * recording is the evidence of what Google takes; the conversation is read off it here, in the simplest way.
 */
import t from 'tap';
import { google } from '../../providers/google.ts';
import { vertex } from '../../providers/vertex.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/contract/json.ts';
import { objects } from '../support/chat-stream.ts';
import { at, textAt } from '../support/json-at.ts';
import { hasRecordings, recordings } from '../support/recordings.ts';

type Asked = { name: string; model: string; request: JsonObject };

const asked: Asked[] = (hasRecordings() ? recordings() : []).flatMap(({ name, request, ...recording }) => {
  if (!/^google(?:-vertex)?\//.test(name) || request === null) return [];
  const answers =
    recording.kind === 'reply' ? [recording.body] : recording.events.map(({ data }) => JSON.parse(data) as JsonValue);
  const model = answers.map((answer) => textAt(answer, 'modelVersion')).find((version) => version !== '');
  return model === undefined ? [] : [{ name, model, request }];
});
if (asked.length === 0) t.comment('fixtures absent: the recorded requests are not beside this repository');

const camel = (name: string): string => name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** Names of members in either spelling; those of a schema and of arguments are the caller's own. */
function spelled(value: JsonValue | undefined): JsonValue {
  if (Array.isArray(value)) return value.map(spelled);
  if (!isJsonObject(value)) return value ?? null;
  const own = new Set(['args', 'response', 'parametersJsonSchema', 'responseJsonSchema', 'parameters']);
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      camel(name),
      own.has(camel(name)) ? (member ?? null) : spelled(member),
    ]),
  );
}

function toContentPart(part: JsonObject): JsonObject {
  if (typeof part.text === 'string') return { type: 'text', text: part.text };
  const { inlineData, videoMetadata } = part;
  if (isJsonObject(inlineData)) {
    return {
      type: 'video_url',
      video_url: { url: `data:${textAt(inlineData, 'mimeType')};base64,${textAt(inlineData, 'data')}` },
    };
  }
  // A part with more to say than OpenAI has words for goes in Gemini's own.
  if (videoMetadata !== undefined) return part;
  return { type: 'file', file: { file_data: textAt(part, 'fileData', 'fileUri') } };
}

const called = (part: JsonObject): JsonObject => {
  const signature = textAt(part, 'thoughtSignature');
  return {
    id: textAt(part, 'functionCall', 'id') || `call_${textAt(part, 'functionCall', 'name')}`,
    type: 'function',
    function: {
      name: textAt(part, 'functionCall', 'name'),
      arguments: JSON.stringify(at(part, 'functionCall', 'args')),
    },
    ...(signature === '' ? {} : { extra_content: { google: { thought_signature: signature } } }),
  };
};

function assistant(parts: readonly JsonObject[]): JsonObject {
  const thinking = parts
    .filter(({ thought }) => thought === true)
    .map((part) => textAt(part, 'text'))
    .join('');
  const text = parts.filter((part) => typeof part.text === 'string' && part.thought !== true);
  const signature = text.map((part) => textAt(part, 'thoughtSignature')).join('');
  const block = { type: 'thinking', thinking, signature, format: 'google-gemini-v1' };
  return {
    role: 'assistant',
    content: text.map((part) => textAt(part, 'text')).join(''),
    reasoning_content: thinking,
    ...(signature === '' ? {} : { thinking_blocks: [block] }),
    tool_calls: parts.filter(({ functionCall }) => functionCall !== undefined).map(called),
  };
}

const results = (parts: readonly JsonObject[]): JsonObject[] =>
  parts
    .filter(({ functionResponse }) => functionResponse !== undefined)
    .map((part) => ({
      role: 'tool',
      tool_call_id: textAt(part, 'functionResponse', 'id') || `call_${textAt(part, 'functionResponse', 'name')}`,
      content: textAt(part, 'functionResponse', 'response', 'return_value'),
    }));

function toMessages(request: JsonObject): JsonObject[] {
  const system = objects(at(request, 'systemInstruction', 'parts')).map((part) => ({
    type: 'text',
    text: textAt(part, 'text'),
  }));
  const turns = objects(request.contents).flatMap(({ role, parts: all }) => {
    const parts = objects(all);
    if (role === 'model') return [assistant(parts)];
    const content = parts.filter(({ functionResponse }) => functionResponse === undefined).map(toContentPart);
    return [...results(parts), ...(content.length === 0 ? [] : [{ role: 'user', content }])];
  });
  return [...(system.length === 0 ? [] : [{ role: 'system', content: system }]), ...turns];
}

const choices: Record<string, JsonValue> = { ANY: 'required', NONE: 'none', AUTO: 'auto' };

function toChoice(config: JsonValue | undefined): JsonObject {
  const names = at(config, 'allowedFunctionNames');
  const mode = choices[textAt(config, 'mode')];
  if (mode === undefined) return {};
  if (!Array.isArray(names)) return { tool_choice: mode };
  const tools = names.map((name) => ({ type: 'function', function: { name } }));
  return { tool_choice: { type: 'allowed_tools', allowed_tools: { mode, tools } } };
}

function toTools(request: JsonObject): JsonObject[] {
  const isStrict = textAt(request, 'toolConfig', 'functionCallingConfig', 'mode') === 'VALIDATED';
  return objects(request.tools).flatMap(({ functionDeclarations, ...own }) =>
    functionDeclarations === undefined
      ? [own]
      : objects(functionDeclarations).map((declared) => ({
          type: 'function',
          function: {
            name: declared.name,
            description: declared.description,
            parameters: declared.parametersJsonSchema ?? declared.parameters,
            ...(isStrict ? { strict: true } : {}),
          },
        })),
  );
}

function toOpenAi(request: JsonObject): JsonObject {
  const config = isJsonObject(request.generationConfig) ? request.generationConfig : {};
  const schema = config.responseJsonSchema;
  const { safetySettings, cachedContent, modelArmorConfig } = request;
  return {
    model: 'public',
    messages: toMessages(request),
    tools: toTools(request),
    ...toChoice(at(request, 'toolConfig', 'functionCallingConfig')),
    max_tokens: config.maxOutputTokens,
    temperature: config.temperature,
    logprobs: config.responseLogprobs,
    top_logprobs: config.logprobs,
    ...(isJsonObject(schema) ? { response_format: { type: 'json_schema', json_schema: { name: 's', schema } } } : {}),
    ...(at(config, 'thinkingConfig', 'thinkingBudget') === 0 ? { reasoning_effort: 'none' } : {}),
    safetySettings,
    cachedContent,
    modelArmorConfig,
  };
}

const upperTypes = (schema: JsonValue | undefined): JsonValue | undefined =>
  JSON.parse(JSON.stringify(schema ?? null), (name, value: JsonValue) =>
    name === 'type' && typeof value === 'string' ? value.toUpperCase() : value,
  ) as JsonValue;

/** Thoughts of one turn may be told in several parts; text that is empty says nothing. */
function comparableParts(parts: readonly JsonObject[]): JsonObject[] {
  const told: JsonObject[] = [];
  for (const part of parts.filter(({ text, thoughtSignature }) => text !== '' || thoughtSignature !== undefined)) {
    const last = told.at(-1);
    if (part.thought === true && last?.thought === true) last.text = textAt(last, 'text') + textAt(part, 'text');
    else told.push(comparablePart(part));
  }
  return told;
}

/** What two requests that mean the same may differ in. */
function comparable(request: JsonObject): JsonObject {
  const { contents, tools, toolConfig, generationConfig, systemInstruction, ...others } = request;
  const config = isJsonObject(generationConfig) ? generationConfig : {};
  // Text is all that is asked for, and thoughts are only told where we ask.
  const { responseModalities: _, thinkingConfig, ...knobs } = config;
  const system = objects(at(systemInstruction, 'parts')).map((part) => ({ text: part.text ?? null }));
  const turns = objects(contents)
    .map(({ role, parts }) => ({ role: role ?? null, parts: comparableParts(objects(parts)) }))
    .filter(({ parts }) => parts.length > 0);
  const functions = objects(tools).flatMap(({ functionDeclarations }) => objects(functionDeclarations));
  const isSilent = turns.length === 0;
  return {
    ...others,
    // Without functions beside them the server's tools need not be asked for twice.
    toolConfig: functions.length === 0 ? null : (toolConfig ?? null),
    knobs,
    isThinkingOff: at(thinkingConfig, 'thinkingBudget') === 0,
    system: isSilent ? [] : system,
    contents: isSilent ? [{ role: 'user', parts: system }] : turns,
    tools: objects(tools).flatMap(({ functionDeclarations: __, ...own }) =>
      Object.keys(own).length === 0 ? [] : [own],
    ),
    functions: functions.map(({ name, description, parameters, parametersJsonSchema }) => ({
      name: name ?? null,
      description: description ?? '',
      parameters: comparableSchema(parameters ?? parametersJsonSchema),
    })),
  };
}

function comparableSchema(schema: JsonValue | undefined): JsonValue {
  const isEmpty =
    Object.keys(isJsonObject(at(schema, 'properties')) ? (at(schema, 'properties') as JsonObject) : {}).length === 0;
  return isEmpty ? null : (upperTypes(schema) ?? null);
}

/** Ids that the client made up are left out, and a result is called by another name there. */
function comparablePart({ functionCall, functionResponse, ...part }: JsonObject): JsonObject {
  if (isJsonObject(functionCall)) {
    const { id: _, ...call } = functionCall;
    return { ...part, functionCall: call };
  }
  if (!isJsonObject(functionResponse)) return part;
  const response = at(functionResponse, 'response');
  return {
    name: functionResponse.name ?? null,
    result: textAt(response, 'return_value') || textAt(response, 'result'),
  };
}

for (const { name, model, request } of asked) {
  t.test(`asks as ${name} did`, (t) => {
    const recorded = spelled(request) as JsonObject;
    const adapter = name.startsWith('google-vertex/') ? vertex : google;
    const edit = adapter.endpoints.chat?.request(toOpenAi(recorded), { upstreamModel: model, model: null });
    if (edit === undefined || !('body' in edit)) throw new Error('this dialect writes the body anew');
    t.same(comparable(edit.body), comparable(recorded));
    t.end();
  });
}
