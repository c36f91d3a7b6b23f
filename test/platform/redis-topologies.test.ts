import t from 'tap';
import { openRedis, untilReady } from '../../src/platform/redis.ts';
import { startCluster, startSentinelSet } from '../faults/redis-nodes.ts';
import { eventually } from '../faults/world.ts';

type Line = { message: string; details: object };

function createLog() {
  const lines: Line[] = [];
  const write = (details: object, message: string): void => void lines.push({ details, message });
  return { lines, log: { info: write, warn: write } };
}

t.test('a Cluster is one client, which says when a node is lost and when it is back', async (t) => {
  const cluster = await startCluster(t, 3);
  const { lines, log } = createLog();
  const redis = openRedis(cluster.url, log, { commandTimeoutMs: 5000 });
  t.teardown(() => redis.disconnect());
  t.equal(await untilReady(redis, 20_000), true);
  for (const key of ['{a}:1', '{b}:1', '{c}:1']) {
    t.ok(
      await eventually(async () => (await redis.set(key, key).catch(() => null)) === 'OK', 20_000),
      `${key} is written`,
    );
    t.equal(await redis.get(key), key);
  }
  const owner = await cluster.ownerOf('{a}:1');
  await owner.kill();
  await t.rejects(redis.get('{a}:1'), 'a command to a lost node fails');
  t.ok(
    await eventually(async () => {
      await redis.get('{a}:1').catch(() => null);
      return lines.some(({ message }) => message === 'redis node lost');
    }, 20_000),
    'and the loss is said',
  );
  await owner.start();
  t.ok(
    await eventually(async () => (await redis.set('{a}:1', 'again').catch(() => null)) === 'OK', 30_000),
    'it serves again',
  );
  t.equal(lines.filter(({ message }) => message === 'redis connected').length, 1);
});

t.test('a key whose slot is half moved is asked for later, and never at the other half', async (t) => {
  const cluster = await startCluster(t, 3);
  const { log } = createLog();
  const redis = openRedis(cluster.url, log, { commandTimeoutMs: 5000 });
  t.teardown(() => redis.disconnect());
  await untilReady(redis, 20_000);
  t.ok(await eventually(async () => (await redis.set('{a}:1', 'x').catch(() => null)) === 'OK', 20_000));
  const owner = await cluster.ownerOf('{a}:1');
  const other = cluster.masters.find(({ port }) => port !== owner.port);
  if (other === undefined) throw new Error('one master only');
  const slot = await owner.admin.cluster('KEYSLOT', '{a}:1');
  const idOf = async (node: typeof owner): Promise<string> => node.admin.cluster('MYID');
  await other.admin.call('CLUSTER', ['SETSLOT', slot, 'IMPORTING', await idOf(owner)]);
  await owner.admin.call('CLUSTER', ['SETSLOT', slot, 'MIGRATING', await idOf(other)]);
  t.equal(await redis.get('{a}:1'), 'x', 'what is still here is served');
  await t.rejects(redis.set('{a}:2', 'y'), /TRYAGAIN/, 'what is not here is not begun anew');
  await owner.admin.call('CLUSTER', ['SETSLOT', slot, 'STABLE']);
  await other.admin.call('CLUSTER', ['SETSLOT', slot, 'STABLE']);
  t.equal(await redis.set('{a}:2', 'y'), 'OK');
});

t.test('behind Sentinel the master is found by its name', async (t) => {
  const set = await startSentinelSet(t);
  const { lines, log } = createLog();
  const redis = openRedis(set.url, log, { commandTimeoutMs: 5000 });
  t.teardown(() => redis.disconnect());
  t.equal(await untilReady(redis, 20_000), true);
  t.equal(await untilReady(redis, 1), true, 'at once when it is there');
  t.equal(await redis.set('k', 'v'), 'OK');
  t.equal(await set.nodes[0].admin.get('k'), 'v');
  t.match(lines, [{ message: 'redis connected' }]);
});

t.test('an address that is none is told, and a server that is not there is not waited for', async (t) => {
  const { log } = createLog();
  t.throws(() => openRedis('http://x', log), /The address of Redis: /);
  const redis = openRedis('redis://127.0.0.1:1', log);
  t.teardown(() => redis.disconnect());
  t.equal(await untilReady(redis, 100), false);
});
