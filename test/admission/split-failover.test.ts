/**
 * A failover in which the two connections of a replica change servers one after the other: what the old server answered
 * in between is lost with it, and must be told to the new one.
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { createRedisEngine } from '../../src/admission/redis-engine.ts';
import { openRedis } from '../../src/platform/redis.ts';
import { isMaster, isInStep, startReplicatedPair, type RedisNode } from '../faults/redis-nodes.ts';
import { eventually } from '../faults/world.ts';
import { admitRequest, requestId, settlement } from './engine-world.ts';

const log = { info: () => {}, warn: () => {}, error: () => {} };
const stream = 'tg:{0}:u';

/** A name that stands for one server and then for another, as Sentinel's answer does. */
async function openName(t: Test, first: RedisNode) {
  let target = first;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(target.port, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream);
    upstream.pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const redis = openRedis(`redis://127.0.0.1:${(server.address() as AddressInfo).port}`, log, {
    commandTimeoutMs: 5000,
  });
  t.teardown(async () => {
    redis.disconnect();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    redis,
    async moveTo(node: RedisNode): Promise<void> {
      target = node;
      const isBack = new Promise<void>((resolve) => redis.once('ready', () => resolve()));
      for (const socket of sockets) socket.destroy();
      await isBack;
    },
  };
}

t.test('what the old master answered after one connection had left it is settled at the new one', async (t) => {
  const [old, fresh] = await startReplicatedPair(t);
  const [limiter, background] = [await openName(t, old), await openName(t, old)];
  const engine = createRedisEngine({
    limiter: limiter.redis,
    background: background.redis,
    sink: { append: () => {}, hasRoom: () => true },
    log,
    boundMs: 5000,
  });
  t.teardown(() => engine.close());
  await engine.ready;
  const limits = { requestsPerMinute: 100, tokensPerMinute: 10_000, tokens: 300, concurrency: 2 };
  t.match(await engine.admit(admitRequest(requestId(1), limits)), { outcome: 'admitted' });
  t.ok(await eventually(() => isInStep(fresh), 10_000), 'the replica knows of it');

  await fresh.admin.replicaof('NO', 'ONE');
  t.ok(await eventually(() => isMaster(fresh), 10_000));
  await background.moveTo(fresh);
  engine.markDispatched(requestId(1), 'a1');
  await engine.settle(settlement(requestId(1), 'exact', 9000));
  t.equal(await old.admin.xlen(stream), 1, 'the old master has taken it');
  t.equal(await fresh.admin.xlen(stream), 0, 'and nobody told the new one');

  await limiter.moveTo(fresh);
  t.ok(await eventually(async () => (await fresh.admin.xlen(stream)) === 1, 20_000), 'the row is there');
  const { buckets = [] } = (await engine.inspect(admitRequest(requestId(2), limits))) ?? {};
  const remaining = buckets.find(({ rule }) => rule === 'tokens')?.remaining ?? Infinity;
  t.ok(remaining < 9000, `${remaining} left of 10,000: what it cost is charged, less what has come back since`);
});
