import t, { type Test } from 'tap';
import type { Every } from '../../src/admission/clock.ts';
import {
  findProblem,
  hasMemoryLeft,
  watchRedisServer,
  type ServerWatchOptions,
} from '../../src/admission/redis-server-watch.ts';
import { openRedis } from '../../src/platform/redis.ts';
import { openDescribedServer } from './described-server.ts';

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

async function openSubject(
  t: Test,
  description: { text: string },
  allowEviction: boolean,
  further: Pick<ServerWatchOptions, 'findFurtherProblem'> = {},
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
  return { watch, lines, poll: async () => poll() };
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
