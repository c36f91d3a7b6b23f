/** What is not HTTP, what is HTTP but a trick, and what is unusual but right: written byte by byte. */
import t, { type Test } from 'tap';
import { generateApiKey } from '../../src/auth/api-key.ts';
import { post, startGateway } from '../support/gateway.ts';
import { chunk, completion, openStream, sendJson, startUpstream } from '../support/upstream.ts';
import { openRaw, type RawReply } from './raw-connection.ts';
import { checkRefusal, type Refusal } from './refusals.ts';

const canary = 'CANARY-5b1e77';
const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('hello')));
const gateway = await startGateway(t, {
  environment: { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url },
  yaml: 'body_limit: 1MiB',
});
const { token } = await gateway.createKey();
const body = JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'hi' }] });
const chat = 'POST /v1/chat/completions HTTP/1.1';
const credentials = `host: x\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json`;
const head = `${chat}\r\n${credentials}`;
const whole = `${head}\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
let served = 0;

async function isAlive(t: Test): Promise<void> {
  const response = await post(gateway, token, body);
  t.equal(response.status, 200, 'the process lives and serves');
  await response.text();
  served += 1;
}

const notHttp: Record<string, { bytes: string | Uint8Array } & Refusal> = {
  'plain words': { status: 400, code: null, bytes: `${canary} hello\r\n\r\n` },
  'the start of TLS': { status: 400, code: null, bytes: Buffer.from('16030100a5010000a10303', 'hex') },
  'random bytes': { status: 400, code: null, bytes: Buffer.from('00ff81c0de7f00000d0a0d0a', 'hex') },
  'the preface of HTTP/2': { status: 400, code: null, bytes: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' },
  'an unknown method': { status: 400, code: null, bytes: `BREW /v1/models HTTP/1.1\r\n${credentials}\r\n\r\n` },
  'headers beyond 16 KiB': {
    status: 431,
    code: null,
    bytes: `${head}\r\nx-big: ${canary}${'x'.repeat(4_000_000)}\r\n\r\n`,
    message: /16 KiB/,
  },
  'an address beyond 16 KiB': {
    status: 431,
    code: null,
    bytes: `GET /v1/models?${'x'.repeat(17_000)} HTTP/1.1\r\n${credentials}\r\n\r\n`,
  },
  'a NUL in a header': { status: 400, code: null, bytes: `${head}\r\nx-a: a\0b\r\ncontent-length: 0\r\n\r\n` },
  'a header name with a space before its colon': {
    status: 400,
    code: null,
    bytes: `${head}\r\ncontent-length : ${body.length}\r\n\r\n${body}`,
  },
};

const smuggled = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n`;

