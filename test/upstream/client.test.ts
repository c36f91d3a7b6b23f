import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, type RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { createUpstreamClient, type UpstreamClientOptions, type UpstreamRequest } from '../../src/upstream/client.ts';
import { createSelfSignedCertificate } from '../support/self-signed-certificate.ts';
import { recordUpstream } from '../support/upstream-recording.ts';

type Upstream = { origin: string; port: number; connections: Socket[]; closed: (index: number) => Promise<void> };

async function listen(t: Test, server: Server, scheme = 'http'): Promise<Upstream> {
  const connections: Socket[] = [];
  const closings: Promise<unknown>[] = [];
  server.on('connection', (socket: Socket) => {
    connections.push(socket);
    closings.push(new Promise((resolve) => socket.on('close', resolve)));
    // Connections are broken on purpose here.
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  t.teardown(async () => {
    for (const socket of connections) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    origin: `${scheme}://127.0.0.1:${port}`,
    port,
    connections,
    closed: async (index) => {
      await closings[index];
    },
  };
}

type Listener = (...request: Parameters<RequestListener>) => unknown;

const http = (t: Test, listener: Listener): Promise<Upstream> =>
  listen(
    t,
    createHttpServer((message, response) => {
      void listener(message, response);
    }),
  );
const tcp = (t: Test, onSocket: (socket: Socket) => void): Promise<Upstream> => listen(t, createTcpServer(onSocket));

function createClient(t: Test, options: Partial<UpstreamClientOptions> = {}) {
  const client = createUpstreamClient({ connectMs: 5000, ...options });
  t.teardown(() => client.destroy());
  return client;
}

function request(origin: string, changes: Partial<UpstreamRequest> = {}): UpstreamRequest {
  const headers = { 'content-type': 'application/json' };
  return { origin, path: '/v1/chat', headers, body: Buffer.from('{}'), allowPrivate: true, ...changes };
}

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  message.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(message, 'end');
  return Buffer.concat(chunks);
}

/** Fails the test when the promise takes more than a second. */
async function withinASecond(t: Test, what: string, promise: Promise<unknown>): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<'late'>();
  const timer = setTimeout(() => resolve('late'), 1000);
  t.not(await Promise.race([promise, late]), 'late', what);
  clearTimeout(timer);
}

/** Long enough for a call that breaks its word to show. */
const aWhile = (milliseconds = 20) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Writes until the other side takes no more; gives the bytes that were written. */
async function flood(socket: { write: (chunk: Buffer) => boolean }, chunk: Buffer): Promise<number> {
  let bytes = 0;
  for (let refusals = 0; refusals < 5;) {
    bytes += chunk.length;
    if (!socket.write(chunk)) {
      refusals += 1;
      await aWhile(5);
    }
  }
  return bytes;
}

t.test('bytes and headers pass in both directions as they are', async (t) => {
  const sent = Buffer.from([0, 1, 0xff, 0xfe, ...Buffer.from('é😀\r\n')]);
  const replied = Buffer.from([0xff, 0, ...Buffer.from('data: é\n\n')]);
  const seen: { method: unknown; url: unknown; headers: IncomingMessage['headers']; body: Buffer }[] = [];
  const upstream = await http(t, async (message, response) => {
    const { method, url, headers } = message;
    seen.push({ method, url, headers, body: await bodyOf(message) });
    response.writeHead(201, { 'x-request-id': 'abc', 'content-encoding': 'gzip', 'set-cookie': ['a=1', 'b=2'] });
    response.end(replied);
  });
  const recording = recordUpstream();
  const headers = { authorization: 'Bearer key', 'content-type': 'application/json', 'x-custom': 'value' };
  const client = createClient(t);
  client.send(request(upstream.origin, { path: '/base/v1/chat?x=1', headers, body: sent }), recording);
  await recording.over;
  t.same(recording.events, ['dispatched', 'headers', 'data', 'end']);
  const [got] = seen;
  t.match(got, { method: 'POST', url: '/base/v1/chat?x=1', headers });
  t.same(got?.body, sent);
  t.equal(got?.headers['content-length'], String(sent.length));
  t.notOk(got?.headers['user-agent'], 'nothing of ours is added');
  t.equal(recording.status, 201);
  t.match(recording.headers, { 'x-request-id': 'abc', 'content-encoding': 'gzip', 'set-cookie': ['a=1', 'b=2'] });
  t.same(Buffer.concat(recording.chunks), replied, 'nothing is decompressed');
});

t.test('chunks come as they are sent, and nothing waits for the end', async (t) => {
  const upstream = await http(t, (_message, response) => {
    response.write('one');
    gate.promise.then(
      () => response.end('two'),
      (error: unknown) => t.error(error),
    );
  });
  const gate = Promise.withResolvers<void>();
  const recording = recordUpstream();
  createClient(t).send(request(upstream.origin), recording);
  await recording.begun;
  t.equal(recording.text(), 'one');
  gate.resolve();
  await recording.over;
  t.equal(recording.text(), 'onetwo');
});

t.test('early hints are no reply', async (t) => {
  const upstream = await tcp(t, (socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n');
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
    });
  });
  const recording = recordUpstream();
  createClient(t).send(request(upstream.origin), recording);
  await recording.over;
  t.same(recording.events, ['dispatched', 'headers', 'data', 'end']);
  t.equal(recording.status, 200);
});

