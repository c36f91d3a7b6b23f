/**
 * Anthropic's own types as the referee of ours: when the wire of its package changes, this file no longer compiles, or the
 * list of what we know of is short.
 */
import type Anthropic from '@anthropic-ai/sdk';
import t from 'tap';
import { anthropic } from '../../providers/anthropic.ts';
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';
import type { ChatEndpoint } from '../../src/contract/provider.ts';
import { chunksOf, sumChoices } from '../support/chat-stream.ts';
import { claude } from '../support/claude-models.ts';
import { at } from '../support/json-at.ts';
import { replyContext } from '../support/reply-context.ts';

const chat = anthropic.endpoints.chat as ChatEndpoint & Required<Pick<ChatEndpoint, 'stream'>>;
const plain = (value: unknown): JsonObject => JSON.parse(JSON.stringify(value)) as JsonObject;

t.test('writes a body that the package would take', (t) => {
  const weather = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
  const body = {
    model: 'public',
    messages: [
      { role: 'system', content: [{ type: 'text', text: 'S.', cache_control: { type: 'ephemeral', ttl: '1h' } }] },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'a' },
          { type: 'image_url', image_url: { url: 'https://example.com/a.png' } },
          { type: 'image_url', image_url: { url: 'data:image/webp;base64,UklG' } },
          { type: 'image_url', image_url: { url: 'https://example.com/a.pdf' } },
          { type: 'file', file: { filename: 'b.pdf', file_data: 'data:application/pdf;base64,JVBE' } },
          { type: 'file', file: { filename: 'c.txt', file_data: 'data:text/plain,c' } },
        ],
      },
      {
        role: 'assistant',
        content: 'b',
        thinking_blocks: [
          { type: 'thinking', thinking: 't', signature: 's' },
          { type: 'redacted_thinking', data: 'd' },
        ],
        tool_calls: [{ id: 'x', type: 'function', function: { name: 'weather', arguments: '{"city":"Oslo"}' } }],
      },
      { role: 'tool', tool_call_id: 'x', content: 'Rain', is_error: false },
      { role: 'developer', content: 'Shorter.' },
    ],
    tools: [{ type: 'function', function: { name: 'weather', description: 'd', parameters: weather, strict: true } }],
    web_search_options: {
      search_context_size: 'high',
      user_location: { type: 'approximate', approximate: { city: 'Oslo' } },
    },
    tool_choice: { type: 'function', function: { name: 'weather' } },
    parallel_tool_calls: false,
    response_format: { type: 'json_schema', json_schema: { name: 'n', schema: { type: 'object', properties: {} } } },
    reasoning_effort: 'xhigh',
    max_tokens: 900,
    stop: 'END',
    user: 'u',
    service_tier: 'default',
    stream: true,
  };
  const expected = {
    model: 'claude-opus-4-8',
    max_tokens: 900,
    system: [{ type: 'text', text: 'S.', cache_control: { type: 'ephemeral', ttl: '1h' } }],
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'a' },
          { type: 'image', source: { type: 'url', url: 'https://example.com/a.png' } },
          { type: 'image', source: { type: 'base64', media_type: 'image/webp', data: 'UklG' } },
          { type: 'document', source: { type: 'url', url: 'https://example.com/a.pdf' } },
          { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'JVBE' }, title: 'b.pdf' },
          { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'c' }, title: 'c.txt' },
        ],
      },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 't', signature: 's' },
          { type: 'redacted_thinking', data: 'd' },
          { type: 'text', text: 'b' },
          { type: 'tool_use', id: 'x', name: 'weather', input: { city: 'Oslo' } },
        ],
      },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'x', content: 'Rain', is_error: false }] },
      { role: 'system', content: [{ type: 'text', text: 'Shorter.' }] },
    ],
    tools: [
      {
        name: 'weather',
        description: 'd',
        strict: true,
        input_schema: {
          type: 'object',
          properties: { city: { type: 'string' } },
          required: ['city'],
          additionalProperties: false,
        },
      },
      {
        type: 'web_search_20250305',
        name: 'web_search',
        max_uses: 10,
        user_location: { type: 'approximate', city: 'Oslo' },
      },
    ],
    tool_choice: { type: 'tool', name: 'weather', disable_parallel_tool_use: true },
    thinking: { type: 'adaptive', display: 'summarized' },
    output_config: {
      effort: 'xhigh',
      format: { type: 'json_schema', schema: { type: 'object', properties: {}, additionalProperties: false } },
    },
    stop_sequences: ['END'],
    metadata: { user_id: 'u' },
    service_tier: 'standard_only',
    stream: true,
  } satisfies Anthropic.MessageCreateParams;
  const change = chat.request(plain(body), claude('claude-opus-4-8'));
  t.same('body' in change ? change.body : null, plain(expected));
  t.same(change.dropped, []);
  t.end();
});