/** Two readings of one message are how a second request is hidden in the first. */
const smuggling: Record<string, { bytes: string } & Refusal> = {
  'both lengths': {
    status: 400,
    code: null,
    bytes: `${head}\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
  },
  'both lengths the other way round': {
    status: 400,
    code: null,
    bytes: `${head}\r\ntransfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n${smuggled}`,
  },
  'two lengths': {
    status: 400,
    code: null,
    bytes: `${head}\r\ncontent-length: 0\r\ncontent-length: ${smuggled.length}\r\n\r\n${smuggled}`,
  },
  'a negative length': { status: 400, code: null, bytes: `${head}\r\ncontent-length: -1\r\n\r\n` },
  'a length with a sign': { status: 400, code: null, bytes: `${head}\r\ncontent-length: +2\r\n\r\n{}` },
  'an unknown transfer coding': {
    status: 400,
    code: null,
    bytes: `${head}\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n${smuggled}`,
  },
  'chunked that is not last': {
    status: 400,
    code: null,
    bytes: `${head}\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n${smuggled}`,
  },
};

for (const [name, { bytes, ...expected }] of Object.entries({ ...notHttp, ...smuggling })) {
  t.test(`refuses ${name} and closes the connection`, async (t) => {
    const raw = await openRaw(t, gateway.url);
    raw.write(bytes);
    const reply = await raw.reply();
    checkRefusal(t, reply, expected);
    t.match(reply?.headers['connection'], /close/i);
    t.equal(await raw.reply(), null, 'one reply, whatever follows');
    await raw.closed;
    t.notOk(JSON.stringify(reply).includes(canary));
    await isAlive(t);
  });
}

t.test('refuses a request without a Host', async (t) => {
  const raw = await openRaw(t, gateway.url);
  raw.write(whole.replace('host: x\r\n', ''));
  checkRefusal(t, await raw.reply(), { status: 400, code: null, message: /Host/ });
  await isAlive(t);
});

t.test('refuses more headers than it reads, and serves as many as it does', async (t) => {
  const more = (count: number): string => Array.from({ length: count }, (_, index) => `x-${index}: a\r\n`).join('');
  // Four of its own: the key comes last, where a silent cut would take it.
  for (const [count, status] of [
    [60, 200],
    [61, 431],
    [300, 431],
  ] as const) {
    const raw = await openRaw(t, gateway.url);
    raw.write(whole.replace('\r\n', `\r\n${more(count)}`));
    const reply = await raw.reply();
    if (status === 431) checkRefusal(t, reply, { status, code: null, message: /more than 64 headers/ });
    else served += reply?.status === status ? 1 : 0;
    t.equal(reply?.status, status);
  }
});

t.test('ends a refused connection although its client goes on writing', async (t) => {
  const raw = await openRaw(t, gateway.url, { allowHalfOpen: true });
  const writing = setInterval(() => raw.write('no HTTP\r\n\r\n'), 20);
  t.teardown(() => clearInterval(writing));
  checkRefusal(t, await raw.reply(), { status: 400, code: null });
  await raw.closed;
  t.equal(raw.text(), '');
});

t.test('never writes a refusal into the middle of a stream', async (t) => {
  let release = (): void => undefined;
  upstream.answer = async (_request, response) => {
    openStream(response);
    response.write(chunk({ role: 'assistant', content: 'so far' }));
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    response.end();
  };
  const streamed = body.replace('{', '{"stream":true,');
  const raw = await openRaw(t, gateway.url);
  raw.write(`${head}\r\ncontent-length: ${streamed.length}\r\n\r\n${streamed}`);
  while (!raw.text().includes('so far')) await new Promise((resolve) => setTimeout(resolve, 5));
  raw.write('no HTTP\r\n\r\n');
  await raw.closed;
  release();
  t.equal(raw.text().split('HTTP/1.1').length, 2, 'one status line');
  served += 1;
  upstream.answer = (_request, response) => sendJson(response, completion('hello'));
  const id = /x-request-id: (\S+)/i.exec(raw.text())?.[1];
  t.match(await gateway.row(id), { status: 'client_abort' });
});

t.test('refuses a chunk of no size in the middle of a body with one reply', async (t) => {
  const raw = await openRaw(t, gateway.url);
  raw.write(`${head}\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"mod\r\nZZ\r\n`);
  checkRefusal(t, await raw.reply(), { status: 400, code: null });
  t.equal(await raw.reply(), null);
  await isAlive(t);
});

t.test('forgets a client that leaves in the middle of its request', async (t) => {
  const raw = await openRaw(t, gateway.url);
  raw.write(`${head}\r\ncontent-length: 1000\r\n\r\n${body}`);
  raw.end();
  await raw.closed;
  await isAlive(t);
});

t.test('closes a tunnel that somebody asks for', async (t) => {
  const raw = await openRaw(t, gateway.url);
  raw.write(`CONNECT 169.254.169.254:80 HTTP/1.1\r\nhost: 169.254.169.254:80\r\n\r\n`);
  t.equal(await raw.reply(), null);
  await isAlive(t);
});

/** Requests on one connection, and what comes back in order. */
async function repliesTo(t: Test, ...requests: readonly string[]): Promise<(RawReply | null)[]> {
  const raw = await openRaw(t, gateway.url);
  raw.write(requests.join(''));
  const replies: (RawReply | null)[] = [];
  while (replies.length < requests.length) replies.push(await raw.reply());
  served += replies.filter((reply) => reply?.status === 200 && reply.body.includes('chat.completion')).length;
  return replies;
}

