/**
 * What a caller sent, understood as far as the gateway acts on it. Only those members are checked; every other one is
 * the provider's business and travels as the caller's own bytes. Each refusal names the parameter and teaches.
 * Spec: DESIGN 5, performance 3.1, fidelity 3.3, reliability 6.
 */
import { isUtf8 } from 'node:buffer';
import { gatewayError, type ErrorName, type GatewayError } from '../contract/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../contract/json.ts';
import { countTopLevelKey, findHazard, maximumDepth } from './json-guard.ts';

export type ChatRequest = {
  rawBody: Buffer;
  body: JsonObject;
  model: string;
  stream: boolean;
  includeUsage: boolean;
  /** True when the one `"model"` in the bytes is provably the top-level key, so that bytes may be edited in place. */
  canSplice: boolean;
};

const maximumMessages = 4096;
const maximumTools = 512;
const maximumChoices = 128;
const largestTokenCount = 1_000_000_000;

export function readChatRequest(rawBody: Buffer): ChatRequest {
  const body = parseObject(rawBody);
  const model = readModel(body);
  const occurrences = countModelKeys(rawBody);
  if (occurrences !== 1 && countTopLevelKey(rawBody.toString(), 'model') > 1) {
    throw gatewayError('duplicateParameter', {
      message: 'The parameter `model` is given twice. Send it once.',
      param: 'model',
    });
  }
  checkMessages(body['messages']);
  checkStream(body);
  checkTools(body['tools']);
  checkStop(body['stop']);
  checkInteger(body, 'n', 1, maximumChoices);
  checkInteger(body, 'max_tokens', 1, largestTokenCount);
  checkInteger(body, 'max_completion_tokens', 1, largestTokenCount);
  checkNumber(body, 'temperature', 0, 2);
  checkNumber(body, 'top_p', 0, 1);
  const streamOptions = body['stream_options'];
  return {
    rawBody,
    body,
    model,
    stream: body['stream'] === true,
    includeUsage: isJsonObject(streamOptions) && streamOptions['include_usage'] === true,
    canSplice: occurrences === 1,
  };
}

function parseObject(rawBody: Buffer): JsonObject {
  if (rawBody.length === 0) {
    throw gatewayError('malformedJson', {
      message: 'The request has no body. Send a JSON object with `model` and `messages`.',
    });
  }
  if (!isUtf8(rawBody)) {
    throw gatewayError('malformedJson', { message: 'The body is not valid UTF-8. Encode the JSON as UTF-8.' });
  }
  let body: JsonValue;
  try {
    body = JSON.parse(rawBody.toString()) as JsonValue;
  } catch (error) {
    throw gatewayError('malformedJson', {
      message: `The body is not valid JSON${positionOf(error)}. Check its quotes, commas and braces.`,
    });
  }
  if (!isJsonObject(body)) {
    throw gatewayError('invalidType', { message: `The body must be a JSON object, but it is ${nameOfType(body)}.` });
  }
  const hazard = findHazard(body, rawBody);
  if (hazard !== null) throw hazardError(hazard.kind, hazard.path);
  return body;
}

/** V8 often quotes the body in its message; only its own words at the end are believed, and only the place is repeated. */
function positionOf(error: unknown): string {
  const message = error instanceof Error ? error.message : '';
  const position = / JSON at position (\d+)(?: \(line \d+ column \d+\))?$/.exec(message)?.[1];
  return position === undefined ? '' : ` (at character ${position})`;
}

function hazardError(kind: 'depth' | 'number' | 'surrogate' | 'prototype', param: string): GatewayError {
  switch (kind) {
    case 'depth':
      return gatewayError('tooDeep', { message: `\`${param}\` is nested deeper than ${maximumDepth} levels.`, param });
    case 'number':
      return gatewayError('invalidValue', { message: `\`${param}\` is a number too large to represent.`, param });
    case 'surrogate':
      return gatewayError('invalidValue', {
        message: `\`${param}\` holds half of a surrogate pair, which is no character.`,
        param,
      });
    case 'prototype':
      return gatewayError('invalidValue', { message: `\`${param}\` is a name that is not allowed in a body.`, param });
  }
}

function readModel(body: JsonObject): string {
  const model = body['model'];
  if (model === undefined || model === null || model === '') {
    throw gatewayError('missingParameter', {
      message: 'You must provide a model parameter. `GET /v1/models` lists the ones that your key may use.',
      param: 'model',
    });
  }
  if (typeof model !== 'string') throw typeError('model', 'a string', model);
  return model;
}

