/**
 * The built-in provider that answers without an upstream and without a key: `demo/echo` repeats the last user message,
 * `demo/lorem` streams text without a meaning. It takes a body and gives a script of chunks with their delays; somebody
 * else plays it. The same body gives the same answer, byte for byte but for the ids. Its knobs: `demo-settings.ts`.
 */
import { gatewayError, type GatewayError } from '../src/contract/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { ProviderAdapter, ReplyContext, ScriptedReply } from '../src/contract/provider.ts';
import { countPromptTokens, demoChoices, type DemoChoice } from './demo-answer.ts';
import { readDemoSettings, type DemoSettings } from './demo-settings.ts';
import {
  chatPath,
  createChatEndpoint,
  createOpenAiCompatible,
  type OpenAiCompatibleOptions,
} from './openai-compatible.ts';
import { openAiFates } from './openai-fates.ts';

type Chunk = { afterMs: number; data: string };
type Answer = { choices: readonly DemoChoice[]; usage: JsonObject; settings: DemoSettings };

const jsonHeaders = { 'content-type': 'application/json' };
const streamHeaders = { 'content-type': 'text/event-stream; charset=utf-8' };
const maxChoices = 128;

function usageOf(body: JsonObject, choices: readonly DemoChoice[]): JsonObject {
  const promptTokens = countPromptTokens(body);
  const completionTokens = choices.reduce((sum, { pieces }) => sum + pieces.length, 0);
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0 },
  };
}

const sharedMembers = (object: string, context: ReplyContext): JsonObject => ({
  id: `chatcmpl-${context.randomId()}`,
  object,
  created: context.created,
  model: context.publicModel,
  system_fingerprint: 'fp_demo',
});

function unaryChoice(choice: DemoChoice, index: number, context: ReplyContext): JsonObject {
  const text = choice.pieces.join('');
  const message: JsonObject = { role: 'assistant', content: choice.functionName === null ? text : null, refusal: null };
  if (choice.functionName === null) {
    message.annotations = [];
  } else {
    const called = { name: choice.functionName, arguments: text };
    message.tool_calls = [{ id: `call_${context.randomId()}`, type: 'function', function: called }];
  }
  return { index, message, logprobs: null, finish_reason: choice.finish };
}

function unaryReply({ choices, usage, settings }: Answer, context: ReplyContext): ScriptedReply {
  const reply: JsonObject = {
    ...sharedMembers('chat.completion', context),
    choices: choices.map((choice, index) => unaryChoice(choice, index, context)),
    usage,
  };
  const json = JSON.stringify(reply);
  const breaks = settings.failAfter !== null;
  const data = breaks ? json.slice(0, Math.floor(json.length / 2)) : json;
  return { status: 200, headers: jsonHeaders, chunks: [{ afterMs: settings.delayMs, data }], breaks };
}

function firstDelta(choice: DemoChoice, callId: string): JsonObject {
  if (choice.functionName === null) return { role: 'assistant', content: '', refusal: null };
  const called = { name: choice.functionName, arguments: '' };
  return {
    role: 'assistant',
    content: null,
    tool_calls: [{ index: 0, id: callId, type: 'function', function: called }],
    refusal: null,
  };
}

const pieceDelta = (choice: DemoChoice, piece: string): JsonObject =>
  choice.functionName === null ? { content: piece } : { tool_calls: [{ index: 0, function: { arguments: piece } }] };

/** Choice after choice, as if each model took its turn. */
function* choiceDeltas(
  choices: readonly DemoChoice[],
  callIds: readonly string[],
): Generator<[number, JsonObject, string | null]> {
  for (const [index, choice] of choices.entries()) {
    yield [index, firstDelta(choice, callIds[index] ?? ''), null];
    for (const piece of choice.pieces) yield [index, pieceDelta(choice, piece), null];
    yield [index, {}, choice.finish];
  }
}

