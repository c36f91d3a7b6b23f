/** Streamed chat, read by the `openai` package: chunks, usage asked for and not, broken streams, and clients that leave. */
import { once } from 'node:events';
import { APIError, APIUserAbortError } from 'openai';
import t from 'tap';
import { parseObject } from '../support/json-at.ts';
import { sseEvents } from '../support/sse-lines.ts';
import { chunk, endMarker, openStream, streamText, usageChunk } from '../support/upstream.ts';
import { collect, messages, model, rejection, startSdkWorld } from './sdk-world.ts';

const world = await startSdkWorld(t);
const { client, upstream } = world;
const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };

/** The chunks of a stream's text, as any reader must see them. */
const chunksIn = (text: string): unknown[] =>
  sseEvents(text)
    .filter(({ data }) => data !== '[DONE]')
    .map(({ data }) => parseObject(data));

/** Sends a stream at once and remembers what it said. */
function stream(text: string): void {
  upstream.answer = (_request, response) => {
    openStream(response);
    response.end(text);
  };
}

/** As OpenAI does it: usage only when it was asked for, which the gateway always does. */
function streamWords(words: readonly string[]): void {
  upstream.answer = (request, response) => {
    openStream(response);
    response.end(streamText(request, words));
  };
}

t.test('c2 gives role, words and finish, and no usage, when streamed plainly', async (t) => {
  streamWords(['Hel', 'lo 😀', '!']);
  const { data, request_id: requestId } = await client.chat.completions
    .create({ model, messages, stream: true })
    .withResponse();
  const chunks = await collect(data);
  const plain = [chunk({ role: 'assistant', content: '', refusal: null }), chunk({ content: 'Hel' })];
  const rest = [chunk({ content: 'lo 😀' }), chunk({ content: '!' }), chunk({}, 'stop')];
  t.strictSame(chunks, chunksIn([...plain, ...rest].join('')));
  t.match(requestId, /^req_[0-9a-f]{32}$/);
  t.strictSame(world.lastRequest().body['stream_options'], { include_usage: true });
  t.match(await world.gateway.row(requestId), {
    status: 'ok',
    stream: true,
    completion_tokens: 3,
    usage_source: 'provider',
  });
});

t.test('c4 gives every chunk and the usage chunk as sent when usage was asked for', async (t) => {
  streamWords(['Hi']);
  const chunks = await collect(
    await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } }),
  );
  const nullUsage = { usage: null };
  t.strictSame(
    chunks,
    chunksIn(
      chunk({ role: 'assistant', content: '', refusal: null }, null, nullUsage) +
        chunk({ content: 'Hi' }, null, nullUsage) +
        chunk({}, 'stop', nullUsage) +
        usageChunk,
    ),
  );
  t.same(chunks.at(-1)?.choices, []);
  t.same(chunks.at(-1)?.usage, usage);
});

t.test('c5 hides the usage chunk and still meters it when nobody asked', async (t) => {
  streamWords(['a', 'b']);
  const { data, request_id: requestId } = await client.chat.completions
    .create({ model, messages, stream: true, stream_options: { include_usage: false, include_obfuscation: false } })
    .withResponse();
  const chunks = await collect(data);
  t.ok(chunks.every(({ choices }) => choices.length === 1));
  t.notOk(chunks.some((one) => Object.hasOwn(one, 'usage')));
  t.strictSame(world.lastRequest().body['stream_options'], { include_usage: true, include_obfuscation: false });
  t.match(await world.gateway.row(requestId), { prompt_tokens: 9, completion_tokens: 3, usage_source: 'provider' });
});

t.test('c3 hands on each event before the upstream writes the next', async (t) => {
  let seen = (): void => undefined;
  upstream.answer = async (request, response) => {
    const events = streamText(request, ['a', 'b', 'c']).split(/(?<=\n\n)/);
    openStream(response);
    for (const event of events) {
      const isRead = new Promise<void>((resolve) => {
        seen = resolve;
      });
      response.write(event);
      // The usage event and the end marker are not shown to this caller.
      if (event.includes('"choices":[{')) await isRead;
    }
    response.end();
  };
  let text = '';
  for await (const { choices } of await client.chat.completions.create({ model, messages, stream: true })) {
    text += choices[0]?.delta.content ?? '';
    seen();
  }
  t.equal(text, 'abc');
});