t.test('a redirect is a reply like any other and is never followed', async (t) => {
  let isVisited = false;
  const elsewhere = await http(t, (_message, response) => {
    isVisited = true;
    response.end();
  });
  const client = createClient(t);
  for (const status of [301, 302, 303, 307, 308]) {
    const upstream = await http(t, (_message, response) => {
      response.writeHead(status, { location: `${elsewhere.origin}/v1/chat` }).end();
    });
    const recording = recordUpstream();
    client.send(request(upstream.origin), recording);
    await recording.over;
    t.equal(recording.status, status);
    t.same(recording.events, ['dispatched', 'headers', 'end']);
  }
  t.notOk(isVisited);
  t.equal(elsewhere.connections.length, 0);
});

t.test('a failed status is a reply', async (t) => {
  const upstream = await http(t, (_message, response) => response.writeHead(503).end('{"error":1}'));
  const recording = recordUpstream();
  createClient(t).send(request(upstream.origin), recording);
  await recording.over;
  t.equal(recording.status, 503);
  t.equal(recording.text(), '{"error":1}');
  t.equal(recording.events.at(-1), 'end');
});

t.test('a connection serves again after a complete reply, and is closed after an abort', async (t) => {
  const upstream = await http(t, (message, response) => {
    response.write('begun');
    if (message.headers['x-hang'] === undefined) response.end();
  });
  const client = createClient(t);
  const send = async (headers: Record<string, string>, abort: boolean): Promise<void> => {
    const recording = recordUpstream();
    const call = client.send(request(upstream.origin, { headers }), recording);
    await recording.begun;
    if (abort) call.abort();
    await recording.over;
    // The pool takes the connection back behind the last event.
    await new Promise((resolve) => setImmediate(resolve));
  };
  await send({}, false);
  await send({}, false);
  await send({}, false);
  t.equal(upstream.connections.length, 1);
  await send({ 'x-hang': '1' }, true);
  await upstream.closed(0);
  await send({}, false);
  t.equal(upstream.connections.length, 2);
});

