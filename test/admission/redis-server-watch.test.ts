import { createServer, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { Every } from '../../src/admission/clock.ts';
import {
  findProblem,
  hasMemoryLeft,
  watchRedisServer,
  type ServerWatchOptions,
} from '../../src/admission/redis-server-watch.ts';
import { openRedis } from '../../src/platform/redis.ts';

const info = (fields: Record<string, string | number>): string =>
  Object.entries({ redis_version: '7.0.15', maxmemory_policy: 'noeviction', maxmemory: 0, aof_enabled: 1, ...fields })
    .map(([name, value]) => `${name}:${value}\r\n`)
    .join('');

t.test('finds no fault when the server is new enough and never evicts', (t) => {
  t.equal(findProblem(info({}), false), null);
  t.equal(findProblem(info({ redis_version: '8.2.1' }), false), null);
  t.equal(findProblem(info({ redis_version: '10.0.0' }), false), null);
  t.end();
});

t.test('names the fault when the server is too old or evicts', (t) => {
  t.match(findProblem(info({ redis_version: '6.2.7' }), true), /7 or newer .* 6\.2\.7/);
  t.match(findProblem('', true), /unknown version/);
  t.match(findProblem(info({ maxmemory_policy: 'allkeys-lru' }), false), /allkeys-lru/);
  t.equal(findProblem(info({ maxmemory_policy: 'allkeys-lru' }), true), null);
  t.end();
});

t.test('keeps a share of the memory for settlements', (t) => {
  t.ok(hasMemoryLeft(info({ used_memory: 999_999 })), 'no maximum');
  t.ok(hasMemoryLeft(info({ maxmemory: 1000, used_memory: 850 })));
  t.notOk(hasMemoryLeft(info({ maxmemory: 1000, used_memory: 851 })));
  t.end();
});

/** Speaks just enough of the protocol for a client to connect and ask for INFO. */
async function openDescribedServer(t: Test, description: { text: string }): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      for (const [, command] of chunk.toString().matchAll(/\*\d+\r\n\$\d+\r\n(\w+)\r\n/g)) {
        const { text } = description;
        if (command?.toLowerCase() === 'info') socket.write(`$${text.length}\r\n${text}\r\n`);
        else socket.write(command?.toLowerCase() === 'hello' ? '-NOPROTO unsupported\r\n' : '+OK\r\n');
      }
    });
  });
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function openSubject(
  t: Test,
  description: { text: string },
  allowEviction: boolean,
  further: Pick<ServerWatchOptions, 'findFurtherProblem' | 'onRestart'> = {},
) {
  const redis = openRedis(await openDescribedServer(t, description), { info: () => {}, warn: () => {} });
  t.teardown(() => redis.disconnect());
  const lines: string[] = [];
  const log = {
    warn: (_: object, message: string) => lines.push(message),
    error: (_: object, message: string) => lines.push(message),
  };
  let poll: () => void | Promise<void> = () => {};
  const every: Every = (_periodMs, work) => {
    poll = work;
    return () => {};
  };
  const watch = watchRedisServer(redis, { log, allowEviction, every, ...further });
  t.teardown(() => watch.close());
  return { watch, lines, redis, poll: async () => poll() };
}

t.test('is not ready when the server evicts', async (t) => {
  const { watch, lines } = await openSubject(t, { text: info({ maxmemory_policy: 'allkeys-lru' }) }, false);
  await t.rejects(watch.ready, /allkeys-lru/);
  t.equal(watch.isFit(), false);
  t.same(lines, ['redis is not fit to hold limits']);
});

t.test('is ready and loud when eviction is allowed and nothing is written to disk', async (t) => {
  const text = info({ maxmemory_policy: 'allkeys-lru', aof_enabled: 0 });
  const { watch, lines } = await openSubject(t, { text }, true);
  await watch.ready;
  t.equal(watch.isFit(), true);
  t.equal(lines.length, 2);
});

t.test('notices when the memory fills up and when it is free again', async (t) => {
  const description = { text: info({ maxmemory: 1000, used_memory: 100 }) };
  const { watch, poll } = await openSubject(t, description, false);
  await watch.ready;
  t.equal(watch.hasHeadroom(), true);
  description.text = info({ maxmemory: 1000, used_memory: 990 });
  await poll();
  t.equal(watch.hasHeadroom(), false);
  description.text = info({ maxmemory: 1000, used_memory: 100 });
  await poll();
  t.equal(watch.hasHeadroom(), true);
});

t.test('is not ready when there is a further reason', async (t) => {
  const further = { findFurtherProblem: async () => 'laid out otherwise' };
  const { watch } = await openSubject(t, { text: info({}) }, false, further);
  await t.rejects(watch.ready, /laid out otherwise/);
  t.equal(watch.isFit(), false);
});

t.test('tells when another process answers after a reconnect, or one that hides which it is', async (t) => {
  const description = { text: info({ run_id: 'first' }) };
  const asked = { times: 0, restarts: 0 };
  const { watch, redis } = await openSubject(t, description, false, {
    findFurtherProblem: async () => {
      asked.times += 1;
      return null;
    },
    onRestart: () => {
      asked.restarts += 1;
    },
  });
  await watch.ready;
  const restarts: number[] = [];
  for (const runId of ['first', 'second', 'second', '', '']) {
    description.text = info(runId === '' ? {} : { run_id: runId });
    const before = asked.times;
    redis.disconnect(true);
    while (asked.times === before) await new Promise((resolve) => setTimeout(resolve, 5));
    await redis.info();
    await new Promise((resolve) => setImmediate(resolve));
    restarts.push(asked.restarts);
  }
  t.same(restarts, [0, 1, 1, 2, 3]);
});
