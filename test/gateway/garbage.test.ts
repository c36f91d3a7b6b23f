/**
 * What a provider must never be able to do to a caller or to the gateway, whatever dialect it is spoken to in: every kind
 * of nonsense ends as a clean error or a clean end, in bounded memory, with one honest row and no slot held.
 */
import type { ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import { registry } from '../../providers/index.ts';
import type { JsonObject } from '../../src/contract/json.ts';
import { post, startGateway, type TestGateway } from '../support/gateway.ts';
import { parseObject } from '../support/json-at.ts';
import { startUpstream } from '../support/upstream.ts';

/** One of each way in which replies are read: passed through, normalised, translated. */
const kinds = ['openai', 'together', 'anthropic', 'google'].filter((id) => Object.hasOwn(registry, id));
const secretText = 'PROXY-SECRET';

type Garbage = (response: ServerResponse) => void;

const whole =
  (body: string | Buffer, headers: Record<string, string> = { 'content-type': 'application/json' }): Garbage =>
  (response) => {
    response.writeHead(200, headers);
    response.end(body);
  };

const stream =
  (...pieces: string[]): Garbage =>
  (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(pieces.join(''));
  };

const deep = `${'['.repeat(10_000)}1${']'.repeat(10_000)}`;

const garbage: Record<string, Garbage> = {
  'a page of HTML': whole(`<html>${secretText}</html>`, { 'content-type': 'text/html' }),
  'half a document': whole('{"id":"x","choices":[{"index":0,"message":{"role":"assi'),
  'nothing at all': whole(''),
  'NUL bytes': whole(Buffer.alloc(64)),
  'a list': whole('[]'),
  null: whole('null'),
  'a number': whole('17'),
  'an empty object': whole('{}'),
  'no choices': whole('{"choices":[],"content":[],"candidates":[]}'),
  'members of wrong types': whole('{"choices":"x","content":7,"candidates":{},"usage":[],"id":null}'),
  'entries of wrong types': whole('{"choices":[null,1],"content":[null,1],"candidates":[null,1]}'),
  'a depth of ten thousand': whole(`{"choices":${deep},"content":${deep},"candidates":${deep}}`),
  'names of prototypes': whole('{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}'),
  'bytes that are no text': whole(Buffer.from([0xff, 0xfe, 0xfd, 0x80]), {
    'content-type': 'application/octet-stream',
  }),
  'compressed bytes': whole(Buffer.alloc(32), { 'content-type': 'application/json', 'content-encoding': 'gzip' }),
  'a redirect': (response) => response.writeHead(302, { location: 'http://169.254.169.254/' }).end(),
  'events that are no JSON': stream('data: hello\n\n', 'data: {"a":\n\n'),
  'events of HTML': stream(`data: <html>${secretText}</html>\n\n`),
  'events of wrong types': stream('data: []\n\n', 'data: null\n\n', 'data: {"choices":[null],"type":5}\n\n'),
  'comments without an event': stream(...Array.from({ length: 200 }, () => ': working\n\n')),
  'an event of a depth of ten thousand': stream(`data: {"choices":${deep}}\n\n`),
  'an empty stream': stream(''),
  'an end marker alone': stream('data: [DONE]\n\n'),
  'a line of a hundred megabytes': (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const piece = 'x'.repeat(1024 * 1024);
    response.write('data: ');
    let sent = 0;
    const more = (): void => {
      while (sent < 100 && !response.destroyed) {
        sent += 1;
        if (!response.write(piece)) {
          response.once('drain', more);
          return;
        }
      }
      if (!response.destroyed) response.end();
    };
    more();
  },
};

async function startWorld(
  t: Test,
  id: string,
): Promise<{ gateway: TestGateway; token: string; current: { answer: Garbage } }> {
  const current = { answer: whole('{}') };
  const upstream = await startUpstream(t, (_request, response) => current.answer(response));
  const prefix = id.toUpperCase().replaceAll('-', '_');
  const gateway = await startGateway(t, {
    environment: { [`${prefix}_API_KEY`]: 'sk-upstream', [`${prefix}_BASE_URL`]: upstream.url },
  });
  return { gateway, token: (await gateway.createKey()).token, current };
}

/** A caller's view of a failure: an error object with a status, or an event stream whose last event is one. */
async function readFailure(response: Response): Promise<JsonObject> {
  const text = await response.text();
  if (response.status >= 400) return parseObject(text);
  const last = text.trim().split('\n\n').at(-1) ?? '';
  return text.includes('data: [DONE]') ? { success: text } : parseObject(last.replace(/^data: /, ''));
}

for (const id of kinds) {
  t.test(`${id}: nonsense is a clean error, told once, with one row and no slot held`, async (t) => {
    const { gateway, token, current } = await startWorld(t, id);
    let asked = 0;
    for (const [name, answer] of Object.entries(garbage)) {
      for (const isStream of [false, true]) {
        current.answer = answer;
        asked += 1;
        const body = { model: `${id}/some-model`, messages: [{ role: 'user', content: 'hi' }], stream: isStream };
        const response = await post(gateway, token, body);
        const failure = await readFailure(response);
        const label = `${name}, ${isStream ? 'streamed' : 'unary'}`;
        // Some nonsense is a reply without words; it may be told as one, but never leak or break.
        if (failure.error !== undefined) {
          t.match(failure.error, { message: String, type: String }, label);
          t.same(Object.keys(failure), ['error'], label);
          t.not(response.status, 401, label);
          t.not(response.status, 429, label);
        } else t.equal(response.status, 200, label);
        t.notMatch(JSON.stringify(failure), /PROXY-SECRET|sk-upstream|169\.254/, label);
      }
    }
    t.equal(({} as { polluted?: boolean }).polluted, undefined, 'no prototype is touched');
    const rows = await gateway.rows(asked);
    t.equal(rows.length, asked, 'one row each');
    t.ok(rows.every(({ cost_usd: cost }) => Number(cost) >= 0));
    t.match(await (await fetch(`${gateway.url}/metrics`)).text(), /tollgate_open_leases 0/, 'no slot is held');
  });

  t.test(`${id}: an endless line is refused in bounded memory`, async (t) => {
    const { gateway, token, current } = await startWorld(t, id);
    current.answer = garbage['a line of a hundred megabytes'] ?? current.answer;
    const before = process.memoryUsage().rss;
    for (let round = 0; round < 3; round += 1) {
      const body = { model: `${id}/some-model`, messages: [{ role: 'user', content: 'hi' }], stream: true };
      const failure = await readFailure(await post(gateway, token, body));
      t.match(failure, { error: { type: 'server_error', message: /too large/ } });
    }
    const grown = (process.memoryUsage().rss - before) / 1024 / 1024;
    t.ok(grown < 150, `${Math.round(grown)} MiB more than before, of 300 that were offered`);
  });
}

const completion = (more: object): string =>
  JSON.stringify({
    id: 'c',
    object: 'chat.completion',
    created: 1,
    model: 'm',
    choices: [{ index: 0, message: { role: 'assistant', content: 'words' }, finish_reason: 'stop' }],
    ...more,
  });

for (const id of ['openai', 'together']) {
  t.test(`${id}: usage that is missing or absurd is not believed, and the row says so`, async (t) => {
    const { gateway, token, current } = await startWorld(t, id);
    const figures: unknown[] = [
      undefined,
      null,
      {},
      [],
      'many',
      { prompt_tokens: -5, completion_tokens: 3 },
      { prompt_tokens: 1e18, completion_tokens: 3 },
      { prompt_tokens: '9', completion_tokens: '3' },
      { prompt_tokens: 1.5, completion_tokens: 3 },
    ];
    for (const usage of figures) {
      current.answer = whole(completion({ usage }));
      const response = await post(gateway, token, {
        model: `${id}/some-model`,
        messages: [{ role: 'user', content: 'hi' }],
      });
      t.equal(response.status, 200);
      t.match(await response.json(), { choices: [{ message: { content: 'words' } }] });
    }
    for (const row of await gateway.rows(figures.length)) {
      t.match(row, { status: 'ok', usage_source: 'estimated' });
      t.ok(Number(row['prompt_tokens']) >= 0 && Number(row['prompt_tokens']) < 10_000);
    }
  });

  t.test(`${id}: what comes behind the end, and a second finish, is nothing to the caller`, async (t) => {
    const { gateway, token, current } = await startWorld(t, id);
    const chunk = (choice: object): string =>
      `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, ...choice }] })}\n\n`;
    current.answer = stream(
      chunk({ delta: { role: 'assistant', content: 'words' } }),
      chunk({ delta: {}, finish_reason: 'stop' }),
      'data: [DONE]\n\n',
      chunk({ delta: { content: 'LATE' } }),
      'data: [DONE]\n\n',
    );
    const body = { model: `${id}/some-model`, messages: [{ role: 'user', content: 'hi' }], stream: true };
    const text = await (await post(gateway, token, body)).text();
    t.ok(text.includes('words') && text.endsWith('data: [DONE]\n\n'));
    t.notMatch(text, /LATE/);
    t.equal(text.split('[DONE]').length, 2, 'one end marker');
    t.match(await gateway.rows(1), [{ status: 'ok' }]);
  });
}
