import t from 'tap';
import { createReplayRing, type ReplayRingOptions } from '../../src/admission/replay-ring.ts';
import type { TickBatcher, TickReply } from '../../src/admission/tick-batcher.ts';
import { range } from './engine-world.ts';

function createSubject(options: Partial<ReplayRingOptions> = {}) {
  const clock = { nowMs: 0 };
  const ring = createReplayRing({ nowMs: () => clock.nowMs, ...options });
  const remember = (name: string, batcher = limiter) =>
    ring.remember({ batcher, operation: { urgency: 0, args: ['S', name] } });
  return { ring, remember, clock };
}

function createBatcher(answer: (name: string) => TickReply): TickBatcher & { names: string[] } {
  const names: string[] = [];
  return {
    names,
    submit: async ({ args }) => {
      const name = args[1] ?? '';
      names.push(name);
      return answer(name);
    },
    reconnected: () => undefined,
    stop: () => {},
  };
}

const limiter = createBatcher(() => ({ kind: 'unsent' }));
const duplicate: TickReply = { kind: 'answered', reply: ['DUP'] };

t.test('sends again what went through one batcher, in its order and by way of another', async (t) => {
  const { ring, remember } = createSubject();
  const elsewhere = createBatcher(() => duplicate);
  remember('a');
  remember('b', elsewhere);
  remember('c');
  const through = createBatcher(() => duplicate);
  t.equal(await ring.replay(limiter, through), true);
  t.same(through.names, ['a', 'c']);
  t.equal(ring.size(), 3, 'they may be lost again');
});

t.test('forgets what is older than a minute', async (t) => {
  const { ring, remember, clock } = createSubject();
  for (const serial of range(5000)) {
    clock.nowMs = serial * 100;
    remember(String(serial));
  }
  t.equal(ring.size(), 601);
  const through = createBatcher(() => duplicate);
  await ring.replay(limiter, through);
  t.equal(through.names[0], '4399');
});

t.test('forgets the oldest when they are more than its bytes', (t) => {
  const { ring, remember } = createSubject({ keepCharacters: 100 });
  for (const serial of range(50)) remember(`${serial}`.padStart(9, '0'));
  t.equal(ring.size(), 10);
  t.end();
});

t.test('stops when the server stops answering', async (t) => {
  const { ring, remember } = createSubject();
  for (const serial of range(600)) remember(String(serial));
  const through = createBatcher((name) => (name === '10' ? { kind: 'ambiguous' } : duplicate));
  t.equal(await ring.replay(limiter, through), false);
  t.equal(through.names.length, 256);
});
