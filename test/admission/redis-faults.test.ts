import t, { type Test } from 'tap';
import { usageRank } from '../../src/contract/flow.ts';
import { admitRequest, range, requestId, settlement } from './engine-world.ts';
import { openFaultProxy, type FaultProxy } from './fault-proxy.ts';
import { openRedisWorld, redisUrl, type RedisReplica, type RedisWorld } from './redis-world.ts';

async function openWorld(t: Test, clock: 'fixed' | 'server' = 'fixed'): Promise<RedisWorld> {
  const world = await openRedisWorld({ clock });
  t.teardown(() => world.close());
  return world;
}

async function openFaultyWorld(t: Test): Promise<{ world: RedisWorld; proxy: FaultProxy; replica: RedisReplica }> {
  const proxy = await openFaultProxy(redisUrl);
  t.teardown(() => proxy.close());
  const world = await openWorld(t);
  return { world, proxy, replica: await world.createReplica({ url: proxy.url }) };
}

/** Waits for something that happens by itself; the test's own timeout ends it when it does not. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

const unavailable = { outcome: 'unavailable', reason: 'limits_unavailable' } as const;

t.test('counts by the clock of the server when nothing replaces it', async (t) => {
  const world = await openWorld(t, 'server');
  const { engine } = await world.createReplica();
  const request = (serial: number) => ({
    ...admitRequest(requestId(serial), {}),
    buckets: [{ rule: 'requests', scope: 'key:k', capacity: 1, refillPerMinute: 600, cost: 1 } as const],
  });
  t.equal((await engine.admit(request(1))).outcome, 'admitted');
  const refused = await engine.admit(request(2));
  t.match(refused, { outcome: 'rejected', buckets: [{ windowMs: 100 }] });
  const waitMs = refused.outcome === 'rejected' ? (refused.waitMs ?? 0) : 0;
  t.ok(waitMs > 0 && waitMs <= 100, `${waitMs} ms`);
  await new Promise((resolve) => setTimeout(resolve, waitMs + 1));
  t.equal((await engine.admit(request(3))).outcome, 'admitted');
});

t.test('fails only the operation of a poisoned key when 64 share a call', async (t) => {
  const world = await openWorld(t);
  const { engine, lines } = await world.createReplica();
  const base = `${world.keyPrefix}{0}:`;
  await world.admin.hset(`${base}b:2:key:k7`, 'a', 'b');
  await world.admin.set(`${base}b:2:key:k8`, 'not a balance');
  await world.admin.set(`${base}c:key:k9`, 'not a set');
  await world.admin.hset(`${base}r:${requestId(10)}`, 'st', 'open');
  await world.admin.set(`${base}r:${requestId(11)}`, 'of another layout');
  const results = await Promise.all(
    range(64).map((serial) =>
      engine.admit(admitRequest(requestId(serial), { requestsPerMinute: 10, concurrency: 2, scope: `key:k${serial}` })),
    ),
  );
  const failed = results.flatMap((result, serial) => (result.outcome === 'admitted' ? [] : [serial]));
  t.same(failed, [7, 8, 9, 10, 11]);
  for (const serial of failed) t.same(results[serial], unavailable);
  t.ok(
    lines.some(({ level }) => level === 'error'),
    'somebody must look',
  );
  t.equal(await world.admin.exists(`${base}r:${requestId(9)}`, `${base}b:2:key:k9`), 0, 'nothing of it was written');
});

t.test('writes nothing of a settlement when one of its keys is poisoned, and lands when that is mended', async (t) => {
  const world = await openWorld(t);
  const { engine, rows } = await world.createReplica();
  const limits = { requestsPerMinute: 10, tokensPerMinute: 1000, tokens: 500, concurrency: 2 };
  await engine.admit(admitRequest(requestId(1), limits));
  const slots = `${world.keyPrefix}{0}:c:account:a1`;
  await world.admin.set(slots, 'poison');
  await engine.settle(settlement(requestId(1), 'exact', 100));
  t.same(rows, []);
  t.match(await world.admin.get(`${world.keyPrefix}{0}:b:2:account:a1`), /^.*:500000:\d+$/);
  await world.admin.del(slots);
  await until(() => rows.length > 0);
  t.match(rows, [{ rank: usageRank.final }]);
  t.match(await world.admin.get(`${world.keyPrefix}{0}:b:2:account:a1`), /^.*:900000:\d+$/);
});

t.test('admits one of two and settles first when all meet in one call', async (t) => {
  const world = await openWorld(t);
  const { engine } = await world.createReplica();
  await engine.admit(admitRequest(requestId(1), { concurrency: 1 }));
  const first = engine.admit(admitRequest(requestId(2), { concurrency: 1 }));
  const second = engine.admit(admitRequest(requestId(3), { concurrency: 1 }));
  const settled = engine.settle(settlement(requestId(1), 'exact', 1));
  t.match(await Promise.all([first, second]), [{ outcome: 'admitted' }, { outcome: 'rejected' }]);
  await settled;
});

t.test('goes on when the server forgot the script', async (t) => {
  const world = await openWorld(t);
  const { engine, rows } = await world.createReplica();
  await engine.admit(admitRequest(requestId(1), { requestsPerMinute: 10 }));
  await world.admin.script('FLUSH');
  t.match(await engine.admit(admitRequest(requestId(2), { requestsPerMinute: 10 })), { buckets: [{ remaining: 8 }] });
  await world.admin.script('FLUSH');
  await engine.settle(settlement(requestId(2), 'exact', 1));
  t.equal(rows.length, 1);
});

t.test('keeps every key in one slot and forgets all but the work list by itself', async (t) => {
  const world = await openWorld(t);
  const { engine } = await world.createReplica({ usageStream: true });
  const budgets = (['daily', 'weekly', 'monthly', 'total'] as const).map(
    (period) => ({ scope: 'account:a1', period, limitNanoUsd: 1000, costNanoUsd: 1 }) as const,
  );
  const limits = { requestsPerMinute: 10, tokensPerMinute: 1000, tokens: 500, concurrency: 5, budgets };
  for (const budget of budgets) await engine.seedBudget('a1', budget, 0);
  await engine.raiseAuthVersion('a1', { account: 1, key: { id: 'k1', version: 1 } });
  for (const serial of range(4)) await engine.admit(admitRequest(requestId(serial), { ...limits, tokens: 10 }));
  await engine.settle(settlement(requestId(1), 'exact', 100));
  await engine.settle(settlement(requestId(2), 'under', 100));
  await engine.settle(settlement(requestId(3), 'void'));
  await engine.settle(settlement(requestId(99), 'void'));
  const keys = await world.keys();
  t.same(keys.flatMap((key) => /:(open|u|rid|av:a1)$/.exec(key)?.[1] ?? []).sort(), ['av:a1', 'open', 'rid', 'u']);
  for (const key of keys) {
    t.ok(key.startsWith(`${world.keyPrefix}{0}:`), key);
    const remainingMs = await world.admin.pttl(key);
    if (/:(?:open|u|rid|av:a1)$/.test(key)) t.equal(remainingMs, -1, key);
    else t.ok(remainingMs >= 59_000, `${key} for ${remainingMs} ms`);
  }
});

t.test('keeps accounts apart in shards when there are several', async (t) => {
  const world = await openWorld(t, 'server');
  const { engine } = await world.createReplica({ shards: 4 });
  for (const serial of range(20)) {
    const request = admitRequest(requestId(serial), { requestsPerMinute: 10, scope: `account:a${serial}` });
    t.equal((await engine.admit({ ...request, accountId: `a${serial}` })).outcome, 'admitted');
  }
  const tags = new Set((await world.keys()).map((key) => /\{(\d)\}/.exec(key)?.[1]));
  t.same(tags, new Set(['0', '1', '2', '3']));
});

t.test('says that limits cannot be checked when the server is silent, at once after a few times', async (t) => {
  const { world, proxy, replica } = await openFaultyWorld(t);
  const { engine, lines } = replica;
  await engine.admit(admitRequest(requestId(1), { requestsPerMinute: 10 }));
  proxy.setMode('hold-requests');
  const startedAtMs = performance.now();
  const answer = engine.admit(admitRequest(requestId(2), { requestsPerMinute: 10 }));
  t.same(await answer, unavailable);
  t.comment(`answered after ${Math.round(performance.now() - startedAtMs)} ms`);
  const isOpen = () => lines.some(({ message }) => message.startsWith('redis does not answer'));
  for (let serial = 3; !isOpen(); serial += 1) {
    t.same(await engine.admit(admitRequest(requestId(serial), { requestsPerMinute: 10 })), unavailable);
  }
  const bytesBefore = proxy.bytesFromClients();
  const results = await Promise.all(
    range(100).map((serial) => engine.admit(admitRequest(requestId(100 + serial), { requestsPerMinute: 10 }))),
  );
  t.ok(results.every(({ outcome }) => outcome === 'unavailable'));
  t.ok(proxy.bytesFromClients() - bytesBefore < 1000, 'nothing was asked');
  proxy.setMode('pass');
  await until(() => lines.some(({ message }) => message === 'redis answers again'));
  t.equal((await engine.admit(admitRequest(requestId(999), { requestsPerMinute: 10 }))).outcome, 'admitted');
  await until(async () => (await world.admin.zcard(`${world.keyPrefix}{0}:open`)) === 2);
  t.match(await world.admin.get(`${world.keyPrefix}{0}:b:2:account:a1`), /^8000:/, 'nothing counts twice');
});

t.test('gives an admission up when its answer is lost, and takes nothing for it', async (t) => {
  const { world, proxy, replica } = await openFaultyWorld(t);
  const { engine, rows } = replica;
  proxy.setMode('drop-replies');
  t.same(await engine.admit(admitRequest(requestId(1), { requestsPerMinute: 10, concurrency: 1 })), unavailable);
  t.equal(engine.openLeases(), 0);
  t.match(await world.admin.get(`${world.keyPrefix}{0}:b:2:account:a1`), /^(?:9000|10000):/);
  proxy.setMode('pass');
  await until(async () => (await world.admin.get(`${world.keyPrefix}{0}:r:${requestId(1)}`))?.startsWith('F') === true);
  const other = await world.createReplica();
  t.match(await other.engine.admit(admitRequest(requestId(2), { requestsPerMinute: 10, concurrency: 1 })), {
    outcome: 'admitted',
    buckets: [{ remaining: 9 }],
  });
  t.same(await other.engine.admit(admitRequest(requestId(1), { requestsPerMinute: 10 })), { outcome: 'finished' });
  t.ok(rows.every(({ status }) => status === 'not_dispatched'));
});

t.test('settles once and writes its row when the answer is lost', async (t) => {
  const { world, proxy, replica } = await openFaultyWorld(t);
  const { engine, rows } = replica;
  const limits = { tokensPerMinute: 1000, tokens: 500, concurrency: 1 };
  await engine.admit(admitRequest(requestId(1), limits));
  proxy.setMode('drop-replies');
  await engine.settle(settlement(requestId(1), 'exact', 100));
  t.same(rows, []);
  proxy.setMode('pass');
  await until(() => rows.length > 0);
  t.match(rows, [{ requestId: requestId(1), rank: usageRank.final }]);
  t.match(await world.admin.get(`${world.keyPrefix}{0}:b:2:account:a1`), /^.*:900000:\d+$/);
});

t.test('reconnects and goes on when the connection is cut', async (t) => {
  const { proxy, replica } = await openFaultyWorld(t);
  const { engine, lines, limiter } = replica;
  await engine.admit(admitRequest(requestId(1), { requestsPerMinute: 10 }));
  proxy.cut();
  await until(() => limiter.status !== 'ready');
  t.same(await engine.admit(admitRequest(requestId(2), { requestsPerMinute: 10 })), unavailable);
  await until(() => limiter.status === 'ready');
  t.match(await engine.admit(admitRequest(requestId(3), { requestsPerMinute: 10 })), { buckets: [{ remaining: 8 }] });
  t.ok(lines.length < 10, 'a line for each change of state');
});

t.test('leaves the rows behind when it is closed and the server is gone', async (t) => {
  const { proxy, replica } = await openFaultyWorld(t);
  const { engine, rows } = replica;
  await engine.admit(admitRequest(requestId(1), { requestsPerMinute: 10 }));
  proxy.setMode('hold-requests');
  await engine.settle(settlement(requestId(1), 'exact', 100));
  await engine.close();
  t.match(rows, [{ requestId: requestId(1), rank: usageRank.final }]);
});

t.test('charges what was used when the server lost the record of the request', async (t) => {
  const world = await openWorld(t);
  const { engine, rows } = await world.createReplica();
  const limits = { tokensPerMinute: 1000, tokens: 500, concurrency: 1 };
  await engine.admit(admitRequest(requestId(1), limits));
  await world.admin.del(`${world.keyPrefix}{0}:r:${requestId(1)}`, `${world.keyPrefix}{0}:b:2:account:a1`);
  await engine.settle(settlement(requestId(1), 'exact', 100));
  t.match(rows, [{ rank: usageRank.final }]);
  t.match(await engine.admit(admitRequest(requestId(2), { ...limits, tokens: 0 })), {
    outcome: 'admitted',
    buckets: [{ remaining: 900 }],
  });
});

t.test('renews its leases ahead of the next admission when the process was frozen', async (t) => {
  const world = await openWorld(t);
  let monotonicMs = 0;
  const { engine } = await world.createReplica({ monotonicMs: () => monotonicMs });
  await engine.admit(admitRequest(requestId(1), { concurrency: 1 }));
  monotonicMs = 45_000;
  await world.moveClock(45_000);
  t.equal((await engine.admit(admitRequest(requestId(2), { concurrency: 1 }))).outcome, 'rejected');
});

t.test('does not reap what it still runs, though the lease ran out', async (t) => {
  const world = await openWorld(t);
  const { engine, rows, reap } = await world.createReplica();
  await engine.admit(admitRequest(requestId(1), { concurrency: 1 }));
  await world.moveClock(600_000);
  await reap();
  t.same(rows, []);
});

t.test('gives an adopted request its slot and its debit with the next heartbeat, even above the limit', async (t) => {
  const world = await openWorld(t);
  const { engine, heartbeat } = await world.createReplica();
  const limits = { tokensPerMinute: 1000, tokens: 500, concurrency: 1 };
  await engine.admit(admitRequest(requestId(1), limits));
  engine.adopt(admitRequest(requestId(2), limits));
  t.equal(engine.openLeases(), 2);
  await heartbeat();
  t.equal(await world.admin.zcard(`${world.keyPrefix}{0}:c:account:a1`), 2);
  t.match(await world.admin.get(`${world.keyPrefix}{0}:b:2:account:a1`), /^.*:0:\d+$/);
  await engine.settle(settlement(requestId(2), 'exact', 100));
  t.equal(await world.admin.zcard(`${world.keyPrefix}{0}:c:account:a1`), 1);
  t.match(await world.admin.get(`${world.keyPrefix}{0}:b:2:account:a1`), /^.*:400000:\d+$/);
});

t.test('charges what an adopted request has used that ended before the server was back', async (t) => {
  const { world, proxy, replica } = await openFaultyWorld(t);
  const { engine, rows } = replica;
  proxy.setMode('hold-requests');
  engine.adopt(admitRequest(requestId(1), { tokensPerMinute: 1000, tokens: 500 }));
  await engine.settle(settlement(requestId(1), 'exact', 100));
  proxy.setMode('pass');
  await until(() => rows.length > 0);
  t.match(rows, [{ requestId: requestId(1), rank: usageRank.final }]);
  await until(async () => (await world.admin.get(`${world.keyPrefix}{0}:b:2:account:a1`)) !== null);
  t.match(await world.admin.get(`${world.keyPrefix}{0}:b:2:account:a1`), /^.*:900000:\d+$/);
});

t.test('tells since when the server is silent, and that it is not', async (t) => {
  const { proxy, replica } = await openFaultyWorld(t);
  const { engine } = replica;
  const ask = (serial: number) => engine.admit(admitRequest(requestId(serial), { requestsPerMinute: 10 }));
  await ask(1);
  t.equal(engine.silentSinceMs('a1'), null);
  const beforeMs = performance.now();
  proxy.setMode('hold-requests');
  await ask(2);
  const sinceMs = engine.silentSinceMs('a1') ?? Infinity;
  t.ok(sinceMs <= beforeMs, 'since the last answer');
  await ask(3);
  t.equal(engine.silentSinceMs('a1'), sinceMs);
  proxy.setMode('pass');
  await until(async () => (await ask(4)).outcome === 'admitted');
  t.equal(engine.silentSinceMs('a1'), null);
});
