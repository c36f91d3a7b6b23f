import t from 'tap';
import { createMonotonicWallClock, everyInterval } from '../../src/admission/clock.ts';

t.test('goes on with the monotonic clock when the wall clock steps', (t) => {
  const sources = { wall: 1_790_000_000_000, monotonic: 500.25 };
  const clock = createMonotonicWallClock({ wallMs: () => sources.wall, monotonicMs: () => sources.monotonic });
  t.equal(clock.nowMicros(), 1_790_000_000_000_000);
  sources.wall -= 3_600_000;
  sources.monotonic += 1.5004;
  t.equal(clock.nowMicros(), 1_790_000_000_001_500);
  t.end();
});

t.test('counts whole microseconds when it runs on the clocks of the machine', (t) => {
  const clock = createMonotonicWallClock();
  const first = clock.nowMicros();
  t.ok(Number.isInteger(first));
  t.ok(clock.nowMicros() >= first);
  t.end();
});

t.test('works at each interval until it is stopped', async (t) => {
  const keepAlive = setInterval(() => {}, 1000);
  t.teardown(() => clearInterval(keepAlive));
  let runs = 0;
  await new Promise<void>((resolve) => {
    const stop = everyInterval(1, () => {
      runs += 1;
      if (runs < 3) return;
      stop();
      resolve();
    });
  });
  await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(runs, 3);
});
