import t from 'tap';
import type { Every } from '../../src/admission/clock.ts';
import { createInProcessEngine } from '../../src/admission/in-process-engine.ts';
import { createLimiterState } from '../../src/admission/limiter-state.ts';
import type { UsageRecord } from '../../src/contract/flow.ts';
import { runEngineModel } from './engine-model.ts';
import { runEngineSuite } from './engine-suite.ts';
import { admitRequest, requestId, settlement, startMs, suiteTimes, type EngineWorld } from './engine-world.ts';

function createWorld(): EngineWorld & { state: ReturnType<typeof createLimiterState> } {
  let nowMicros = startMs * 1000;
  const state = createLimiterState(suiteTimes);
  const createReplica: EngineWorld['createReplica'] = async () => {
    const rows: UsageRecord[] = [];
    let hasRoom = true;
    const { every, run } = createManualTimers();
    const engine = createInProcessEngine({
      ...suiteTimes,
      clock: { nowMicros: () => nowMicros },
      sink: { append: (record) => rows.push(record), hasRoom: () => hasRoom },
      state,
      every,
    });
    return {
      engine,
      rows,
      setRoom: (value) => {
        hasRoom = value;
      },
      heartbeat: () => run(suiteTimes.heartbeatMs),
      reap: () => run(suiteTimes.reapMs),
    };
  };
  return {
    state,
    createReplica,
    moveClock: async (milliseconds) => {
      nowMicros += milliseconds * 1000;
    },
    quiet: async () => {},
    close: async () => {},
  };
}

function createManualTimers(): { every: Every; run: (periodMs: number) => Promise<void> } {
  const works = new Map<number, () => void | Promise<void>>();
  return {
    every: (periodMs, work) => {
      works.set(periodMs, work);
      return () => works.delete(periodMs);
    },
    run: async (periodMs) => {
      await works.get(periodMs)?.();
    },
  };
}

runEngineSuite(t, async () => createWorld());
for (const seed of [1, 2, 3]) runEngineModel(t, async () => createWorld(), { operations: 10_000, seed });

t.test('renews its own leases before anything else when the process was frozen', async (t) => {
  const world = createWorld();
  const { engine, rows, reap } = await world.createReplica();
  const limits = { concurrency: 1 };
  t.equal((await engine.admit(admitRequest(requestId(1), limits))).outcome, 'admitted');
  await world.moveClock(45_000);
  t.equal((await engine.admit(admitRequest(requestId(2), limits))).outcome, 'rejected');
  await world.moveClock(45_000);
  await reap();
  t.same(rows, []);
  t.equal(engine.openLeases(), 1);
});

t.test('refuses with journal_full when the ledger has no room, yet settles', async (t) => {
  const world = createWorld();
  const { engine, rows, setRoom } = await world.createReplica();
  const first = admitRequest(requestId(1), { requestsPerMinute: 10 });
  await engine.admit(first);
  setRoom(false);
  const refused = await engine.admit(admitRequest(requestId(2), { requestsPerMinute: 10 }));
  t.same(refused, { outcome: 'unavailable', reason: 'journal_full' });
  t.match(await engine.admit(first), { outcome: 'admitted', buckets: [{ remaining: 9 }] });
  await engine.settle(settlement(requestId(1), 'exact', 5));
  t.equal(rows.length, 1);
});

t.test('forgets what no longer matters when it sweeps', async (t) => {
  const world = createWorld();
  const { engine, reap } = await world.createReplica();
  for (let serial = 0; serial < 1500; serial += 1) {
    await engine.admit(
      admitRequest(requestId(serial), { requestsPerMinute: 10, scope: `key:k${serial}`, concurrency: 1 }),
    );
    await engine.settle(settlement(requestId(serial), 'exact', 5));
  }
  t.same(world.state.sizes(), { buckets: 1500, leases: 0, scopes: 0, tombstones: 1500 });
  await world.moveClock(3_599_000);
  await reap();
  t.equal(world.state.sizes().buckets, 1500);
  await world.moveClock(suiteTimes.tombstoneMs);
  await reap();
  await reap();
  await reap();
  t.same(world.state.sizes(), { buckets: 0, leases: 0, scopes: 0, tombstones: 0 });
});

t.test('goes on with the buckets of a snapshot, and leaves out what is none', async (t) => {
  const before = createWorld();
  const limits = { requestsPerMinute: 10, tokensPerMinute: 1000, tokens: 400 };
  await (await before.createReplica()).engine.admit(admitRequest(requestId(1), limits));
  const saved: unknown = JSON.parse(JSON.stringify(before.state.snapshot()));
  const after = createWorld();
  await after.moveClock(12_000);
  for (const unknown of [null, 'x', {}, [null, 1, ['a'], ['a', 1], ['a', 'b', 1, 2], [1, 2, 3, 4]]]) {
    after.state.restore(unknown);
  }
  t.equal(after.state.sizes().buckets, 0);
  after.state.restore(saved);
  t.match(await (await after.createReplica()).engine.admit(admitRequest(requestId(2), limits)), {
    buckets: [{ remaining: 9 }, { remaining: 400 }],
  });
});

t.test('runs on timers of its own that stop when it is closed', async (t) => {
  const engine = createInProcessEngine({
    clock: { nowMicros: () => startMs * 1000 },
    sink: { append: () => {}, hasRoom: () => true },
  });
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  await engine.close();
  t.ok(timers() <= before);
});
