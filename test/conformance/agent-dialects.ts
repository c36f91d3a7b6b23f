/**
 * The same turns of an agent, as each dialect's server would answer them, and what such a server saw of the questions.
 * Written from the dialects' own descriptions and not with our adapters, so that a fault cannot cancel itself out.
 */
import type { JsonObject, JsonValue } from '../../src/contract/json.ts';
import { at, textAt } from '../support/json-at.ts';
import { amazonEvent } from '../support/amazon-frames.ts';

export type Turn = {
  text?: string;
  thinking?: string;
  call?: { id: string; name: string; arguments: JsonObject };
  input: number;
  output: number;
};

/** What the upstream understood of a request. */
export type Seen = {
  system: string;
  image: string | null;
  tools: readonly string[];
  result: string | null;
  /** The signature of the thinking that was sent back. */
  signature: string | null;
  schema: boolean;
};

export type Dialect = {
  provider: string;
  model: string;
  environment: (url: string) => Record<string, string>;
  /** False: this dialect has no thinking to sign. */
  signs: boolean;
  reply: (turn: Turn) => JsonObject;
  stream: (turn: Turn) => Buffer;
  streamType: string;
  isStream: (path: string, body: JsonObject) => boolean;
  seen: (body: JsonObject) => Seen;
};

export const signature = 'c2lnbmVkLWJ5LXRoZS1tb2RlbA==';

const objects = (value: JsonValue | undefined): JsonObject[] =>
  Array.isArray(value)
    ? (value.filter((entry) => typeof entry === 'object' && entry !== null && !Array.isArray(entry)) as JsonObject[])
    : [];
const blocksOf = (messages: readonly JsonObject[], member: string): JsonObject[] =>
  messages.flatMap((message) => objects(message[member]));
const sse = (...events: [name: string, payload: unknown][]): Buffer =>
  Buffer.from(
    events
      .map(
        ([name, payload]) =>
          `${name === '' ? '' : `event: ${name}\n`}data: ${typeof payload === 'string' ? payload : JSON.stringify(payload)}\n\n`,
      )
      .join(''),
  );
const halves = (text: string): [string, string] => [text.slice(0, text.length >> 1), text.slice(text.length >> 1)];

/** OpenAI's own shape, which the compatible vendors speak with small differences. */
function chatDialect(provider: string, model: string): Dialect {
  const prefix = provider.toUpperCase();
  const message = (turn: Turn): JsonObject => ({
    role: 'assistant',
    content: turn.text ?? null,
    ...(turn.call === undefined
      ? {}
      : {
          tool_calls: [
            {
              id: turn.call.id,
              type: 'function',
              function: { name: turn.call.name, arguments: JSON.stringify(turn.call.arguments) },
            },
          ],
        }),
  });
  const finish = (turn: Turn): string => (turn.call === undefined ? 'stop' : 'tool_calls');
  const usage = ({ input, output }: Turn): JsonObject => ({
    prompt_tokens: input,
    completion_tokens: output,
    total_tokens: input + output,
  });
  const chunk = (choices: JsonValue[], more: JsonObject = {}): [string, unknown] => [
    '',
    { id: 'chatcmpl-x', object: 'chat.completion.chunk', created: 1, model, choices, ...more },
  ];
  const delta = (value: JsonObject, finishReason: string | null = null): [string, unknown] =>
    chunk([{ index: 0, delta: value, finish_reason: finishReason }]);
  return {
    provider,
    model: `${provider}/${model}`,
    environment: (url) => ({ [`${prefix}_API_KEY`]: 'k', [`${prefix}_BASE_URL`]: url }),
    signs: false,
    reply: (turn) => ({
      id: 'chatcmpl-x',
      object: 'chat.completion',
      created: 1,
      model,
      choices: [{ index: 0, message: message(turn), logprobs: null, finish_reason: finish(turn) }],
      usage: usage(turn),
    }),
    stream(turn) {
      const args = halves(JSON.stringify(turn.call?.arguments ?? {}));
      return sse(
        delta({ role: 'assistant', content: turn.call === undefined ? '' : null }),
        ...(turn.text === undefined ? [] : halves(turn.text).map((content) => delta({ content }))),
        ...(turn.call === undefined
          ? []
          : [
              delta({
                tool_calls: [
                  { index: 0, id: turn.call.id, type: 'function', function: { name: turn.call.name, arguments: '' } },
                ],
              }),
              ...args.map((part) => delta({ tool_calls: [{ index: 0, function: { arguments: part } }] })),
            ]),
        delta({}, finish(turn)),
        chunk([], { usage: usage(turn) }),
        ['', '[DONE]'],
      );
    },
    streamType: 'text/event-stream',
    isStream: (_path, body) => body['stream'] === true,
    seen(body) {
      const messages = objects(body['messages']);
      const image = blocksOf(messages, 'content').find(({ type }) => type === 'image_url');
      const system = messages.find(({ role }) => role === 'system' || role === 'developer');
      return {
        system: textAt(system ?? {}, 'content'),
        image: image === undefined ? null : textAt(image, 'image_url', 'url').replace(/^data:image\/png;base64,/, ''),
        tools: objects(body['tools']).map((tool) => textAt(tool, 'function', 'name')),
        result: textAt(messages.find(({ role }) => role === 'tool') ?? {}, 'content') || null,
        signature: null,
        schema: at(body, 'response_format', 'json_schema', 'schema') !== undefined,
      };
    },
  };
}

