import t, { type Test } from 'tap';
import { createBreaker } from '../../src/admission/breaker.ts';

function createSubject(t: Test, answers: boolean[], probeEveryMs = 1) {
  const events: string[] = [];
  const clock = { nowMs: 0 };
  const closed = Promise.withResolvers<void>();
  const breaker = createBreaker({
    nowMs: () => clock.nowMs,
    probe: async () => {
      events.push('probe');
      return answers.shift() ?? false;
    },
    onOpen: () => events.push('open'),
    onClose: () => {
      events.push('close');
      closed.resolve();
    },
    probeEveryMs,
  });
  t.teardown(() => breaker.stop());
  return { breaker, events, clock, closed: closed.promise };
}

t.test('opens when five failures fall into one second', async (t) => {
  const { breaker, events, clock } = createSubject(t, []);
  for (const nowMs of [0, 100, 200, 1150, 1160]) {
    clock.nowMs = nowMs;
    breaker.recordFailure();
  }
  t.equal(breaker.isOpen(), false);
  clock.nowMs = 1170;
  breaker.recordFailure();
  breaker.recordFailure();
  t.equal(breaker.isOpen(), true);
  t.same(events, ['open'], 'it says so once');
});

t.test('asks until the server answers, and closes then', async (t) => {
  const { breaker, events, closed } = createSubject(t, [false, false, true]);
  const keepAlive = setInterval(() => {}, 1000);
  t.teardown(() => clearInterval(keepAlive));
  for (let count = 0; count < 5; count += 1) breaker.recordFailure();
  await closed;
  t.equal(breaker.isOpen(), false);
  t.same(events, ['open', 'probe', 'probe', 'probe', 'close']);
});

t.test('asks at once when there is reason to, one question at a time, and never while it is closed', async (t) => {
  const { breaker, events, closed } = createSubject(t, [true], 60_000);
  breaker.probeNow();
  t.same(events, []);
  for (let count = 0; count < 5; count += 1) breaker.recordFailure();
  breaker.probeNow();
  breaker.probeNow();
  await closed;
  t.equal(breaker.isOpen(), false);
  t.same(events, ['open', 'probe', 'close']);
});

t.test('asks no more when it is stopped', async (t) => {
  const { breaker, events } = createSubject(t, [true]);
  for (let count = 0; count < 5; count += 1) breaker.recordFailure();
  breaker.stop();
  await new Promise((resolve) => setTimeout(resolve, 5));
  t.same(events, ['open']);
});
