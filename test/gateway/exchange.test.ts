import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { post, startGateway, type GatewayOptions, type TestGateway } from '../support/gateway.ts';
import {
  chunk,
  completion,
  endMarker,
  openStream,
  sendJson,
  startUpstream,
  usageChunk,
  type Answer,
  type Upstream,
} from '../support/upstream.ts';

const messages = [{ role: 'user', content: 'hi' }];
const streamBody = { model: 'gpt-4o-mini', messages, stream: true };

type World = { gateway: TestGateway; upstream: Upstream; token: string };

async function startWorld(t: Tap, answer: Answer, options: GatewayOptions = {}): Promise<World> {
  const upstream = await startUpstream(t, answer);
  const environment = { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url, ...options.environment };
  const gateway = await startGateway(t, { ...options, environment });
  return { gateway, upstream, token: (await gateway.createKey()).token };
}

type Tap = Parameters<typeof startGateway>[0];

const timeouts = (text: string): string => `timeouts: { ${text} }`;

/** A client whose reading a test controls: a raw socket that has sent its request. */
async function rawClient(world: World, body: unknown): Promise<Socket> {
  const { hostname, port } = new URL(world.gateway.url);
  const socket = connect({ host: hostname, port: Number(port) });
  await once(socket, 'connect');
  const text = JSON.stringify(body);
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${world.token}\r\n` +
      `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  );
  return socket;
}

const inflight = async (world: World): Promise<number> => {
  const metrics = await world.gateway.app.metrics.registry.getSingleMetricAsString('tollgate_inflight_requests');
  return [...metrics.matchAll(/} (\d+)/g)].reduce((sum, match) => sum + Number(match[1]), 0);
};

async function slotsFree(t: Tap, world: World): Promise<void> {
  const response = await fetch(`${world.gateway.url}/metrics`);
  t.match(await response.text(), /tollgate_open_leases 0/, 'no slot is held');
  t.equal(await inflight(world), 0);
}

