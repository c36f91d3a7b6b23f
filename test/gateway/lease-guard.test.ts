/** A reply whose lease ran out: it waits, and goes on or is cut, with every byte in its place. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { createDeclaredProvider } from '../../providers/index.ts';
import type { Lease } from '../../src/contract/admission.ts';
import type { Principal } from '../../src/contract/flow.ts';
import { readChatRequest } from '../../src/gateway/chat-request.ts';
import type { Flow, Outcome } from '../../src/gateway/flow.ts';
import { createRelay } from '../../src/gateway/relay.ts';
import { createWatchdog } from '../../src/gateway/watchdog.ts';
import { createAssetFetch } from '../../src/upstream/asset-fetch.ts';
import { createCredentials } from '../../src/upstream/credentials.ts';
import { createUpstreamClient } from '../../src/upstream/client.ts';
import { chunk, completion, endMarker, openStream, sendJson, startUpstream, type Answer } from '../support/upstream.ts';

const none = { requestsPerMinute: null, tokensPerMinute: null, concurrency: null };
const second = 1000;

/** A lease that a test ends and whose renewals it answers. */
type TestLease = Lease & { deadlineMs: number; renewals: ((isHeld: boolean) => void)[]; asked: () => Promise<void> };

function createLease(): TestLease {
  const lease: TestLease = {
    deadlineMs: performance.now() + 1000 * second,
    renewals: [],
    renew: () =>
      new Promise((resolve) => {
        lease.renewals.push((isHeld) => {
          if (isHeld) lease.deadlineMs = performance.now() + 1000 * second;
          resolve(isHeld);
        });
      }),
    async asked() {
      while (lease.renewals.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    },
  };
  return lease;
}

type World = {
  lease: TestLease;
  outcome: Promise<Outcome>;
  /** The reply, which begins with the request. */
  reply: Promise<Response>;
};

type WorldOptions = {
  answer: Answer;
  strictLeases?: boolean;
  stream?: boolean;
  /** What the provider wants to be shown, where it has to be fetched first. */
  token?: Promise<string>;
};

async function startWorld(
  t: Test,
  { answer, strictLeases = false, stream = true, token }: WorldOptions,
): Promise<World> {
  const lease = createLease();
  const upstream = await startUpstream(t, answer);
  const client = createUpstreamClient({ connectMs: 5 * second });
  const watchdog = createWatchdog(20);
  const settled = Promise.withResolvers<Outcome>();
  const { origin, pathname } = new URL(upstream.url);
  const adapter = createDeclaredProvider({ id: 'house', dialect: 'openai-exact', baseUrl: upstream.url });
  const fetched = {
    headersFor: async () => ({ authorization: (await token) ?? '', 'content-type': 'application/json' }),
  };
  const own = createCredentials({
    sources: [{ weight: 1, read: () => 'sk-house' }],
    common: { 'content-type': 'application/json' },
    authorize: (secret) => adapter.authorize(secret),
    signing: undefined,
  });
  const provider = {
    adapter,
    origin,
    basePath: pathname,
    allowPrivate: true,
    credentialsFor: () => (token === undefined ? own : fetched),
  };
  const relay = createRelay({
    providers: new Map([['house', provider]]),
    upstream: client,
    assets: createAssetFetch({ hosts: [] }),
    timeouts: {
      connectMs: 5 * second,
      firstByteMs: 60 * second,
      idleMs: 60 * second,
      totalMs: 60 * second,
      clientStallMs: 60 * second,
      keepAliveCommentMs: 60 * second,
    },
    watchdog,
    randomId: () => 'id',
    onDispatched: () => {},
    onProgress: () => {},
    onAttempt: () => {},
    settle: (_flow, outcome) => settled.resolve(outcome),
  });
  const principal: Principal = {
    accountId: 'a1',
    keyId: 'k1',
    tier: { id: 'pro', priceUsd: '0', limits: none, historyDays: null, models: '*', strictLeases },
    keyLimits: none,
    keyModels: '*',
    authVersion: { account: 1, key: 1 },
  };
  const body = { model: 'house/x', messages: [{ role: 'user', content: 'hi' }], stream };
  const server = createServer((_request, response) => {
    const flow: Flow = {
      requestId: '01890000-0000-7000-8000-000000000001',
      startedAtMs: Date.now(),
      startedMonotonicMs: performance.now(),
      endpoint: 'chat.completions',
      principal,
      reload: async () => principal,
      request: readChatRequest(Buffer.from(JSON.stringify(body))),
      route: { publicModel: 'house/x', targets: [{ providerId: 'house', upstreamModel: 'x', model: null }] },
      plan: { buckets: [], concurrency: [], budgets: [], reservedTokens: 0 },
      lease,
      inputTokens: 1,
      limitHeaders: {},
      isStrict: false,
      deadlineMs: null,
      client: response,
      takeOver: () => {},
    };
    relay(flow).catch((error: unknown) => response.writeHead(503).end(String(error)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    server.closeAllConnections();
    server.close();
    watchdog.close();
    await client.destroy();
  });
  return {
    lease,
    outcome: settled.promise,
    reply: fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
  };
}

const first = chunk({ role: 'assistant', content: 'one' });
const rest = chunk({ content: 'two' }) + chunk({}, 'stop') + endMarker;

/** Sends the first event, and the rest when it is told to; then everything of the stream has been said. */
function inTwoParts(): { answer: Answer; sendRest: () => void; isAsked: Promise<void> } {
  const asked = Promise.withResolvers<void>();
  const more = Promise.withResolvers<void>();
  return {
    isAsked: asked.promise,
    sendRest: () => more.resolve(),
    async answer(_request, response) {
      openStream(response);
      response.write(first);
      asked.resolve();
      await more.promise;
      response.end(rest);
    },
  };
}

async function readFirst(reply: Response): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const reader = (reply.body as ReadableStream<Uint8Array>).getReader();
  const { value = new Uint8Array() } = await reader.read();
  t.equal(Buffer.from(value).toString(), first);
  return reader;
}

async function readAll(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  let text = '';
  for (let next = await reader.read(); !next.done; next = await reader.read()) text += Buffer.from(next.value);
  return text;
}

t.test(
  'nothing is forwarded behind the end of a lease until it is renewed, and then everything in order',
  async (t) => {
    const parts = inTwoParts();
    const { lease, reply, outcome } = await startWorld(t, parts);
    const reader = await readFirst(await reply);
    lease.deadlineMs = 0;
    parts.sendRest();
    await lease.asked();
    let isForwarded = false;
    const text = readAll(reader).finally(() => {
      isForwarded = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    t.notOk(isForwarded, 'it waits');
    lease.renewals[0]?.(true);
    t.equal(await text, rest);
    t.equal(lease.renewals.length, 1, 'asked once');
    t.match(await outcome, { ending: 'complete', isLeaseLost: false });
  },
);

t.test('a stream whose lease cannot be renewed ends as it would, and is marked', async (t) => {
  const parts = inTwoParts();
  const { lease, reply, outcome } = await startWorld(t, parts);
  const reader = await readFirst(await reply);
  lease.deadlineMs = 0;
  await lease.asked();
  lease.renewals[0]?.(false);
  parts.sendRest();
  t.equal(await readAll(reader), rest);
  t.equal(lease.renewals.length, 1, 'and does not ask at every chunk');
  t.match(await outcome, { ending: 'complete', error: null, isLeaseLost: true });
});

t.test('under strict leases it is cut with an error event, also when the provider is silent', async (t) => {
  const parts = inTwoParts();
  const { lease, reply, outcome } = await startWorld(t, { ...parts, strictLeases: true });
  const reader = await readFirst(await reply);
  lease.deadlineMs = 0;
  await lease.asked();
  lease.renewals[0]?.(false);
  const text = await readAll(reader);
  t.match(text, /^data: \{"error":.*"code":"lease_lost"/);
  t.notMatch(text, /\[DONE\]/);
  t.match(await outcome, { ending: 'lease_lost', isLeaseLost: true, error: { status: 503 }, httpStatus: 200 });
  parts.sendRest();
});

t.test('a plain reply waits as well, and under strict leases is not given', async (t) => {
  for (const [isHeld, status] of [
    [true, 200],
    [false, 503],
  ] as const) {
    const asked = Promise.withResolvers<void>();
    const more = Promise.withResolvers<void>();
    const { lease, reply, outcome } = await startWorld(t, {
      stream: false,
      strictLeases: true,
      async answer(_request, response) {
        asked.resolve();
        await more.promise;
        sendJson(response, completion('hello'));
      },
    });
    await asked.promise;
    lease.deadlineMs = 0;
    more.resolve();
    await lease.asked();
    lease.renewals[0]?.(isHeld);
    const response = await reply;
    t.equal(response.status, status);
    t.match(await response.text(), isHeld ? /hello/ : /could not be confirmed/);
    t.match(await outcome, { ending: isHeld ? 'complete' : 'lease_lost' });
  }
});

t.test('a client that leaves while its reply waits is settled at once', async (t) => {
  const parts = inTwoParts();
  const { lease, reply, outcome } = await startWorld(t, parts);
  const reader = await readFirst(await reply);
  lease.deadlineMs = 0;
  parts.sendRest();
  await lease.asked();
  await reader.cancel();
  t.match(await outcome, { ending: 'client_abort' });
  lease.renewals[0]?.(true);
});

t.test('a reply that is complete and only has to reach its client is not cut for its lease', async (t) => {
  const content = 'x'.repeat(30 * 1024 * 1024);
  const { lease, reply, outcome } = await startWorld(t, {
    stream: false,
    strictLeases: true,
    answer: (_request, response) => sendJson(response, completion(content)),
  });
  const response = await reply;
  lease.deadlineMs = 0;
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.same(lease.renewals, []);
  t.ok((await response.text()).includes(content));
  t.match(await outcome, { ending: 'complete', isLeaseLost: false });
});

t.test('a request waits for its token, and is sent with it', async (t) => {
  const token = Promise.withResolvers<string>();
  const shown: (string | undefined)[] = [];
  const answer: Answer = (request, response) => {
    shown.push(request.headers.authorization);
    openStream(response);
    response.end(first + rest);
  };
  const { reply, outcome } = await startWorld(t, { answer, token: token.promise });
  token.resolve('Bearer late');
  t.ok((await (await reply).text()).endsWith(endMarker));
  t.match(await outcome, { ending: 'complete' });
  t.same(shown, ['Bearer late']);
});