t.test('answers pipelined requests in their order, refusals among them', async (t) => {
  const bad = `${head}\r\ncontent-length: 2\r\n\r\n{}`;
  const models = `GET /v1/models HTTP/1.1\r\n${credentials}\r\n\r\n`;
  const replies = await repliesTo(t, whole, bad, models, whole);
  t.same(
    replies.map((reply) => reply?.status),
    [200, 400, 200, 200],
  );
  t.match(replies[2]?.body, /"object":"list"/);
  t.match(replies[3]?.body, /chat\.completion/);
  t.equal(new Set(replies.map((reply) => reply?.headers['x-request-id'])).size, 4);
});

t.test('serves unusual but right HTTP', async (t) => {
  const unusual: Record<string, string> = {
    'names in capitals': whole.replace('authorization: Bearer', 'AUTHORIZATION: bEARER'),
    'blank lines before the request': `\r\n\r\n${whole}`,
    'an expectation that nobody knows': whole.replace('\r\n\r\n', '\r\nexpect: a-miracle\r\n\r\n'),
    'an upgrade that nobody offers': whole.replace('\r\n\r\n', '\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n'),
    'a query that nobody reads': whole.replace('completions HTTP', 'completions?api-version=1&a[]=%zz HTTP'),
    'chunks with extensions and a trailer': `${head}\r\ntransfer-encoding: chunked\r\n\r\n${body.length.toString(16)};a=b\r\n${body}\r\n0\r\nx-trailer: 1\r\n\r\n`,
  };
  for (const [name, request] of Object.entries(unusual)) {
    const [reply] = await repliesTo(t, request);
    t.equal(reply?.status, 200, name);
  }
});

t.test('serves HTTP/1.0 and closes', async (t) => {
  const raw = await openRaw(t, gateway.url);
  raw.write(whole.replace('HTTP/1.1', 'HTTP/1.0'));
  t.equal((await raw.reply())?.status, 200);
  served += 1;
  await raw.closed;
});

t.test(
  'tells a client to go on when it waits for leave, and refuses without reading when the key is bad',
  async (t) => {
    const raw = await openRaw(t, gateway.url);
    raw.write(`${head}\r\ncontent-length: ${body.length}\r\nexpect: 100-continue\r\n\r\n`);
    t.equal((await raw.reply())?.status, 100);
    raw.write(body);
    t.equal((await raw.reply())?.status, 200);
    served += 1;
  },
);

t.test(
  'c89 reads a body over the limit away, so that its refusal arrives and the connection can be used',
  async (t) => {
    const padded = JSON.stringify({ padding: 'x'.repeat(8 * 1024 * 1024) });
    const known = `${head}\r\ncontent-length: ${padded.length}\r\n\r\n${padded}`;
    const chunked = `${head}\r\ntransfer-encoding: chunked\r\n\r\n${padded.length.toString(16)}\r\n${padded}\r\n0\r\n\r\n`;
    const wrongKey = known.replace(token, generateApiKey().token);
    for (const [request, refusal] of [
      [known, { status: 413, code: 'request_too_large' }],
      [chunked, { status: 413, code: 'request_too_large' }],
      [wrongKey, { status: 401, code: 'invalid_api_key' }],
      [known.replace('application/json', 'text/plain'), { status: 413, code: 'request_too_large' }],
    ] as const) {
      const [refused, next] = await repliesTo(t, request, whole);
      checkRefusal(t, refused ?? null, refusal);
      t.equal(next?.status, 200);
    }
  },
);

t.test('wrote a row for what was served, and no more', async (t) => {
  const rows = await gateway.rows(served);
  t.equal(rows.length, served);
  const log = JSON.stringify(gateway.logLines());
  t.notOk(log.includes(canary));
  t.notOk(log.includes(token));
  t.notOk(gateway.logLines().some(({ level }) => level === 'error'));
});