t.test('c111 keeps characters whole when the network splits them', async (t) => {
  const words = ['é', '語', '😀👩‍👩‍👧', '\u2028'];
  upstream.answer = async (request, response) => {
    openStream(response);
    const bytes = Buffer.from(streamText(request, words));
    for (let at = 0; at < bytes.length; at += 7) {
      if (!response.write(bytes.subarray(at, at + 7))) await once(response, 'drain');
      await new Promise((resolve) => setImmediate(resolve));
    }
    response.end();
  };
  const chunks = await collect(await client.chat.completions.create({ model, messages, stream: true }));
  t.equal(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join(''), words.join(''));
});

t.test('feeds the stream helper of the package: events, final text, usage', async (t) => {
  streamWords(['Hel', 'lo']);
  const runner = client.chat.completions.stream({ model, messages, stream_options: { include_usage: true } });
  const deltas: string[] = [];
  runner.on('content', (delta) => deltas.push(delta));
  t.equal(await runner.finalContent(), 'Hello');
  t.strictSame(deltas, ['Hel', 'lo']);
  const final = await runner.finalChatCompletion();
  t.equal(final.choices[0]?.finish_reason, 'stop');
  t.strictSame(await runner.totalUsage(), usage);
});

t.test('c78 keeps the choices apart when n is 2 and streamed', async (t) => {
  const part = (index: number, delta: object, finishReason: string | null = null): string =>
    chunk({}, null, { choices: [{ index, delta, finish_reason: finishReason }] });
  stream(
    part(0, { role: 'assistant', content: '' }) +
      part(1, { role: 'assistant', content: '' }) +
      part(0, { content: 'ze' }) +
      part(1, { content: 'on' }) +
      part(0, { content: 'ro' }) +
      part(1, { content: 'e' }) +
      part(1, {}, 'length') +
      part(0, {}, 'stop') +
      usageChunk +
      endMarker,
  );
  const final = await client.chat.completions.stream({ model, messages, n: 2 }).finalChatCompletion();
  t.same(
    final.choices.map(({ index, message, finish_reason: finish }) => [index, message.content, finish]),
    [
      [0, 'zero', 'stop'],
      [1, 'one', 'length'],
    ],
  );
});

t.test('hands on fields and events that nobody has heard of', async (t) => {
  const moderation = chunk({}, null, { choices: [], moderation: { flagged: false }, usage: null });
  stream(
    `: a comment\n\n${chunk({ role: 'assistant', content: 'a', made_up: [1] }, null, { obfuscation: 'xYz' })}` +
      chunk({}, 'stop') +
      usageChunk +
      moderation +
      endMarker,
  );
  const { data, request_id: requestId } = await client.chat.completions
    .create({ model, messages, stream: true })
    .withResponse();
  const chunks = await collect(data);
  t.match(chunks[0], { obfuscation: 'xYz', choices: [{ delta: { made_up: [1] } }] });
  t.match(chunks.at(-1), { choices: [], moderation: { flagged: false } });
  t.equal(chunks.length, 3, 'the usage chunk is out, the one after it is in');
  t.match(await world.gateway.row(requestId), { completion_tokens: 3, usage_source: 'provider' });
});

t.test('c24 raises the error that came in the middle of a stream, after the words before it', async (t) => {
  stream(
    chunk({ role: 'assistant', content: 'so ' }) +
      chunk({ content: 'far' }) +
      'data: {"error":{"message":"The engine is overloaded","type":"server_error","param":null,"code":"overloaded"}}\n\n',
  );
  const { data, request_id: requestId } = await client.chat.completions
    .create({ model, messages, stream: true })
    .withResponse();
  let text = '';
  const error = await rejection(
    (async () => {
      for await (const { choices } of data) text += choices[0]?.delta.content ?? '';
    })(),
  );
  t.equal(text, 'so far');
  t.type(error, APIError);
  t.match(error, { status: undefined, code: 'overloaded', type: 'server_error' });
  t.match(await world.gateway.row(requestId), { status: 'upstream_error', http_status: 200, error_code: 'overloaded' });
});

