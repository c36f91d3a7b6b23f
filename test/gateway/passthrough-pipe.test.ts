import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { gatewayError } from '../../src/contract/errors.ts';
import { isJsonObject, type JsonObject } from '../../src/contract/json.ts';
import { PassthroughPipe } from '../../src/gateway/passthrough-pipe.ts';
import { feedings } from '../support/byte-feedings.ts';

const noUsage = { cachedTokens: 0, cacheWriteTokens: 0, reasoningTokens: 0 };

function readUsage(body: JsonObject) {
  const usage = body['usage'];
  if (!isJsonObject(usage)) return null;
  return {
    ...noUsage,
    promptTokens: Number(usage['prompt_tokens']),
    completionTokens: Number(usage['completion_tokens']),
  };
}

function findError(body: JsonObject) {
  return body['error'] ? gatewayError('upstreamServerError', { message: 'the provider failed' }) : null;
}

function createPipe(cutUsage: boolean): PassthroughPipe {
  return new PassthroughPipe({ cutUsage, findError, readUsage });
}

function relay(chunks: readonly Buffer[], cutUsage: boolean): { text: string; pipe: PassthroughPipe } {
  const pipe = createPipe(cutUsage);
  const out = chunks.map((chunk) => pipe.push(chunk) ?? Buffer.alloc(0));
  const tail = pipe.end() ?? '';
  return { text: Buffer.concat([...out, Buffer.from(tail)]).toString(), pipe };
}

const chunk = (delta: string, more = ''): string =>
  `data: {"id":"c1","choices":[{"index":0,"delta":${delta},"finish_reason":null}]${more}}\n\n`;
const finish = (more = ''): string =>
  `data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]${more}}\n\n`;
const usageEvent = 'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":14,"completion_tokens":8}}\n\n';
const done = 'data: [DONE]\n\n';
const nullUsage = ',"usage":null';
const hello = '{"role":"assistant","content":"hé😀"}';
const quoted = '{"content":"\\",\\"usage\\":null and \\"usage\\":{\\"x\\":1}"}';

t.test('changes no byte when the caller asked for usage', (t) => {
  const text = chunk(hello, nullUsage) + chunk(quoted, nullUsage) + finish(nullUsage) + usageEvent + done;
  for (const { name, chunks } of feedings(Buffer.from(text))) {
    const { text: out, pipe } = relay(chunks, false);
    t.equal(out, text, name);
    t.ok(pipe.isComplete);
    t.match(pipe.usage(), { promptTokens: 14, completionTokens: 8 });
  }
  t.end();
});

t.test('takes out what it asked for itself, and nothing else', (t) => {
  const asked = chunk(hello, nullUsage) + chunk(quoted, nullUsage) + finish(nullUsage) + usageEvent + done;
  const expected = chunk(hello) + chunk(quoted) + finish() + done;
  for (const { name, chunks } of feedings(Buffer.from(asked))) {
    const { text, pipe } = relay(chunks, true);
    t.equal(text, expected, name);
    t.match(pipe.usage(), { promptTokens: 14, completionTokens: 8 }, name);
  }
  t.end();
});

t.test('keeps a chunk that carries more than usage, and one that comes after it', (t) => {
  const moderation = 'data: {"id":"c1","choices":[],"moderation":{"flagged":false},"usage":null}\n\n';
  const text = chunk(hello) + finish() + usageEvent + moderation + done;
  const { text: out, pipe } = relay([Buffer.from(text)], true);
  t.equal(out, chunk(hello) + finish() + moderation.replace(nullUsage, '') + done);
  t.match(pipe.usage(), { promptTokens: 14 });
  t.end();
});

t.test('holds comments back until the first event says that the stream is no error', (t) => {
  const pipe = createPipe(false);
  t.equal(pipe.push(Buffer.from(': wait\n\n')), null);
  t.equal(pipe.push(Buffer.from(chunk(hello)))?.toString(), `: wait\n\n${chunk(hello)}`);
  t.end();
});

t.test('an error in the first event is recognised before a byte goes out', (t) => {
  for (const { name, chunks } of feedings(Buffer.from(': hi\n\ndata: {"error":{"message":"no"}}\n\n'))) {
    const pipe = createPipe(true);
    for (const bytes of chunks) t.equal(pipe.push(bytes), null, name);
    t.equal(pipe.failure?.kind, 'upstreamServerError', name);
    t.notOk(pipe.isFailureShown);
  }
  const unfinished = createPipe(false);
  unfinished.push(Buffer.from('data: {"error":{"message":"no"}}'));
  unfinished.end();
  t.equal(unfinished.failure?.kind, 'upstreamServerError', 'also without its blank line');
  t.end();
});