t.test('knows every field of the request', (t) => {
  const fields = {
    max_tokens: 10,
    messages: [{ role: 'user', content: 'x' }],
    model: 'm',
    cache_control: { type: 'ephemeral' },
    container: 'c',
    diagnostics: { previous_message_id: 'm' },
    inference_geo: 'us',
    metadata: { user_id: 'not this one' },
    output_config: { effort: 'low' },
    service_tier: 'standard_only',
    speed: 'fast',
    stop_sequences: ['END'],
    stream: true,
    system: 'S.',
    temperature: 1,
    thinking: { type: 'disabled' },
    tool_choice: { type: 'auto' },
    tools: [{ type: 'web_search_20250305', name: 'web_search' }],
    top_k: 3,
    top_p: 0.5,
    user_profile_id: 'u',
    workspace_id: 'w',
  } satisfies Record<keyof Anthropic.MessageCreateParams | 'temperature' | 'top_k' | 'top_p', unknown>;
  const change = chat.request(plain(fields), claude('claude-3-haiku'));
  const sent = 'body' in change ? change.body : {};
  const missing = Object.keys(fields).filter((name) => sent[name] === undefined);
  t.same(missing, ['inference_geo', 'metadata', 'speed', 'user_profile_id', 'workspace_id']);
  t.same(
    change.dropped,
    ['inference_geo', 'speed', 'user_profile_id', 'workspace_id'],
    "the operator's own and what the catalogue has no price for, and OpenAI's metadata is the gateway's",
  );
  t.end();
});

t.test('knows every reason to stop', (t) => {
  const finishes = {
    end_turn: 'stop',
    max_tokens: 'length',
    stop_sequence: 'stop',
    tool_use: 'tool_calls',
    pause_turn: 'stop',
    refusal: 'content_filter',
    model_context_window_exceeded: 'length',
  } satisfies Record<Anthropic.StopReason, string>;
  for (const [reason, finish] of Object.entries(finishes)) {
    const content = [{ type: 'tool_use', id: 'a', name: 'f', input: {} }];
    const { body } = chat.response({ content, stop_reason: reason, usage: {} }, replyContext());
    t.equal(at(body, 'choices', 0, 'finish_reason'), finish, reason);
  }
  const silent = chat.response({ content: [], stop_reason: 'tool_use', usage: {} }, replyContext());
  t.equal(at(silent.body, 'choices', 0, 'finish_reason'), 'stop', 'no call, nothing to look for');
  t.end();
});

const usage: Anthropic.Usage = {
  input_tokens: 3,
  output_tokens: 9,
  cache_creation: null,
  cache_creation_input_tokens: null,
  cache_read_input_tokens: null,
  inference_geo: null,
  output_tokens_details: { thinking_tokens: 4 },
  server_tool_use: null,
  service_tier: 'standard',
  speed: null,
};
const message: Anthropic.Message = {
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: 'claude-next',
  container: null,
  diagnostics: null,
  content: [],
  stop_details: null,
  stop_reason: null,
  stop_sequence: null,
  usage,
};

