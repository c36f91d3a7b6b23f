import { createServer, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { openRedis, reconnectDelayMs, type OpenRedisOptions } from '../../src/platform/redis.ts';

const redisUrl = process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379';

function openSubject(t: Test, url: string, options: OpenRedisOptions = {}) {
  const lines: string[] = [];
  const log = {
    info: (_: object, message: string) => lines.push(message),
    warn: (_: object, message: string) => lines.push(message),
  };
  const redis = openRedis(url, log, options);
  t.teardown(() => redis.disconnect());
  const next = (event: string) => new Promise<void>((resolve) => redis.once(event, () => resolve()));
  return { redis, lines, next };
}

/** Takes connections and says nothing. */
async function openSilentServer(t: Test): Promise<{ url: string; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets };
}

t.test('refuses a command at once when there is no connection', async (t) => {
  const { url } = await openSilentServer(t);
  const { redis } = openSubject(t, url);
  await t.rejects(redis.ping(), /enableOfflineQueue/);
});

t.test('keeps the shapes of replies that the script relies on', async (t) => {
  const { redis, next } = openSubject(t, redisUrl);
  await next('ready');
  const script = "return { 'word', 1.9, -3, false, { 'inner', 2 }, 1790000000000000 }";
  t.same(await redis.eval(script, 0), ['word', 1, -3, null, ['inner', 2], 1_790_000_000_000_000]);
  await t.rejects(redis.evalsha('0'.repeat(40), 0), /^(?:ReplyError: )?NOSCRIPT/);
});

t.test('says one line for each change of state when the connection breaks and comes back', async (t) => {
  const { redis, lines, next } = openSubject(t, redisUrl);
  await next('ready');
  const back = next('ready');
  redis.disconnect(true);
  await back;
  t.same(lines, ['redis connected', 'redis connection lost', 'redis connection is back']);
});

t.test('says one line when the server stays away for many attempts', async (t) => {
  const { url, sockets } = await openSilentServer(t);
  const { lines, next } = openSubject(t, url);
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const reconnecting = next('reconnecting');
    await next('connect');
    for (const socket of sockets) socket.destroy();
    await reconnecting;
  }
  t.same(lines, ['redis connection lost']);
});

t.test('waits longer after each failed attempt, never more than a second, and never in step', (t) => {
  const first = Array.from({ length: 50 }, () => reconnectDelayMs(1));
  t.ok(first.every((delayMs) => delayMs >= 75 && delayMs <= 100));
  t.ok(new Set(first).size > 1);
  t.ok(reconnectDelayMs(100) >= 750 && reconnectDelayMs(100) <= 1000);
  t.end();
});

t.test('lets a blocking read wait when its socket may be silent for longer than it blocks', async (t) => {
  const { redis, lines, next } = openSubject(t, redisUrl, { commandTimeoutMs: 2_000, socketTimeoutMs: 1_000 });
  await next('ready');
  t.equal(await redis.blpop(`tg-test-${process.pid}:nothing`, 0.3), null);
  t.same(lines, ['redis connected']);
});

t.test('gives a silent connection up when a reply is due for longer than allowed', async (t) => {
  const { redis, lines, next } = openSubject(t, redisUrl, { commandTimeoutMs: 2_000, socketTimeoutMs: 100 });
  await next('ready');
  const lost = next('reconnecting');
  const read = redis.blpop(`tg-test-${process.pid}:nothing`, 1);
  read.catch(() => {
    // Its connection went; what counts is that it did.
  });
  await lost;
  t.same(lines, ['redis connected', 'redis connection lost']);
});