const anthropicUsage = ({ input, output }: Turn): JsonObject => ({ input_tokens: input, output_tokens: output });

function anthropicBlocks(turn: Turn): JsonObject[] {
  return [
    ...(turn.thinking === undefined ? [] : [{ type: 'thinking', thinking: turn.thinking, signature }]),
    ...(turn.text === undefined ? [] : [{ type: 'text', text: turn.text }]),
    ...(turn.call === undefined
      ? []
      : [{ type: 'tool_use', id: turn.call.id, name: turn.call.name, input: turn.call.arguments }]),
  ];
}

function anthropicBlockEvents(block: JsonObject, index: number): [string, unknown][] {
  const start = (contentBlock: JsonObject): [string, unknown] => [
    'content_block_start',
    { type: 'content_block_start', index, content_block: contentBlock },
  ];
  const delta = (value: JsonObject): [string, unknown] => [
    'content_block_delta',
    { type: 'content_block_delta', index, delta: value },
  ];
  const stop: [string, unknown] = ['content_block_stop', { type: 'content_block_stop', index }];
  if (block['type'] === 'thinking') {
    const thoughts = halves(textAt(block, 'thinking')).map((thinking) => delta({ type: 'thinking_delta', thinking }));
    return [
      start({ type: 'thinking', thinking: '', signature: '' }),
      ...thoughts,
      delta({ type: 'signature_delta', signature }),
      stop,
    ];
  }
  if (block['type'] === 'text') {
    const texts = halves(textAt(block, 'text')).map((text) => delta({ type: 'text_delta', text }));
    return [start({ type: 'text', text: '' }), ...texts, stop];
  }
  const parts = halves(JSON.stringify(block['input'])).map((part) =>
    delta({ type: 'input_json_delta', partial_json: part }),
  );
  return [start({ ...block, input: {} }), ...parts, stop];
}

