/**
 * The surface that every adapter serves, held against the `openai` package's own types: a role, a kind of content, an
 * effort or a finish reason that a new version knows breaks the compilation here before it can vanish at a provider.
 */
import type OpenAI from 'openai';
import t from 'tap';
import { registry } from '../../providers/index.ts';
import { mapFinish, type FinishReason } from '../../providers/openai-finish.ts';
import type { JsonObject } from '../../src/contract/json.ts';
import type { ChatEndpoint, ProviderAdapter } from '../../src/contract/provider.ts';
import { replyContext } from '../support/reply-context.ts';
import { sentBody } from '../support/sent-body.ts';
import { thrownBy } from '../support/json-at.ts';

type Chat = OpenAI.ChatCompletionCreateParams;
type Message = OpenAI.ChatCompletionMessageParam;
type Part = OpenAI.ChatCompletionContentPart;
type Choice = OpenAI.ChatCompletionToolChoiceOption;

const call = { id: 'call_1', type: 'function', function: { name: 'f', arguments: '{}' } } as const;
const user = { role: 'user', content: 'hi' } as const;

const messages = {
  system: [{ role: 'system', content: 'be brief' }, user],
  developer: [{ role: 'developer', content: 'be brief' }, user],
  user: [user, { role: 'user', content: 'more' }],
  assistant: [user, { role: 'assistant', content: 'yes' }, user],
  tool: [user, { role: 'assistant', tool_calls: [call] }, { role: 'tool', tool_call_id: 'call_1', content: 'done' }],
  function: [
    user,
    { role: 'assistant', function_call: { name: 'f', arguments: '{}' } },
    { role: 'function', name: 'f', content: 'done' },
  ],
} satisfies { [R in Message['role']]: Message[] };

const parts = {
  text: { type: 'text', text: 'words' },
  image_url: { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } },
  input_audio: { type: 'input_audio', input_audio: { data: 'AAAA', format: 'wav' } },
  file: { type: 'file', file: { filename: 'a.pdf', file_data: 'data:application/pdf;base64,AAAA' } },
} satisfies { [K in Part['type']]: Extract<Part, { type: K }> };

const efforts = {
  none: true,
  minimal: true,
  low: true,
  medium: true,
  high: true,
  xhigh: true,
  max: true,
} satisfies Record<NonNullable<OpenAI.ReasoningEffort>, true>;

const choices = {
  auto: 'auto',
  none: 'none',
  required: 'required',
  function: { type: 'function', function: { name: 'f' } },
  allowed_tools: {
    type: 'allowed_tools',
    allowed_tools: { mode: 'auto', tools: [{ type: 'function', function: { name: 'f' } }] },
  },
  custom: { type: 'custom', custom: { name: 'f' } },
} satisfies Record<Extract<Choice, string> | Exclude<Choice, string>['type'], Choice>;

const formats = {
  text: { type: 'text' },
  json_object: { type: 'json_object' },
  json_schema: { type: 'json_schema', json_schema: { name: 'n', schema: { type: 'object' } } },
} satisfies { [K in NonNullable<Chat['response_format']>['type']]: NonNullable<Chat['response_format']> };

const finishes = {
  stop: true,
  length: true,
  tool_calls: true,
  content_filter: true,
  function_call: true,
} satisfies Record<OpenAI.ChatCompletion.Choice['finish_reason'] & FinishReason, true> &
  Record<OpenAI.ChatCompletion.Choice['finish_reason'] | FinishReason, true>;

const tools = ['f', 'g'].map((name) => ({
  type: 'function',
  function: { name, parameters: { type: 'object', properties: {} } },
}));

function chatOf(adapter: ProviderAdapter): ChatEndpoint {
  const settings = Object.fromEntries(Object.keys(adapter.settings ?? {}).map((name) => [name, 'x1']));
  const { chat } = (adapter.configure?.(settings) ?? adapter).endpoints;
  if (chat === undefined) throw new Error(`${adapter.id} has no chat endpoint`);
  return chat;
}

