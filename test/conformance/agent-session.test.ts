/**
 * One agent, every dialect: the same script of tools, images, thinking and structured output by the real `openai` package
 * gives the same results whoever answers, streamed or not, and each upstream has seen the same questions.
 */
import OpenAI from 'openai';
import t from 'tap';
import { registry } from '../../providers/index.ts';
import { startGateway } from '../support/gateway.ts';
import { startUpstream, type RecordedRequest } from '../support/upstream.ts';
import { agentDialects, signature, type Dialect, type Turn } from './agent-dialects.ts';

type Message = OpenAI.ChatCompletionMessageParam;

const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==';
const system = 'You look at pictures of the weather.';
const weather = '14 degrees and rain';

const turns: readonly Turn[] = [
  {
    thinking: 'It looks like Oslo; I should ask.',
    call: { id: 'call_weather_1', name: 'weather', arguments: { city: 'Oslo', days: 2 } },
    input: 120,
    output: 31,
  },
  { text: 'In Oslo it rains at 14 degrees.', input: 160, output: 12 },
  { text: '{"city":"Oslo","celsius":14}', input: 90, output: 9 },
];

const tools: OpenAI.ChatCompletionTool[] = [
  {
    type: 'function',
    function: {
      name: 'weather',
      description: 'The weather of a city',
      parameters: {
        type: 'object',
        properties: { city: { type: 'string' }, days: { type: 'integer' } },
        required: ['city', 'days'],
        additionalProperties: false,
      },
    },
  },
];

const schema = {
  type: 'object',
  properties: { city: { type: 'string' }, celsius: { type: 'number' } },
  required: ['city', 'celsius'],
  additionalProperties: false,
};

type Told = {
  text: string | null;
  calls: { name: string; arguments: unknown }[];
  finish: string;
  usage: { prompt: number; completion: number };
};

const told = ({ choices, usage }: OpenAI.ChatCompletion): Told => ({
  // A stream of OpenAI's own begins with empty words where a whole reply has none.
  text: choices[0]?.message.content || null,
  calls: (choices[0]?.message.tool_calls ?? []).flatMap((call) =>
    call.type === 'function'
      ? [{ name: call.function.name, arguments: JSON.parse(call.function.arguments) as unknown }]
      : [],
  ),
  finish: choices[0]?.finish_reason ?? '',
  usage: { prompt: usage?.prompt_tokens ?? 0, completion: usage?.completion_tokens ?? 0 },
});

const expected: readonly Told[] = turns.map(({ text = null, call, input, output }) => ({
  text,
  calls: call === undefined ? [] : [{ name: call.name, arguments: call.arguments }],
  finish: call === undefined ? 'stop' : 'tool_calls',
  usage: { prompt: input, completion: output },
}));

async function ask(
  client: OpenAI,
  body: OpenAI.ChatCompletionCreateParamsNonStreaming,
  isStream: boolean,
): Promise<OpenAI.ChatCompletion> {
  if (!isStream) return client.chat.completions.create(body);
  return client.chat.completions
    .stream({ ...body, stream: true, stream_options: { include_usage: true } })
    .finalChatCompletion();
}

async function runSession(client: OpenAI, dialect: Dialect, isStream: boolean): Promise<Told[]> {
  const { model } = dialect;
  const messages: Message[] = [
    { role: 'system', content: system },
    {
      role: 'user',
      content: [
        { type: 'text', text: 'What is the weather where this was taken?' },
        { type: 'image_url', image_url: { url: `data:image/png;base64,${png}` } },
      ],
    },
  ];
  const effort = dialect.signs ? { reasoning_effort: 'medium' as const } : {};
  const called = await ask(client, { model, messages, tools, ...effort }, isStream);
  const reply = called.choices[0]?.message;
  if (reply === undefined) throw new Error('no reply');
  // As an agent keeps it: the message with whatever the gateway put into it, calls and signed thinking included.
  messages.push(reply);
  const id = reply.tool_calls?.[0]?.id ?? '';
  messages.push({ role: 'tool', tool_call_id: id, content: weather });
  const answered = await ask(client, { model, messages, tools, ...effort }, isStream);
  const structured = await ask(
    client,
    {
      model,
      messages: [{ role: 'user', content: 'Give the weather of Oslo.' }],
      response_format: { type: 'json_schema', json_schema: { name: 'weather', strict: true, schema } },
    },
    isStream,
  );
  return [called, answered, structured].map(told);
}

for (const dialect of agentDialects.filter(({ provider }) => Object.hasOwn(registry, provider))) {
  for (const isStream of [false, true]) {
    t.test(`${dialect.provider} ${isStream ? 'streamed' : 'unary'}: the session goes as with any other`, async (t) => {
      let turn = 0;
      const upstream = await startUpstream(t, (request: RecordedRequest, response) => {
        const answer = turns[turn] ?? { input: 0, output: 0 };
        turn += 1;
        const isAskedForStream = dialect.isStream(request.path, request.body as never);
        response.writeHead(200, { 'content-type': isAskedForStream ? dialect.streamType : 'application/json' });
        response.end(isAskedForStream ? dialect.stream(answer) : JSON.stringify(dialect.reply(answer)));
      });
      const gateway = await startGateway(t, { environment: dialect.environment(upstream.url) });
      const { token } = await gateway.createKey();
      const client = new OpenAI({ apiKey: token, baseURL: `${gateway.url}/v1`, maxRetries: 0 });
      t.same(await runSession(client, dialect, isStream), expected);
      const [first, second, third] = upstream.requests.map(({ body }) => dialect.seen(body as never));
      const plain = { system, image: png, tools: ['weather'], schema: false };
      t.same(first, { ...plain, result: null, signature: null }, 'the picture and the tool arrived');
      t.same(
        second,
        { ...plain, result: weather, signature: dialect.signs ? signature : null },
        'the result arrived, with the thinking as it was signed',
      );
      t.match(third, { schema: true, tools: [] }, 'the schema arrived');
      const rows = await gateway.rows(3);
      t.same(
        rows.map((row) => [row['prompt_tokens'], row['completion_tokens'], row['status'], row['usage_source']]),
        turns.map(({ input, output }) => [input, output, 'ok', 'provider']),
      );
    });
  }
}