t.test('an abort closes the connection within a second, whatever the call is doing', async (t) => {
  const answers: Record<string, (socket: Socket) => void> = {
    'before it answers': () => {},
    'in the middle of a body': (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf'),
    'in the middle of chunks': (socket) =>
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n'),
    'while it is paused': (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      flood(socket, Buffer.alloc(65_536)).catch((error: unknown) => t.error(error));
    },
  };
  for (const [phase, answer] of Object.entries(answers)) {
    const { promise: asked, resolve } = Promise.withResolvers<void>();
    const upstream = await tcp(t, (socket) => {
      socket.once('data', () => {
        answer(socket);
        resolve();
      });
    });
    const recording = recordUpstream({
      onData() {
        if (phase === 'while it is paused') call.pause();
      },
    });
    const call = createClient(t).send(request(upstream.origin), recording);
    await asked;
    if (phase !== 'before it answers') await recording.begun;
    if (phase === 'while it is paused') await aWhile(50);
    call.abort();
    call.abort();
    await withinASecond(t, `the connection is closed ${phase}`, upstream.closed(0));
    await withinASecond(t, `the call is over ${phase}`, recording.over);
    const { length } = recording.events;
    t.equal(recording.events.at(-1), 'aborted');
    call.resume();
    await aWhile();
    t.equal(recording.events.length, length, `nothing comes after it ${phase}`);
  }
});

t.test('an abort out of any event ends the call once', async (t) => {
  const upstream = await http(t, (_message, response) => {
    response.write('one');
    setImmediate(() => response.end('two'));
  });
  const hooks = { dispatched: 'onDispatched', headers: 'onHeaders', data: 'onData' } as const;
  for (const [event, name] of Object.entries(hooks)) {
    const recording = recordUpstream({ [name]: () => call.abort() });
    const call = createClient(t).send(request(upstream.origin), recording);
    await recording.over;
    await aWhile();
    t.same(recording.events.slice(-2), [event, 'aborted']);
    t.notMatch(recording.text(), 'two');
  }
});

t.test('an abort before there is a connection is told at once, and the request is never sent', async (t) => {
  let requests = 0;
  const upstream = await http(t, (_message, response) => {
    requests += 1;
    response.end();
  });
  const recording = recordUpstream();
  const call = createClient(t).send(request(upstream.origin), recording);
  call.abort();
  t.same(recording.events, [], 'but not before the caller has left the stack');
  await recording.over;
  t.same(recording.events, ['aborted']);
  await aWhile(50);
  t.same(recording.events, ['aborted']);
  t.equal(requests, 0);
});

t.test('an abort while it waits for its turn is told at once, and the request is never sent', async (t) => {
  const paths: unknown[] = [];
  const gate = Promise.withResolvers<void>();
  const upstream = await http(t, (message, response) => {
    paths.push(message.url);
    gate.promise.then(
      () => response.end(),
      (error: unknown) => t.error(error),
    );
  });
  const client = createClient(t, { connections: 1 });
  const [first, second, third] = [recordUpstream(), recordUpstream(), recordUpstream()];
  client.send(request(upstream.origin, { path: '/first' }), first);
  await first.dispatched;
  const call = client.send(request(upstream.origin, { path: '/second' }), second);
  client.send(request(upstream.origin, { path: '/third' }), third);
  call.abort();
  await second.over;
  t.same(second.events, ['aborted']);
  gate.resolve();
  await first.over;
  await third.over;
  t.same(third.events, ['dispatched', 'headers', 'end'], 'the next one is served');
  t.same(second.events, ['aborted']);
  t.same(paths, ['/first', '/third']);
  t.equal(upstream.connections.length, 1);
});

t.test('an abort after the end changes nothing', async (t) => {
  const upstream = await http(t, (_message, response) => response.end('x'));
  const client = createClient(t);
  const recording = recordUpstream();
  const call = client.send(request(upstream.origin), recording);
  await recording.over;
  call.abort();
  call.pause();
  call.resume();
  await aWhile();
  t.same(recording.events, ['dispatched', 'headers', 'data', 'end']);
  const next = recordUpstream();
  client.send(request(upstream.origin), next);
  await next.over;
  t.equal(next.events.at(-1), 'end');
  t.equal(upstream.connections.length, 1, 'the connection was left in peace');
});

t.test('a paused call holds the upstream back and loses no byte', async (t) => {
  const chunk = Buffer.alloc(65_536, 'x');
  const flooded = Promise.withResolvers<number>();
  const upstream = await http(t, (_message, response) => {
    flood(response, chunk).then(
      (bytes) => {
        flooded.resolve(bytes);
        response.end('end');
      },
      (error: unknown) => t.error(error),
    );
  });
  let received = 0;
  let isPaused = false;
  const recording = recordUpstream({
    onData(bytes) {
      received += bytes.length;
      if (!isPaused) call.pause();
      isPaused = true;
    },
  });
  const call = createClient(t).send(request(upstream.origin), recording);
  const sent = await flooded.promise;
  const before = received;
  await aWhile();
  t.equal(received, before, 'nothing comes while it is paused');
  t.ok(before < sent, 'and the rest waits outside of this process');
  call.resume();
  await recording.over;
  t.equal(received, sent + 3);
  t.equal(recording.events.at(-1), 'end');
});

t.test('a call whose connection breaks fails once', async (t) => {
  const breaks: Record<string, (socket: Socket) => void> = {
    'closed without a word': (socket) => socket.end(),
    'reset without a word': (socket) => socket.resetAndDestroy(),
    'reset in the middle of a body': (socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf', () =>
        setTimeout(() => socket.resetAndDestroy(), 10),
      );
    },
    'closed in the middle of a body': (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf'),
    'closed in the middle of chunks': (socket) =>
      socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n'),
    'no HTTP': (socket) => socket.write('SSH-2.0-OpenSSH_9.9\r\n'),
  };
  for (const [name, breakIt] of Object.entries(breaks)) {
    const upstream = await tcp(t, (socket) => socket.once('data', () => breakIt(socket)));
    const recording = recordUpstream();
    createClient(t).send(request(upstream.origin), recording);
    await recording.over;
    await aWhile();
    const expected = name.includes('middle') ? ['dispatched', 'headers', 'data', 'reset'] : ['dispatched', 'reset'];
    t.same(recording.events, expected, name);
    t.ok(recording.failure?.cause instanceof Error);
    t.equal(upstream.connections.length, 1, 'never sent a second time');
  }
});

t.test('an upstream that nobody is at is unreachable', async (t) => {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  for (const host of ['127.0.0.1', 'localhost']) {
    const recording = recordUpstream();
    createClient(t).send(request(`http://${host}:${port}`), recording);
    await recording.over;
    t.same(recording.events, ['unreachable'], host);
    t.match(recording.failure?.cause, { code: 'ECONNREFUSED' });
  }
});

t.test('an upstream that never finishes the handshake is given up after the connect clock', async (t) => {
  const upstream = await tcp(t, (socket) => socket.resume());
  const recording = recordUpstream();
  const client = createClient(t, { connectMs: 100 });
  client.send(request(upstream.origin.replace('http', 'https')), recording);
  await recording.over;
  t.same(recording.events, ['connect_timeout']);
  await upstream.closed(0);
});

t.test('a certificate that nobody vouches for is refused before a byte of the request is sent', async (t) => {
  let requests = 0;
  const server = createHttpsServer(createSelfSignedCertificate('localhost'), (_message, response) => {
    requests += 1;
    response.end();
  });
  server.on('tlsClientError', () => {});
  const upstream = await listen(t, server, 'https');
  const recording = recordUpstream();
  createClient(t).send(request(upstream.origin.replace('127.0.0.1', 'localhost')), recording);
  await recording.over;
  t.same(recording.events, ['unreachable']);
  t.match(recording.failure?.cause, { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
  t.equal(requests, 0);
});

t.test('an upstream that does not speak TLS is unreachable over TLS', async (t) => {
  const upstream = await tcp(t, (socket) =>
    socket.once('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')),
  );
  const recording = recordUpstream();
  createClient(t).send(request(upstream.origin.replace('http', 'https')), recording);
  await recording.over;
  t.same(recording.events, ['unreachable']);
});

t.test('a private address is refused and nobody connects, unless it is allowed', async (t) => {
  const upstream = await http(t, (_message, response) => response.end('x'));
  const client = createClient(t);
  for (const host of ['127.0.0.1', 'localhost', '2130706433', '0x7f.1', '[::ffff:127.0.0.1]', '[::1]']) {
    const origin = `http://${host}:${upstream.port}`;
    const recording = recordUpstream();
    client.send(request(origin, { allowPrivate: false }), recording);
    t.same(recording.events, [], 'nobody is called before they hold the call');
    await recording.over;
    t.same(recording.events, ['private_address'], host);
    t.match(recording.failure?.cause, { code: 'ERR_PRIVATE_ADDRESS' });
  }
  t.equal(upstream.connections.length, 0);
});

t.test('an allowed call opens no door for one that is not', async (t) => {
  const upstream = await http(t, (_message, response) => response.end('x'));
  const client = createClient(t);
  for (const [allowPrivate, end] of [
    [true, 'end'],
    [false, 'private_address'],
    [true, 'end'],
  ] as const) {
    const recording = recordUpstream();
    client.send(request(upstream.origin.replace('127.0.0.1', 'localhost'), { allowPrivate }), recording);
    await recording.over;
    t.equal(recording.events.at(-1), end);
  }
  t.equal(upstream.connections.length, 1);
});

t.test('a request that cannot be made fails like any other', async (t) => {
  const upstream = await http(t, (_message, response) => response.end('x'));
  const client = createClient(t);
  for (const changes of [
    { headers: { 'x-bad': 'a\r\nb: c' } },
    { path: '/a b' },
    { path: 'no-slash' },
    { origin: 'x' },
  ]) {
    const recording = recordUpstream();
    client.send(request(upstream.origin, changes), recording);
    await recording.over;
    t.equal(recording.events.length, 1, JSON.stringify(changes));
    t.ok(recording.failure);
  }
  t.equal(upstream.connections.length, 0);
});

t.test('close waits for the calls that run; destroy does not', async (t) => {
  const gate = Promise.withResolvers<void>();
  const upstream = await http(t, (_message, response) => {
    response.write('half');
    gate.promise.then(
      () => response.end(),
      (error: unknown) => t.error(error),
    );
  });
  const closing = createClient(t);
  const first = recordUpstream();
  closing.send(request(upstream.origin), first);
  await first.begun;
  const closed = closing.close().then(() => first.events.push('closed'));
  await aWhile();
  t.notOk(first.events.includes('closed'));
  gate.resolve();
  await closed;
  t.same(first.events, ['dispatched', 'headers', 'data', 'end', 'closed']);

  const hanging = await http(t, (_message, response) => response.write('half'));
  const destroyed = createClient(t);
  const second = recordUpstream();
  destroyed.send(request(hanging.origin), second);
  await second.begun;
  await destroyed.destroy();
  await second.over;
  await hanging.closed(0);
  t.same(second.events, ['dispatched', 'headers', 'data', 'reset']);
  const late = recordUpstream();
  destroyed.send(request(hanging.origin), late);
  await late.over;
  t.equal(late.events.length, 1);
});