/** Sent in some form, told as dropped, or refused by its name: anything but silence. */
function isHeard(chat: ChatEndpoint, without: JsonObject, withIt: JsonObject): boolean {
  const target = { upstreamModel: 'm', model: null };
  const base = { model: 'm', ...without };
  const plain = chat.request(base, target);
  const error = thrownBy(() => chat.request({ ...base, ...withIt }, target));
  if (error !== undefined) return error instanceof Error && 'status' in error && error.status === 400;
  const adapted = chat.request({ ...base, ...withIt }, target);
  const sent = JSON.stringify(sentBody({ ...base, ...withIt }, adapted));
  return adapted.dropped.length > 0 || sent !== JSON.stringify(sentBody(base, plain));
}

const asJson = (value: unknown): JsonObject => JSON.parse(JSON.stringify(value)) as JsonObject;

for (const adapter of Object.values<ProviderAdapter>(registry).filter(({ id }) => id !== 'demo')) {
  t.test(`${adapter.id} hears every role, kind of content, choice, format and effort that the package knows`, (t) => {
    const chat = chatOf(adapter);
    const plain = asJson({ messages: [user] });
    for (const [role, sample] of Object.entries(messages))
      t.ok(isHeard(chat, plain, asJson({ messages: sample })), `role ${role}`);
    for (const [kind, part] of Object.entries(parts)) {
      const sample = [{ role: 'user', content: [{ type: 'text', text: 'look:' }, part] }];
      t.ok(isHeard(chat, plain, asJson({ messages: sample })), `part ${kind}`);
    }
    // `auto` is what no choice means, so it may go without a word.
    for (const [kind, choice] of Object.entries(choices).filter(([kind]) => kind !== 'auto'))
      t.ok(isHeard(chat, asJson({ messages: [user], tools }), asJson({ tool_choice: choice })), `choice ${kind}`);
    for (const [kind, format] of Object.entries(formats).filter(([kind]) => kind !== 'text'))
      t.ok(isHeard(chat, plain, asJson({ response_format: format })), `format ${kind}`);
    for (const effort of Object.keys(efforts))
      t.ok(isHeard(chat, plain, { reasoning_effort: effort }), `effort ${effort}`);
    t.end();
  });
}

t.test('a translated reply and chunk are of the shapes that the package declares', (t) => {
  const usage = { promptTokens: 9, cachedTokens: 4, cacheWriteTokens: 2, completionTokens: 5, reasoningTokens: 3 };
  const chat = chatOf(registry.anthropic);
  const reply = chat.response(
    {
      id: 'msg_1',
      type: 'message',
      role: 'assistant',
      model: 'm',
      content: [{ type: 'text', text: 'Hello' }],
      stop_reason: 'end_turn',
      usage: {
        input_tokens: 3,
        cache_read_input_tokens: 4,
        cache_creation_input_tokens: 2,
        output_tokens: 5,
        output_tokens_details: { thinking_tokens: 3 },
      },
    },
    replyContext(),
  );
  t.match(reply.usage, usage);
  const expected = {
    object: 'chat.completion',
    model: 'public-model',
    choices: [
      {
        index: 0,
        finish_reason: 'stop',
        logprobs: null,
        message: { role: 'assistant', content: 'Hello', refusal: null },
      },
    ],
    usage: {
      prompt_tokens: 9,
      completion_tokens: 5,
      total_tokens: 14,
      prompt_tokens_details: { cached_tokens: 4 },
      completion_tokens_details: { reasoning_tokens: 3 },
    },
  } satisfies Omit<OpenAI.ChatCompletion, 'id' | 'created'>;
  t.match(
    { ...reply.body },
    { ...expected, choices: [{ index: 0, finish_reason: 'stop', message: { content: 'Hello' } }] },
  );
  t.end();
});

t.test('every finish reason of the package is one of ours, and ours are all of the package', (t) => {
  for (const reason of Object.keys(finishes)) t.ok(Object.hasOwn(finishes, mapFinish(reason) ?? ''), reason);
  t.end();
});