t.test('knows every block of an answer', (t) => {
  const caller = { type: 'direct' } as const;
  const blocks = {
    text: { type: 'text', text: 'a', citations: null },
    thinking: { type: 'thinking', thinking: 'b', signature: 's' },
    redacted_thinking: { type: 'redacted_thinking', data: 'd' },
    tool_use: { type: 'tool_use', id: 'x', name: 'f', input: { a: 1 }, caller },
    server_tool_use: { type: 'server_tool_use', id: 'y', name: 'web_search', input: {}, caller },
    web_search_tool_result: { type: 'web_search_tool_result', tool_use_id: 'y', content: [], caller },
    container_upload: { type: 'container_upload', file_id: 'f' },
  } satisfies Partial<{ [T in Anthropic.ContentBlock['type']]: Extract<Anthropic.ContentBlock, { type: T }> }>;
  const silent: Exclude<Anthropic.ContentBlock['type'], keyof typeof blocks>[] = [
    'web_fetch_tool_result',
    'code_execution_tool_result',
    'bash_code_execution_tool_result',
    'text_editor_code_execution_tool_result',
    'tool_search_tool_result',
  ];
  const content = [...Object.values(blocks), ...silent.map((type) => ({ type, tool_use_id: 'y', content: [] }))];
  const { body } = chat.response(plain({ ...message, content, stop_reason: 'tool_use' }), replyContext());
  t.same(at(body, 'choices', 0, 'message'), {
    role: 'assistant',
    content: 'a',
    refusal: null,
    reasoning_content: 'b',
    thinking_blocks: [
      { type: 'thinking', thinking: 'b', signature: 's', content_offset: 1, tool_call_offset: 0 },
      { type: 'redacted_thinking', data: 'd', content_offset: 1, tool_call_offset: 0 },
    ],
    tool_calls: [{ id: 'x', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }],
  });
  t.same(at(body, 'usage', 'completion_tokens_details'), { reasoning_tokens: 4 });
  t.end();
});

t.test('knows every event and every delta of a stream', (t) => {
  const deltas = {
    text_delta: { type: 'text_delta', text: 'a' },
    citations_delta: {
      type: 'citations_delta',
      citation: { type: 'web_search_result_location', url: 'u', title: 'T', cited_text: 'c', encrypted_index: 'e' },
    },
    thinking_delta: { type: 'thinking_delta', thinking: 'b' },
    signature_delta: { type: 'signature_delta', signature: 's' },
    input_json_delta: { type: 'input_json_delta', partial_json: '{"a":1}' },
  } satisfies { [T in Anthropic.RawContentBlockDelta['type']]: Extract<Anthropic.RawContentBlockDelta, { type: T }> };
  const events = [
    { type: 'message_start', message },
    { type: 'content_block_start', index: 0, content_block: { type: 'thinking', thinking: '', signature: '' } },
    { type: 'content_block_delta', index: 0, delta: deltas.thinking_delta },
    { type: 'content_block_delta', index: 0, delta: deltas.signature_delta },
    { type: 'content_block_stop', index: 0 },
    { type: 'content_block_start', index: 1, content_block: { type: 'text', text: '', citations: null } },
    { type: 'content_block_delta', index: 1, delta: deltas.citations_delta },
    { type: 'content_block_delta', index: 1, delta: deltas.text_delta },
    { type: 'content_block_stop', index: 1 },
    {
      type: 'content_block_start',
      index: 2,
      content_block: { type: 'tool_use', id: 'x', name: 'f', input: {}, caller: { type: 'direct' } },
    },
    { type: 'content_block_delta', index: 2, delta: deltas.input_json_delta },
    { type: 'content_block_stop', index: 2 },
    {
      type: 'message_delta',
      delta: { stop_reason: 'tool_use', stop_sequence: null, stop_details: null, container: null },
      usage: { ...usage, output_tokens: 12, input_tokens: null },
    },
    { type: 'message_stop' },
  ] satisfies Anthropic.RawMessageStreamEvent[];
  const known: Record<Anthropic.RawMessageStreamEvent['type'], true> = {
    message_start: true,
    content_block_start: true,
    content_block_delta: true,
    content_block_stop: true,
    message_delta: true,
    message_stop: true,
  };
  t.same(new Set(events.map(({ type }) => type)), new Set(Object.keys(known)));
  const translator = chat.stream(replyContext());
  const out = events.flatMap((event) => translator.push({ event: event.type, data: JSON.stringify(event) }));
  out.push(...translator.end());
  t.same(sumChoices(chunksOf(out)).get(0), {
    text: 'a',
    reasoning: 'b',
    calls: [{ id: 'x', name: 'f', arguments: '{"a":1}' }],
    finish: 'tool_calls',
  });
  t.match(translator.usage(), { promptTokens: 3, completionTokens: 12, reasoningTokens: 4 });
  const annotations: JsonValue[] = chunksOf(out).map(
    (chunk) => at(chunk, 'choices', 0, 'delta', 'annotations') ?? null,
  );
  t.equal(annotations.filter((list) => list !== null).length, 1);
  t.end();
});
