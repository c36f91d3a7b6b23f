import t, { type Test } from 'tap';
import type { Every } from '../../src/admission/clock.ts';
import { findProblem, hasMemoryLeft, watchRedisServer } from '../../src/admission/redis-server-watch.ts';
import { openRedis } from '../../src/platform/redis.ts';
import { type Described, openDescribedServer } from './described-server.ts';

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

async function openSubject(t: Test, description: Described, allowEviction: boolean) {
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
  let restarts = 0;
  const watch = watchRedisServer(redis, {
    key: 'tg:{0}:open',
    streamKey: 'tg:{0}:u',
    streamCapBytes: 1000,
    log,
    allowEviction,
    every,
    onRestart: () => {
      restarts += 1;
    },
  });
  t.teardown(() => watch.close());
  const reconnect = async (): Promise<void> => {
    redis.disconnect(true);
    await new Promise<void>((resolve) => redis.once('ready', () => resolve()));
  };
  return { watch, lines, poll: async () => poll(), reconnect, restarts: () => restarts };
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

t.test('closes the shard while its usage rows take more memory than they may', async (t) => {
  const description: Described = { text: info({}), streamBytes: 1000 };
  const { watch, poll } = await openSubject(t, description, false);
  await watch.ready;
  t.equal(watch.isStreamFull(), false);
  description.streamBytes = 1001;
  await poll();
  t.equal(watch.isStreamFull(), true);
  description.streamBytes = 0;
  await poll();
  t.equal(watch.isStreamFull(), false);
});

t.test('tells when another process answers, or after a reconnect one that hides which it is', async (t) => {
  const description = { text: info({ run_id: 'first' }) };
  const { watch, poll, reconnect, restarts } = await openSubject(t, description, false);
  await watch.ready;
  const seen: number[] = [];
  for (const runId of ['first', 'second', 'second', '', '']) {
    description.text = info({ run_id: runId });
    await reconnect();
    await poll();
    seen.push(restarts());
  }
  t.same(seen, [0, 1, 1, 2, 3]);
  await poll();
  t.equal(restarts(), 3, 'a connection that held leads to the same process');
  description.text = info({ run_id: 'third' });
  await poll();
  t.equal(restarts(), 4, 'a Cluster changes its master under a connection that holds');
  watch.close();
  description.text = info({ run_id: 'fourth' });
  await reconnect();
  await reconnect();
  t.equal(restarts(), 4, 'nobody watches any longer');
});

t.test('says again that the server is not fit only when that changes', async (t) => {
  const description = { text: info({ maxmemory_policy: 'allkeys-lru', run_id: 'r' }) };
  const { watch, lines, poll } = await openSubject(t, description, false);
  await t.rejects(watch.ready, /allkeys-lru/);
  await poll();
  await poll();
  t.equal(lines.length, 1);
  description.text = info({ run_id: 'r' });
  await poll();
  t.equal(watch.isFit(), true, 'it was mended while we ran');
});