t.test('c27 raises an error and invents no finish when the upstream is cut', async (t) => {
  upstream.answer = async (_request, response) => {
    openStream(response);
    response.write(chunk({ role: 'assistant', content: 'so far' }));
    await new Promise((resolve) => setTimeout(resolve, 30));
    response.destroy();
  };
  const finishes: unknown[] = [];
  const error = await rejection(
    (async () => {
      for await (const { choices } of await client.chat.completions.create({ model, messages, stream: true }))
        finishes.push(choices[0]?.finish_reason);
    })(),
  );
  t.match(error, { status: undefined, code: 'upstream_stream_truncated', type: 'server_error' });
  t.strictSame(finishes, [null]);
});

for (const way of ['aborts its controller', 'breaks out of its loop', 'aborts the signal it gave'] as const) {
  t.test(`c26 closes the upstream when a caller ${way}`, async (t) => {
    upstream.answer = (_request, response) => {
      openStream(response);
      response.write(chunk({ role: 'assistant', content: '' }) + chunk({ content: 'a' }) + chunk({ content: 'b' }));
    };
    const given = new AbortController();
    const { data, request_id: requestId } = await client.chat.completions
      .create({ model, messages, stream: true }, { signal: given.signal })
      .withResponse();
    let leftAtMs = Infinity;
    for await (const { choices } of data) {
      if (choices[0]?.delta.content !== 'b') continue;
      leftAtMs = performance.now();
      if (way === 'breaks out of its loop') break;
      if (way === 'aborts its controller') data.controller.abort();
      else given.abort();
    }
    const closedAtMs = await world.lastRequest().closedEarly;
    t.ok(closedAtMs - leftAtMs < 1000, 'within a second');
    t.match(await world.gateway.row(requestId), {
      status: 'client_abort',
      http_status: 499,
      usage_source: 'estimated',
      completion_tokens: 2,
      rank: 2,
    });
    t.match(await (await fetch(`${world.gateway.url}/metrics`)).text(), /tollgate_open_leases 0/);
  });
}

t.test('c26 closes the upstream when a caller aborts before the answer', async (t) => {
  const given = new AbortController();
  upstream.answer = () => given.abort();
  const error = await rejection(client.chat.completions.create({ model, messages }, { signal: given.signal }));
  t.type(error, APIUserAbortError);
  await world.lastRequest().closedEarly;
  const lines = world.gateway.logLines().filter(({ outcome }) => outcome === 'client_abort');
  t.match(await world.gateway.row(String(lines.at(-1)?.['request_id'])), { status: 'client_abort', stream: false });
});

t.test('waits for the whole stream before it ends, when the caller reads slowly', async (t) => {
  const words = Array.from({ length: 400 }, (_, index) => `${index} ${'x'.repeat(4000)}`);
  streamWords(words);
  const received: string[] = [];
  for await (const { choices } of await client.chat.completions.create({ model, messages, stream: true })) {
    if (received.length % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    received.push(choices[0]?.delta.content ?? '');
  }
  t.equal(received.join(''), words.join(''));
});

t.test('keeps forty streams apart that run at once', async (t) => {
  upstream.answer = async (request, response) => {
    const name = String(request.body['user']);
    openStream(response);
    for (const event of streamText(request, [name, ' ', name, ' ', name]).split(/(?<=\n\n)/)) {
      response.write(event);
      await new Promise((resolve) => setImmediate(resolve));
    }
    response.end();
  };
  const read = async (name: string): Promise<string> =>
    (await client.chat.completions.stream({ model, messages, user: name }).finalContent()) ?? '';
  const names = Array.from({ length: 40 }, (_, index) => `caller-${index}`);
  t.strictSame(
    await Promise.all(names.map(read)),
    names.map((name) => `${name} ${name} ${name}`),
  );
});

t.test('gives one chat message when a stream was asked for and the upstream answered with JSON', async (t) => {
  const body = {
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1,
    model,
    choices: [{ index: 0, message: { role: 'assistant', content: 'all at once' }, finish_reason: 'stop' }],
    usage,
  };
  upstream.answer = (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  const response = await client.chat.completions.create({ model, messages, stream: true }).asResponse();
  t.match(response.headers.get('content-type'), /application\/json/);
  t.strictSame(await response.json(), body);
});