const anthropic: Dialect = {
  provider: 'anthropic',
  model: 'anthropic/claude-opus-4-8',
  environment: (url) => ({ ANTHROPIC_API_KEY: 'k', ANTHROPIC_BASE_URL: url }),
  signs: true,
  reply: (turn) => ({
    id: 'msg_x',
    type: 'message',
    role: 'assistant',
    model: 'claude-opus-4-8',
    content: anthropicBlocks(turn),
    stop_reason: turn.call === undefined ? 'end_turn' : 'tool_use',
    stop_sequence: null,
    usage: anthropicUsage(turn),
  }),
  stream: (turn) =>
    sse(
      [
        'message_start',
        {
          type: 'message_start',
          message: {
            id: 'msg_x',
            type: 'message',
            role: 'assistant',
            model: 'claude-opus-4-8',
            content: [],
            stop_reason: null,
            stop_sequence: null,
            usage: { input_tokens: turn.input, output_tokens: 1 },
          },
        },
      ],
      ['ping', { type: 'ping' }],
      ...anthropicBlocks(turn).flatMap(anthropicBlockEvents),
      [
        'message_delta',
        {
          type: 'message_delta',
          delta: { stop_reason: turn.call === undefined ? 'end_turn' : 'tool_use', stop_sequence: null },
          usage: { output_tokens: turn.output },
        },
      ],
      ['message_stop', { type: 'message_stop' }],
    ),
  streamType: 'text/event-stream',
  isStream: (_path, body) => body['stream'] === true,
  seen(body) {
    const blocks = blocksOf(objects(body['messages']), 'content');
    const find = (type: string): JsonObject => blocks.find((block) => block['type'] === type) ?? {};
    const system = body['system'];
    const result = find('tool_result')['content'];
    return {
      system:
        typeof system === 'string'
          ? system
          : objects(system)
              .map((part) => textAt(part, 'text'))
              .join(''),
      image: textAt(find('image'), 'source', 'data') || null,
      tools: objects(body['tools']).map((tool) => textAt(tool, 'name')),
      result:
        typeof result === 'string'
          ? result
          : objects(result)
              .map((part) => textAt(part, 'text'))
              .join('') || null,
      signature: textAt(find('thinking'), 'signature') || null,
      schema: at(body, 'output_config', 'format', 'schema') !== undefined,
    };
  },
};

function googleParts(turn: Turn): JsonObject[] {
  const sign = { thoughtSignature: signature };
  return [
    ...(turn.thinking === undefined ? [] : [{ text: turn.thinking, thought: true }]),
    ...(turn.text === undefined ? [] : [{ text: turn.text }]),
    ...(turn.call === undefined
      ? []
      : [
          {
            functionCall: { name: turn.call.name, args: turn.call.arguments },
            ...(turn.thinking === undefined ? {} : sign),
          },
        ]),
  ];
}

const googleReply = (turn: Turn, parts: JsonObject[], isLast = true): JsonObject => ({
  candidates: [{ index: 0, content: { role: 'model', parts }, ...(isLast ? { finishReason: 'STOP' } : {}) }],
  usageMetadata: {
    promptTokenCount: turn.input,
    candidatesTokenCount: turn.output,
    totalTokenCount: turn.input + turn.output,
  },
  modelVersion: 'gemini-3.6-flash',
  responseId: 'x',
});

const google: Dialect = {
  provider: 'google',
  model: 'google/gemini-3.6-flash',
  environment: (url) => ({ GOOGLE_API_KEY: 'k', GOOGLE_BASE_URL: url }),
  signs: true,
  reply: (turn) => googleReply(turn, googleParts(turn)),
  stream(turn) {
    const parts = googleParts(turn).flatMap((part) =>
      typeof part['text'] === 'string' ? halves(part['text']).map((text) => ({ ...part, text })) : [part],
    );
    const frames = parts.map((part, index) => googleReply(turn, [part], index === parts.length - 1));
    return Buffer.from(frames.map((frame) => `data: ${JSON.stringify(frame)}\r\n\r\n`).join(''));
  },
  streamType: 'text/event-stream',
  isStream: (path) => path.includes('streamGenerateContent'),
  seen(body) {
    const parts = blocksOf(objects(body['contents']), 'parts');
    const result = parts.find((part) => part['functionResponse'] !== undefined);
    const response = at(result ?? {}, 'functionResponse', 'response');
    return {
      system: objects(at(body, 'systemInstruction', 'parts'))
        .map((part) => textAt(part, 'text'))
        .join(''),
      image: textAt(parts.find((part) => part['inlineData'] !== undefined) ?? {}, 'inlineData', 'data') || null,
      tools: objects(body['tools']).flatMap((tool) =>
        objects(tool['functionDeclarations']).map((declaration) => textAt(declaration, 'name')),
      ),
      result: response === undefined ? null : textAt(response, 'result') || JSON.stringify(response),
      signature: textAt(parts.find((part) => part['thoughtSignature'] !== undefined) ?? {}, 'thoughtSignature') || null,
      schema:
        at(body, 'generationConfig', 'responseJsonSchema') !== undefined ||
        at(body, 'generationConfig', 'responseSchema') !== undefined,
    };
  },
};

