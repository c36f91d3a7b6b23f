import t from 'tap';
import { createProbes, type Probes } from '../../src/platform/probes.ts';

type World = { probes: Probes; changes: string[]; answer: () => Promise<unknown>; asked: number };

function createWorld(timeoutMs = 10_000): World {
  const world = {
    changes: [] as string[],
    asked: 0,
    answer: async (): Promise<unknown> => 1,
  };
  const probes = createProbes({
    questions: {
      store: () => {
        world.asked += 1;
        return world.answer();
      },
      other: async () => 1,
    },
    onChange: (name, isUp) => world.changes.push(`${name} ${isUp ? 'up' : 'down'}`),
    intervalMs: 3_600_000,
    timeoutMs,
  });
  return Object.assign(world, { probes });
}

t.test('takes a store for good until it is found not to answer, and says each change once', async (t) => {
  const world = createWorld();
  t.teardown(() => world.probes.close());
  t.ok(world.probes.isUp('store'));
  await world.probes.round();
  t.same(world.changes, []);
  world.answer = async () => Promise.reject(new Error('refused'));
  await world.probes.round();
  await world.probes.round();
  t.notOk(world.probes.isUp('store'));
  t.ok(world.probes.isUp('other'));
  world.answer = async () => 1;
  await world.probes.round();
  t.ok(world.probes.isUp('store'));
  t.same(world.changes, ['store down', 'store up']);
});

t.test('takes silence for no answer, and asks no second time while the first question hangs', async (t) => {
  const world = createWorld(5);
  t.teardown(() => world.probes.close());
  let answerNow = (_value: unknown): void => {};
  world.answer = async () =>
    new Promise((resolve) => {
      answerNow = resolve;
    });
  await world.probes.round();
  t.notOk(world.probes.isUp('store'));
  await world.probes.round();
  t.equal(world.asked, 1);
  answerNow(1);
  world.answer = async () => 1;
  await new Promise(setImmediate);
  await world.probes.round();
  t.ok(world.probes.isUp('store'));
  t.same(world.changes, ['store down', 'store up']);
});