function streamReply(answer: Answer, body: JsonObject, context: ReplyContext): ScriptedReply {
  const { choices, usage, settings } = answer;
  const wantsUsage = isJsonObject(body.stream_options) && body.stream_options.include_usage === true;
  const shared = sharedMembers('chat.completion.chunk', context);
  const callIds = choices.map(() => `call_${context.randomId()}`);
  const frame = (members: JsonObject): string => `data: ${JSON.stringify({ ...shared, ...members })}\n\n`;
  function* chunks(): Generator<Chunk> {
    let played = 0;
    for (const [index, delta, finish] of choiceDeltas(choices, callIds)) {
      const isPiece = delta.role === undefined && finish === null;
      if (isPiece && played === settings.failAfter) return;
      if (isPiece) played += 1;
      const choice = { index, delta, logprobs: null, finish_reason: finish };
      const data = frame(wantsUsage ? { choices: [choice], usage: null } : { choices: [choice] });
      yield { afterMs: isPiece ? settings.delayMs : 0, data };
    }
    if (settings.failAfter !== null) return;
    if (wantsUsage) yield { afterMs: 0, data: frame({ choices: [], usage }) };
    yield { afterMs: 0, data: 'data: [DONE]\n\n' };
  }
  // An iterable that starts anew each time: a script can be played twice.
  return {
    status: 200,
    headers: streamHeaders,
    chunks: { [Symbol.iterator]: chunks },
    breaks: settings.failAfter !== null,
  };
}

/** A number from 0 up to 1 that depends on nothing but the text. */
function fractionOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const character of text) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  // The low bits of this hash are weak in short texts; one more mixing step spreads them.
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32;
}

function errorReply(status: number, error: GatewayError): ScriptedReply {
  return {
    status,
    headers: jsonHeaders,
    chunks: [{ afterMs: 0, data: JSON.stringify(error.toBody()) }],
    breaks: false,
  };
}

const refuseModel = (model: string): GatewayError =>
  gatewayError('modelNotFound', {
    message: `The model \`${model}\` does not exist: the demo knows \`echo\` and \`lorem\`.`,
  });

function readChoiceCount(body: JsonObject): void {
  const n = body.n ?? 1;
  if (typeof n === 'number' && Number.isInteger(n) && n >= 1 && n <= maxChoices) return;
  throw gatewayError('invalidValue', {
    message: `Invalid value: 'n' must be a whole number from 1 to ${maxChoices}.`,
    param: 'n',
  });
}

function answer({ path, body, context }: { path: string; body: JsonObject; context: ReplyContext }): ScriptedReply {
  if (path !== chatPath) {
    return errorReply(404, gatewayError('unknownUrl', { message: `Invalid URL (POST ${path})` }));
  }
  const settings = readDemoSettings(body);
  readChoiceCount(body);
  const model = lastSegment(body.model);
  if (model !== 'echo' && model !== 'lorem') return errorReply(404, refuseModel(model));
  if (fractionOf(context.randomId()) < settings.errorRate) {
    const error = gatewayError('upstreamServerError', { message: 'The demo fails, as it was asked to.' });
    return errorReply(settings.errorStatus, error);
  }
  const choices = demoChoices(body, model === 'echo', settings);
  const scripted = { choices, usage: usageOf(body, choices), settings };
  return body.stream === true ? streamReply(scripted, body, context) : unaryReply(scripted, context);
}

const lastSegment = (model: JsonValue | undefined): string =>
  typeof model === 'string' ? model.slice(model.lastIndexOf('/') + 1) : '';

const options: OpenAiCompatibleOptions = {
  id: 'demo',
  name: 'Demo',
  baseUrl: 'http://demo.invalid/v1',
  needsKey: false,
  isExact: true,
  isVerbatim: false,
  fates: {
    ...openAiFates,
    'tool_choice.allowed_tools': 'emulated',
    'messages.input_audio': 'refused',
    'messages.file_data': 'refused',
    'messages.file_id': 'refused',
    'tools.custom': 'refused',
    logprobs: 'dropped',
    top_logprobs: 'dropped',
    modalities: 'refused',
    audio: 'refused',
    web_search_options: 'refused',
    moderation: 'refused',
    functions: 'refused',
    function_call: 'refused',
  },
};
const passthrough = createChatEndpoint(options);

export const demo: ProviderAdapter = {
  ...createOpenAiCompatible(options),
  endpoints: {
    chat: {
      ...passthrough,
      request: (body, target) => {
        readDemoSettings(body);
        readChoiceCount(body);
        return passthrough.request(body, target);
      },
    },
  },
  answer,
};