t.test('an error in the middle goes out once, as it came, and is no success', (t) => {
  const text = `${chunk(hello)}data: {"error":{"message":"late"}}\n\n`;
  const { text: out, pipe } = relay([Buffer.from(text)], false);
  t.equal(out, text);
  t.equal(pipe.failure?.kind, 'upstreamServerError');
  t.ok(pipe.isFailureShown);
  t.end();
});

t.test('a stream with a finish reason but without its end marker is completed', (t) => {
  t.equal(relay([Buffer.from(chunk(hello) + finish())], false).text, chunk(hello) + finish() + done);
  const lost = relay([Buffer.from(`${chunk(hello)}${finish()}data: {"id":"c1","cho`)], false);
  t.equal(lost.text, chunk(hello) + finish() + done, 'half an event is dropped');
  t.equal(relay([Buffer.from(`${chunk(hello)}${finish()}data: [DONE]`)], false).text, chunk(hello) + finish() + done);
  t.end();
});

t.test('cut at any byte, a stream is complete or known to be cut, and the caller never sees half an event', (t) => {
  const bytes = Buffer.from(chunk(hello, nullUsage) + finish(nullUsage) + usageEvent + done);
  const finishEnd = Buffer.from(chunk(hello, nullUsage) + finish(nullUsage)).length;
  for (let cut = 0; cut < bytes.length; cut += 1) {
    const { text, pipe } = relay([bytes.subarray(0, cut)], true);
    t.ok(text === '' || text.endsWith('\n\n'), `whole events at ${cut}`);
    if (cut >= finishEnd) t.ok(pipe.isComplete && text.endsWith(done), `complete at ${cut}`);
    else if (cut < finishEnd - 2) t.ok(!pipe.isComplete && !text.includes('[DONE]'), `cut at ${cut}`);
  }
  t.end();
});

t.test('knows the end marker when it has passed, and estimates what was delivered', (t) => {
  const pipe = createPipe(false);
  pipe.push(Buffer.from(chunk(hello) + chunk('{"content":"a"}') + chunk('{"content":"b"}')));
  t.equal(pipe.estimateOutputTokens(), 2);
  t.notOk(pipe.isEnded);
  pipe.push(Buffer.from(done));
  t.ok(pipe.isEnded);
  t.equal(pipe.usage(), null);
  t.end();
});

t.test('nothing is shown behind the end marker, which words may hold without ending anything', (t) => {
  for (const { chunks } of feedings(
    Buffer.from(chunk(hello) + chunk('{"content":"data: [DONE]"}') + done + chunk('{"content":"late"}') + done),
  )) {
    const pipe = createPipe(true);
    const text = chunks.map((piece) => pipe.push(piece)?.toString() ?? '').join('') + (pipe.end()?.toString() ?? '');
    t.equal(text, chunk(hello) + chunk('{"content":"data: [DONE]"}') + done);
    t.ok(pipe.isEnded && pipe.isComplete);
  }
  t.end();
});

t.test('an endless event is refused', (t) => {
  const pipe = createPipe(false);
  t.throws(
    () => {
      for (let count = 0; count < 50; count += 1) pipe.push(Buffer.from(`data: ${'x'.repeat(100_000)}`));
    },
    { code: 'upstream_error' },
  );
  t.end();
});

const recordings = join(import.meta.dirname, '..', '..', '..', 'shared', 'fixtures', 'openai', 'dev');
const recorded = globSync('*.json', { cwd: recordings }).flatMap((file) => {
  const exchange: unknown = JSON.parse(readFileSync(join(recordings, file), 'utf8'));
  if (!isJsonObject(exchange) || !isJsonObject(exchange['request']) || !isJsonObject(exchange['response'])) return [];
  const text = exchange['response']['body_text'];
  const isChat = JSON.stringify(exchange['request']['url']).includes('/chat/completions');
  return isChat && typeof text === 'string' && text.startsWith('data:') ? [{ file, text }] : [];
});
if (recorded.length === 0) t.comment('recorded answers are absent; only the streams above were fed');

for (const { file, text } of recorded) {
  t.test(`passes the recorded stream ${file} byte for byte`, (t) => {
    const eventsOf = (stream: string): JsonObject[] =>
      stream.split('\n\n').flatMap((event) => {
        const json = event.replace(/^data: /, '');
        return json === '' || json === '[DONE]' ? [] : [JSON.parse(json) as JsonObject];
      });
    const kept = eventsOf(text).filter(
      ({ choices, usage }) => !(Array.isArray(choices) && choices.length === 0 && usage),
    );
    for (const { name, chunks } of feedings(Buffer.from(text), 5)) {
      t.equal(relay(chunks, false).text, text, name);
      const { text: cut, pipe } = relay(chunks, true);
      t.same(
        eventsOf(cut),
        kept.map(({ usage, ...rest }) => (usage ? { usage, ...rest } : rest)),
        name,
      );
      t.ok(pipe.isComplete);
    }
    t.end();
  });
}
