import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import t from 'tap';
import { findFreePort } from '../../scripts/server-process.ts';
import { generateApiKey } from '../../src/auth/api-key.ts';
import { openRedis } from '../../src/platform/redis.ts';
import { openFaultProxy } from '../faults/fault-proxy.ts';
import { createTestDatabase, silentLog } from '../support/database.ts';
import { completion, sendJson, startUpstream } from '../support/upstream.ts';

type Tap = Parameters<typeof createTestDatabase>[0];
type Running = { child: ChildProcess; url: string; stderr: () => string; stdout: () => string };

const main = join(import.meta.dirname, '..', '..', 'src', 'main.ts');
/** A numbered database of its own: a gateway with the usual key names drains whatever stream it finds. */
function redisUrlOf(number: number): string {
  const url = new URL(process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379');
  url.pathname = `/${number}`;
  return url.href;
}

function temporaryFolder(t: Tap): string {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-serve-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function start(t: Tap, environment: Record<string, string>, words: readonly string[] = ['serve']): Running {
  const child = spawn(process.execPath, [main, ...words], {
    env: { PATH: process.env['PATH'] ?? '', PORT: '0', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const output = { stdout: '', stderr: '' };
  child.stdout?.on('data', (bytes: Buffer) => (output.stdout += bytes.toString()));
  child.stderr?.on('data', (bytes: Buffer) => (output.stderr += bytes.toString()));
  return { child, url: '', stderr: () => output.stderr, stdout: () => output.stdout };
}

async function startReady(t: Tap, environment: Record<string, string>): Promise<Running> {
  const running = start(t, environment);
  for (;;) {
    const url = /up at (http:\/\/localhost:\d+)/.exec(running.stderr())?.[1];
    if (url !== undefined) return { ...running, url: url.replace('localhost', '127.0.0.1') };
    if (running.child.exitCode !== null) throw new Error(`it ended: ${running.stderr()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function stop(running: Running): Promise<number | null> {
  const ended = once(running.child, 'exit');
  running.child.kill('SIGTERM');
  await ended;
  return running.child.exitCode;
}

t.test('one command gives a key once, streams from the demo, and ends cleanly', async (t) => {
  const folder = temporaryFolder(t);
  const first = await startReady(t, { TOLLGATE_DATA: folder });
  const apiKey = /sk-tg-\w+/.exec(first.stderr())?.[0] ?? '';
  t.match(first.stderr(), /curl -N http/);
  const client = new OpenAI({ baseURL: `${first.url}/v1`, apiKey });
  const stream = await client.chat.completions.create({
    model: 'demo/lorem',
    stream: true,
    messages: [{ role: 'user', content: 'Hello' }],
  });
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
  t.ok(text.length > 100);

  const second = start(t, { TOLLGATE_DATA: folder });
  await once(second.child, 'exit');
  t.equal(second.child.exitCode, 1);
  t.match(second.stderr(), new RegExp(String(first.child.pid)), 'a second process says who holds the folder');

  t.equal(await stop(first), 0);
  t.notMatch(first.stdout(), apiKey, 'the key is in no log line');
  const again = await startReady(t, { TOLLGATE_DATA: folder });
  t.notMatch(again.stderr(), /sk-tg-\w{20}/, 'it is shown only once');
  const known = new OpenAI({ baseURL: `${again.url}/v1`, apiKey });
  t.ok((await known.models.list()).data.length > 0, 'it still works after a restart');
  t.equal(await stop(again), 0);
});

t.test('with Postgres, Redis and a provider it relays, and the row is in Postgres', async (t) => {
  const database = await createTestDatabase(t, { migrated: false });
  const upstream = await startUpstream(t, (_request, response) => sendJson(response, completion('hello')));
  const redisUrl = redisUrlOf(9);
  const redis = openRedis(redisUrl, silentLog);
  await once(redis, 'ready');
  await redis.flushdb();
  t.teardown(async () => {
    await redis.flushdb();
    redis.disconnect();
  });
  const { token } = generateApiKey();
  const running = await startReady(t, {
    TOLLGATE_DATA: temporaryFolder(t),
    DATABASE_URL: database.url,
    REDIS_URL: redisUrl,
    TOLLGATE_SECRET: 'a-secret-for-tests-of-32-characters',
    TOLLGATE_BOOTSTRAP_KEY: token,
    OPENAI_API_KEY: 'sk-upstream',
    OPENAI_BASE_URL: upstream.url,
  });
  const client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: token });
  const reply = await client.chat.completions.create({
    model: 'gpt-4o-mini',
    messages: [{ role: 'user', content: 'Hello' }],
  });
  t.equal(reply.choices[0]?.message.content, 'hello');
  t.equal(await stop(running), 0);
  const rows = await database.db.selectFrom('usage_events').selectAll().execute();
  t.equal(rows.length, 1, 'also when the process ends at once');
  t.match(rows[0], { status: 'ok', prompt_tokens: 9, completion_tokens: 3 });
});

/** A gateway whose stores are both away, as soon as its port answers. */
async function startWithoutStores(t: Tap) {
  const database = await createTestDatabase(t);
  const stores = [await openFaultProxy(t, database.url, 5432), await openFaultProxy(t, redisUrlOf(9), 6379)];
  for (const store of stores) store.setMode('refuse');
  const port = await findFreePort();
  const running = start(t, {
    TOLLGATE_DATA: temporaryFolder(t),
    DATABASE_URL: stores[0]?.url ?? '',
    REDIS_URL: stores[1]?.url ?? '',
    TOLLGATE_SECRET: 'a-secret-for-tests-of-32-characters',
    PORT: String(port),
  });
  const ask = async (path: string): Promise<Response | null> =>
    fetch(`http://127.0.0.1:${port}${path}`).catch(() => null);
  while ((await ask('/healthz')) === null) {
    if (running.child.exitCode !== null) throw new Error(`it ended: ${running.stderr()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { running, stores, ask };
}

t.test('without its stores it is alive and not ready, and it serves as soon as they are there', async (t) => {
  const { running, stores, ask } = await startWithoutStores(t);
  t.equal((await ask('/healthz'))?.status, 200);
  t.equal((await ask('/readyz'))?.status, 503);
  const refused = await ask('/v1/models');
  t.match(
    { status: refused?.status, retryAfter: refused?.headers.get('retry-after') },
    { status: 503, retryAfter: '1' },
  );
  t.match(await refused?.json(), { error: { code: 'auth_unavailable' } });
  for (const store of stores) store.setMode('pass');
  const thereAtMs = performance.now();
  while ((await ask('/readyz'))?.status !== 200) {
    if (running.child.exitCode !== null) throw new Error(`it ended: ${running.stderr()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.comment(`ready ${Math.round(performance.now() - thereAtMs)} ms after its stores`);
  t.equal((await ask('/v1/models'))?.status, 401, 'the gateway itself answers');
  t.equal(await stop(running), 0);
});

t.test('told to stop while it waits for its stores, it ends', async (t) => {
  const { running } = await startWithoutStores(t);
  const toldAtMs = performance.now();
  t.equal(await stop(running), 0);
  t.comment(`ended after ${Math.round(performance.now() - toldAtMs)} ms`);
  t.match(running.stdout(), /"msg":"stopped"/);
});

t.test('a stream that runs when the process is told to stop is whole, and its row is written', async (t) => {
  const folder = temporaryFolder(t);
  const running = await startReady(t, { TOLLGATE_DATA: folder });
  const apiKey = /sk-tg-\w+/.exec(running.stderr())?.[0] ?? '';
  const client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey, maxRetries: 0 });
  const stream = await client.chat.completions.create({
    model: 'demo/lorem',
    stream: true,
    messages: [{ role: 'user', content: 'Hello' }],
  });
  const ended = once(running.child, 'exit');
  let finishReason: string | null = null;
  let chunks = 0;
  for await (const chunk of stream) {
    chunks += 1;
    if (chunks === 3) running.child.kill('SIGTERM');
    finishReason = chunk.choices[0]?.finish_reason ?? finishReason;
  }
  t.equal(finishReason, 'stop');
  await ended;
  t.equal(running.child.exitCode, 0);
  t.match(running.stdout(), /"outcome":"ok"/);
  await t.rejects(fetch(`${running.url}/healthz`), 'nothing listens any more');
});

t.test('two gateways without Redis on one database would double every limit', async (t) => {
  const database = await createTestDatabase(t);
  const environment = { DATABASE_URL: database.url, TOLLGATE_SECRET: 'a-secret-for-tests-of-32-characters' };
  const first = await startReady(t, { ...environment, TOLLGATE_DATA: temporaryFolder(t) });
  const second = start(t, { ...environment, TOLLGATE_DATA: temporaryFolder(t) });
  await once(second.child, 'exit');
  t.equal(second.child.exitCode, 1);
  t.match(second.stderr(), /REDIS_URL/);
  t.equal(await stop(first), 0);
});

t.test('a mistake is told in a sentence, with the exit code of its kind', async (t) => {
  const cases = [
    { words: ['serf'], code: 2, says: /There is no command "serf"/ },
    { words: ['serve', '--prot', '1'], code: 2, says: /--prot/ },
    { words: ['serve', '--config', '/nowhere.yaml'], code: 1, says: /nowhere\.yaml/ },
    { words: ['--help'], code: 0, says: /Usage: tollgate/ },
    { words: ['keys', '--help'], code: 0, says: /Examples:/ },
    { words: ['healthcheck', '--port', '1'], code: 1, says: /unhealthy/ },
  ];
  for (const { words, code, says } of cases) {
    const running = start(t, {}, words);
    await once(running.child, 'exit');
    t.equal(running.child.exitCode, code, words.join(' '));
    t.match(running.stderr() + running.stdout(), says, words.join(' '));
  }
});