/** Letters of the word can also be written as escapes; all of them begin with `\u006`. */
function countModelKeys(rawBody: Buffer): number {
  const first = rawBody.indexOf('"model"');
  if (first === -1 || rawBody.includes('\\u006')) return 0;
  return rawBody.includes('"model"', first + 7) ? 2 : 1;
}

function checkMessages(messages: JsonValue | undefined): void {
  if (messages === undefined || messages === null) {
    throw gatewayError('missingParameter', {
      message: 'You must provide a messages parameter: a list of objects with `role` and `content`.',
      param: 'messages',
    });
  }
  if (!Array.isArray(messages)) throw typeError('messages', 'an array of messages', messages);
  if (messages.length === 0) {
    throw gatewayError('emptyArray', {
      message: '`messages` is an empty array. Send at least one message.',
      param: 'messages',
    });
  }
  if (messages.length > maximumMessages) {
    throw gatewayError('aboveMaximum', {
      message: `\`messages\` has ${messages.length} entries; ${maximumMessages} are allowed.`,
      param: 'messages',
    });
  }
  for (let index = 0; index < messages.length; index += 1) {
    const message = messages[index];
    if (!isJsonObject(message)) throw typeError(`messages[${index}]`, 'an object', message);
    const role = message['role'];
    if (typeof role !== 'string') throw typeError(`messages[${index}].role`, 'a string', role);
  }
}

function checkStream(body: JsonObject): void {
  const stream = body['stream'];
  if (stream !== undefined && stream !== null && typeof stream !== 'boolean')
    throw typeError('stream', 'a boolean', stream);
  const options = body['stream_options'];
  if (options === undefined || options === null) return;
  if (!isJsonObject(options)) throw typeError('stream_options', 'an object', options);
  const includeUsage = options['include_usage'];
  if (includeUsage !== undefined && includeUsage !== null && typeof includeUsage !== 'boolean') {
    throw typeError('stream_options.include_usage', 'a boolean', includeUsage);
  }
  if (stream !== true) {
    throw gatewayError('invalidValue', {
      message: '`stream_options` is only allowed when `stream` is true.',
      param: 'stream_options',
    });
  }
}

function checkTools(tools: JsonValue | undefined): void {
  if (tools === undefined || tools === null) return;
  if (!Array.isArray(tools)) throw typeError('tools', 'an array', tools);
  if (tools.length > maximumTools) {
    throw gatewayError('aboveMaximum', {
      message: `\`tools\` has ${tools.length} entries; ${maximumTools} are allowed.`,
      param: 'tools',
    });
  }
}

function checkStop(stop: JsonValue | undefined): void {
  if (stop === undefined || stop === null || typeof stop === 'string') return;
  if (!Array.isArray(stop)) throw typeError('stop', 'a string or an array of strings', stop);
  const wrong = stop.findIndex((entry) => typeof entry !== 'string');
  if (wrong !== -1) throw typeError(`stop[${wrong}]`, 'a string', stop[wrong]);
}

function checkInteger(body: JsonObject, name: string, minimum: number, maximum: number): void {
  const value = body[name];
  if (value === undefined || value === null) return;
  if (typeof value !== 'number' || !Number.isInteger(value)) throw typeError(name, 'an integer', value);
  checkRange(name, value, { minimum, maximum, below: 'belowMinimum', above: 'aboveMaximum' });
}

function checkNumber(body: JsonObject, name: string, minimum: number, maximum: number): void {
  const value = body[name];
  if (value === undefined || value === null) return;
  if (typeof value !== 'number') throw typeError(name, 'a number', value);
  checkRange(name, value, { minimum, maximum, below: 'decimalBelowMinimum', above: 'decimalAboveMaximum' });
}

type Range = { minimum: number; maximum: number; below: ErrorName; above: ErrorName };

function checkRange(param: string, value: number, range: Range): void {
  if (value < range.minimum) {
    throw gatewayError(range.below, {
      message: `\`${param}\` is ${value}; it must be at least ${range.minimum}.`,
      param,
    });
  }
  if (value > range.maximum) {
    throw gatewayError(range.above, {
      message: `\`${param}\` is ${value}; it must be at most ${range.maximum}.`,
      param,
    });
  }
}

function typeError(param: string, expected: string, value: unknown): GatewayError {
  return gatewayError('invalidType', {
    message: `\`${param}\` must be ${expected}, but it is ${nameOfType(value)}.`,
    param,
  });
}

function nameOfType(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'number') return Number.isInteger(value) ? 'an integer' : 'a number with a fraction';
  return `a ${typeof value}`;
}
