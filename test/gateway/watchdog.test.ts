import t from 'tap';
import { createWatchdog, type Watched } from '../../src/gateway/watchdog.ts';

/** Resolves when its count of sweeps has been reached. */
function createWatched(sweeps: number): Watched & { times: number[]; reached: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const times: number[] = [];
  return {
    times,
    reached: promise,
    sweep(nowMs) {
      times.push(nowMs);
      if (times.length === sweeps) resolve();
    },
  };
}

/** The watchdog's own timer keeps nothing running, so a test that waits for it must. */
const hold = setInterval(() => undefined, 1000);
t.teardown(() => clearInterval(hold));

t.test('sweeps everything that runs, with one time for all', async (t) => {
  let now = 0;
  const watchdog = createWatchdog(1, () => (now += 1000));
  t.teardown(() => watchdog.close());
  const [first, second] = [createWatched(2), createWatched(2)];
  watchdog.watch(first);
  watchdog.watch(second);
  watchdog.watch(second);
  t.equal(watchdog.size(), 2);
  await second.reached;
  t.same(first.times, [1000, 2000]);
  t.same(second.times, [1000, 2000]);
});

t.test('leaves alone what has ended, also when it ends inside a sweep', async (t) => {
  const watchdog = createWatchdog(1);
  t.teardown(() => watchdog.close());
  const later = createWatched(3);
  const victim = createWatched(99);
  const ending: Watched & { count: number } = {
    count: 0,
    sweep() {
      ending.count += 1;
      watchdog.forget(ending);
      watchdog.forget(victim);
    },
  };
  for (const watched of [ending, victim, later]) watchdog.watch(watched);
  await later.reached;
  t.equal(ending.count, 1);
  t.same(victim.times, []);
  t.equal(watchdog.size(), 1);
  watchdog.forget(ending);
  t.equal(watchdog.size(), 1, 'forgetting twice is harmless');
});

t.test('visits each, for a drain', (t) => {
  const watchdog = createWatchdog(1000);
  t.teardown(() => watchdog.close());
  const all = [createWatched(1), createWatched(1)];
  for (const watched of all) watchdog.watch(watched);
  const visited: Watched[] = [];
  watchdog.each((watched) => {
    visited.push(watched);
    watchdog.forget(watched);
  });
  t.same(visited, all);
  t.equal(watchdog.size(), 0);
  t.end();
});

t.test('sweeps no more when closed', async (t) => {
  const [closed, open] = [createWatchdog(1), createWatchdog(1)];
  t.teardown(() => open.close());
  const [before, after] = [createWatched(2), createWatched(10)];
  closed.watch(before);
  await before.reached;
  closed.close();
  const seen = before.times.length;
  open.watch(after);
  await after.reached;
  t.equal(before.times.length, seen);
});

t.test('keeps no process alive', (t) => {
  const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = timers();
  const watchdog = createWatchdog(1000);
  t.teardown(() => watchdog.close());
  t.equal(timers(), before, 'a timer that counts would be listed');
  t.end();
});