t.test('a client that leaves closes the upstream within a second, in every phase', async (t) => {
  const phases: Record<string, { answer: Answer; status: number }> = {
    'before headers': { answer: () => undefined, status: 499 },
    'in the middle of a stream': {
      answer: (_request, response) => {
        openStream(response);
        response.write(chunk({ role: 'assistant', content: '' }) + chunk({ content: 'a' }) + chunk({ content: 'b' }));
      },
      status: 499,
    },
    'in the middle of a reply': {
      answer: (_request, response) => {
        response.writeHead(200, { 'content-type': 'application/json' });
        response.write('{"id":');
      },
      status: 499,
    },
  };
  for (const [name, { answer, status }] of Object.entries(phases)) {
    await t.test(name, async (t) => {
      const world = await startWorld(t, answer);
      const socket = await rawClient(world, streamBody);
      while (world.upstream.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      await new Promise((resolve) => setTimeout(resolve, 50));
      const leftAt = performance.now();
      socket.destroy();
      const closedAt = await world.upstream.requests[0]?.closedEarly;
      t.ok((closedAt ?? Infinity) - leftAt < 1000, 'the upstream was closed');
      const rows = await world.gateway.rows(1);
      t.equal(rows.length, 1);
      t.match(rows[0], { status: 'client_abort', http_status: status, usage_source: 'estimated', rank: 2 });
      if (name === 'in the middle of a stream') t.equal(rows[0]?.['completion_tokens'], 2);
      await slotsFree(t, world);
    });
  }
});

t.test('a stream that breaks off ends with an error event, never with an end marker', async (t) => {
  const world = await startWorld(t, (_request, response) => {
    openStream(response);
    response.write(chunk({ role: 'assistant', content: 'a' }));
    setTimeout(() => response.destroy(), 30);
  });
  const text = await (await post(world.gateway, world.token, streamBody)).text();
  t.match(text, /"code":"upstream_stream_truncated"/);
  t.notMatch(text, /\[DONE\]/);
  t.ok(text.endsWith('\n\n'));
  const [row] = await world.gateway.rows(1);
  t.match(row, { status: 'upstream_error', http_status: 200, error_code: 'upstream_stream_truncated', rank: 2 });
});

t.test('a stream that ends without a finish reason is no success', async (t) => {
  const world = await startWorld(t, (_request, response) => {
    openStream(response);
    response.end(chunk({ role: 'assistant', content: 'a' }));
  });
  const text = await (await post(world.gateway, world.token, streamBody)).text();
  t.match(text, /upstream_stream_truncated/);
  t.notMatch(text, /\[DONE\]/);
});

t.test('a stream with a finish reason but no end marker is completed for the client', async (t) => {
  const world = await startWorld(t, (_request, response) => {
    openStream(response);
    response.write(chunk({ role: 'assistant', content: 'a' }) + chunk({}, 'stop') + usageChunk);
    setTimeout(() => response.destroy(), 20);
  });
  const text = await (await post(world.gateway, world.token, streamBody)).text();
  t.ok(text.endsWith(endMarker));
  const [row] = await world.gateway.rows(1);
  t.match(row, { status: 'ok', prompt_tokens: 9, usage_source: 'provider', rank: 3 });
});

t.test('an error in the first event of a 200 becomes a status', async (t) => {
  const world = await startWorld(t, (_request, response) => {
    openStream(response);
    response.end('data: {"error":{"message":"overloaded","type":"server_error","code":"overloaded"}}\n\n');
  });
  const response = await post(world.gateway, world.token, streamBody);
  t.ok(response.status >= 500);
  t.match(response.headers.get('content-type'), /application\/json/);
  t.ok(response.headers.get('x-ratelimit-limit-requests'));
  const [row] = await world.gateway.rows(1);
  t.match(row, { status: 'upstream_error', completion_tokens: 0, prompt_tokens: 0 });
});

t.test('no answer in time is 504, and the row says that nobody knows', async (t) => {
  const world = await startWorld(t, () => undefined, { yaml: timeouts('first_byte: 150ms') });
  const response = await post(world.gateway, world.token, streamBody);
  t.equal(response.status, 504);
  t.match(await response.json(), { error: { code: 'timeout' } });
  const [row] = await world.gateway.rows(1);
  t.match(row, { status: 'unknown', http_status: 504, completion_tokens: 0, usage_source: 'estimated', rank: 2 });
  await slotsFree(t, world);
});

t.test("c117 the client's own deadline shortens ours", async (t) => {
  const world = await startWorld(t, () => undefined);
  const startedMs = performance.now();
  const response = await post(
    world.gateway,
    world.token,
    { model: 'gpt-4o-mini', messages },
    { headers: { 'x-stainless-timeout': '0.2' } },
  );
  t.equal(response.status, 504);
  t.ok(performance.now() - startedMs < 5000);
});

t.test('an upstream that falls silent is cut with an error event although we ping', async (t) => {
  const world = await startWorld(
    t,
    (_request, response) => {
      openStream(response);
      response.write(chunk({ role: 'assistant', content: 'a' }));
    },
    { yaml: timeouts('idle: 400ms, keep_alive_comment: 100ms') },
  );
  const text = await (await post(world.gateway, world.token, streamBody)).text();
  t.match(text, /: ping\n\n/);
  t.match(text, /"code":"timeout"/);
  t.notMatch(text, /\[DONE\]/);
});

t.test('a slow first token is bridged by comments, and an error is then told in-band', async (t) => {
  const world = await startWorld(
    t,
    (request, response) => {
      setTimeout(() => {
        if (request.body['user'] === 'fail')
          sendJson(response, { error: { message: 'no', type: 'server_error' } }, 500);
        else {
          openStream(response);
          response.end(chunk({ role: 'assistant', content: 'a' }) + chunk({}, 'stop') + endMarker);
        }
      }, 300);
    },
    { yaml: timeouts('keep_alive_comment: 60ms') },
  );
  const good = await post(world.gateway, world.token, streamBody);
  t.equal(good.status, 200);
  const text = await good.text();
  t.ok(text.startsWith(': ping\n\n') && text.endsWith(endMarker));
  const failed = await (await post(world.gateway, world.token, { ...streamBody, user: 'fail' })).text();
  t.match(failed, /^: ping\n\n/);
  t.match(failed, /data: \{"error":/);
  t.notMatch(failed, /\[DONE\]/);
});

t.test('a client that stops reading is cut, its upstream with it, and memory stays bounded', async (t) => {
  let sent = 0;
  const world = await startWorld(
    t,
    (_request, response) => {
      openStream(response);
      const event = chunk({ content: 'x'.repeat(60_000) });
      const more = (): void => {
        while (sent < 200 * 1024 * 1024) {
          sent += event.length;
          if (!response.write(event)) {
            response.once('drain', more);
            return;
          }
        }
      };
      more();
    },
    { yaml: timeouts('client_stall: 400ms') },
  );
  const socket = await rawClient(world, streamBody);
  socket.pause();
  await world.upstream.requests[0]?.closedEarly;
  while (world.upstream.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await world.upstream.requests[0]?.closedEarly;
  t.ok(sent < 100 * 1024 * 1024, `the upstream was held back at ${Math.round(sent / 1024)} KiB`);
  const [row] = await world.gateway.rows(1);
  t.match(row, { status: 'client_stall', rank: 2 });
  socket.destroy();
  await slotsFree(t, world);
});

t.test('an upstream that keeps its connection behind the end marker does not hold the reply', async (t) => {
  const world = await startWorld(t, (_request, response) => {
    openStream(response);
    response.write(chunk({ role: 'assistant', content: 'a' }) + chunk({}, 'stop') + endMarker);
  });
  const startedMs = performance.now();
  const text = await (await post(world.gateway, world.token, streamBody)).text();
  t.ok(text.endsWith(endMarker));
  t.ok(performance.now() - startedMs < 8000);
  t.match((await world.gateway.rows(1))[0], { status: 'ok' });
});

t.test('the next target answers while the client has seen nothing, and both attempts are told', async (t) => {
  const failing = await startUpstream(t, (_request, response) =>
    sendJson(response, { error: { message: 'down' } }, 503),
  );
  const world = await startWorld(t, (_request, response) => sendJson(response, completion('from the second')), {
    yaml: `
providers:
  first: { dialect: openai-exact, base_url: "${failing.url}", allow_private: true }
models:
  both: [first/some-model, openai/gpt-4o-mini]
`,
  });
  const response = await post(world.gateway, world.token, { model: 'both', messages });
  t.equal(response.status, 200);
  t.match(await response.json(), { choices: [{ message: { content: 'from the second' } }] });
  t.equal(response.headers.get('x-tollgate-attempts'), '2');
  t.equal(response.headers.get('x-tollgate-provider'), 'openai');
  const rows = await world.gateway.rows(1);
  t.equal(rows.length, 1);
  t.match(rows[0], {
    status: 'ok',
    provider: 'openai',
    attempts: [
      { provider: 'first', status: 503 },
      { provider: 'openai', status: 200, errorCode: null },
    ],
  });
});

t.test("a caller's own mistake is not tried elsewhere", async (t) => {
  const second = await startUpstream(t, (_request, response) => sendJson(response, completion('never')));
  const world = await startWorld(
    t,
    (_request, response) =>
      sendJson(
        response,
        { error: { message: 'temperature is wrong', type: 'invalid_request_error', param: 'temperature', code: null } },
        400,
      ),
    {
      yaml: `
providers:
  second: { dialect: openai-exact, base_url: "${second.url}", allow_private: true }
models:
  both: [openai/gpt-4o-mini, second/some-model]
`,
    },
  );
  const response = await post(world.gateway, world.token, { model: 'both', messages });
  t.equal(response.status, 400);
  t.match(await response.json(), { error: { param: 'temperature' } });
  t.equal(second.requests.length, 0);
});

t.test('what a provider says of our credentials never reaches a caller', async (t) => {
  const world = await startWorld(t, (_request, response) =>
    sendJson(response, { error: { message: 'Incorrect API key provided: sk-upstream', code: 'invalid_api_key' } }, 401),
  );
  const response = await post(world.gateway, world.token, { model: 'gpt-4o-mini', messages });
  t.equal(response.status, 502);
  const text = await response.text();
  t.match(text, /upstream_authentication/);
  t.notMatch(text, /sk-upstream/);
  t.equal(response.headers.get('x-should-retry'), 'false');
  t.notMatch(JSON.stringify(world.gateway.logLines()), /sk-upstream/);
});

t.test('HTML, half a document, compression and redirects become a clean 502', async (t) => {
  const answers: Record<string, Answer> = {
    html: (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/html' });
      response.end('<html>secret proxy</html>');
    },
    half: (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"id":"x","choices":[');
    },
    compressed: (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' });
      response.end('xx');
    },
    redirect: (_request, response) => {
      response.writeHead(302, { location: 'http://169.254.169.254/' });
      response.end();
    },
    empty: (_request, response) => {
      response.writeHead(200).end();
    },
  };
  const world = await startWorld(t, (request, response) => answers[String(request.body['user'])]?.(request, response));
  for (const user of Object.keys(answers)) {
    const response = await post(world.gateway, world.token, { model: 'gpt-4o-mini', messages, user });
    t.equal(response.status, 502, user);
    const text = await response.text();
    t.match(text, /"code":"upstream_error"/, user);
    t.notMatch(text, /secret proxy/);
  }
});

t.test('a private address is refused unless the operator allowed it', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('never')));
  const gateway = await startGateway(t, {
    yaml: `providers: { inside: { dialect: openai-exact, base_url: "${upstream.url}" } }`,
  });
  const { token } = await gateway.createKey();
  const response = await post(gateway, token, { model: 'inside/some-model', messages });
  t.equal(response.status, 502);
  t.equal(upstream.requests.length, 0);
});