function bedrockBlocks(turn: Turn): JsonObject[] {
  return [
    ...(turn.thinking === undefined
      ? []
      : [{ reasoningContent: { reasoningText: { text: turn.thinking, signature } } }]),
    ...(turn.text === undefined ? [] : [{ text: turn.text }]),
    ...(turn.call === undefined
      ? []
      : [{ toolUse: { toolUseId: turn.call.id, name: turn.call.name, input: turn.call.arguments } }]),
  ];
}

const bedrockUsage = ({ input, output }: Turn): JsonObject => ({
  inputTokens: input,
  outputTokens: output,
  totalTokens: input + output,
});

function bedrockBlockFrames(block: JsonObject, contentBlockIndex: number): Buffer[] {
  const delta = (value: JsonObject): Buffer => amazonEvent('contentBlockDelta', { contentBlockIndex, delta: value });
  const stop = amazonEvent('contentBlockStop', { contentBlockIndex });
  if (block['toolUse'] !== undefined) {
    const { input, ...start } = block['toolUse'] as JsonObject;
    const parts = halves(JSON.stringify(input)).map((part) => delta({ toolUse: { input: part } }));
    return [amazonEvent('contentBlockStart', { contentBlockIndex, start: { toolUse: start } }), ...parts, stop];
  }
  if (block['text'] !== undefined) return [...halves(textAt(block, 'text')).map((text) => delta({ text })), stop];
  const thought = textAt(block, 'reasoningContent', 'reasoningText', 'text');
  const thoughts = halves(thought).map((text) => delta({ reasoningContent: { text } }));
  return [...thoughts, delta({ reasoningContent: { signature } }), stop];
}

const bedrock: Dialect = {
  provider: 'bedrock',
  model: 'bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0',
  environment: (url) => ({
    BEDROCK_API_KEY: 'AKIDEXAMPLE:secret',
    BEDROCK_REGION: 'eu-west-1',
    BEDROCK_BASE_URL: url.replace(/\/v1$/, ''),
  }),
  signs: true,
  reply: (turn) => ({
    output: { message: { role: 'assistant', content: bedrockBlocks(turn) } },
    stopReason: turn.call === undefined ? 'end_turn' : 'tool_use',
    usage: bedrockUsage(turn),
    metrics: { latencyMs: 1 },
  }),
  stream: (turn) =>
    Buffer.concat([
      amazonEvent('messageStart', { role: 'assistant' }),
      ...bedrockBlocks(turn).flatMap(bedrockBlockFrames),
      amazonEvent('messageStop', { stopReason: turn.call === undefined ? 'end_turn' : 'tool_use' }),
      amazonEvent('metadata', { usage: bedrockUsage(turn), metrics: { latencyMs: 1 } }),
    ]),
  streamType: 'application/vnd.amazon.eventstream',
  isStream: (path) => path.endsWith('/converse-stream'),
  seen(body) {
    const blocks = blocksOf(objects(body['messages']), 'content');
    const find = (member: string): JsonObject => blocks.find((block) => block[member] !== undefined) ?? {};
    return {
      system: objects(body['system'])
        .map((part) => textAt(part, 'text'))
        .join(''),
      image: textAt(find('image'), 'image', 'source', 'bytes') || null,
      tools: objects(at(body, 'toolConfig', 'tools')).map((tool) => textAt(tool, 'toolSpec', 'name')),
      result:
        objects(at(find('toolResult'), 'toolResult', 'content'))
          .map((part) => textAt(part, 'text'))
          .join('') || null,
      signature: textAt(find('reasoningContent'), 'reasoningContent', 'reasoningText', 'signature') || null,
      schema: at(body, 'outputConfig', 'textFormat') !== undefined,
    };
  },
};

export const agentDialects: readonly Dialect[] = [
  chatDialect('openai', 'gpt-4o'),
  chatDialect('together', 'vendor/model'),
  chatDialect('mistral', 'mistral-large-latest'),
  anthropic,
  google,
  bedrock,
];
