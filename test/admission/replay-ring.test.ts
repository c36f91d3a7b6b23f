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
  t.ok(ring.size() >= 601 && ring.size() <= 612, `${ring.size()} settlements`);
  const through = createBatcher(() => duplicate);
  await ring.replay(limiter, through);
  t.equal(through.names.length, ring.size());
  t.equal(through.names.at(-1), '4999');
});

t.test('forgets the oldest when they are more than its bytes', async (t) => {
  const { ring, remember } = createSubject({ keepBytes: 200_000 });
  for (const serial of range(100)) remember(`${serial}`.padStart(9_996, '0'));
  t.ok(ring.size() >= 20 && ring.size() <= 21, `${ring.size()} settlements`);
  const through = createBatcher(() => duplicate);
  await ring.replay(limiter, through);
  t.same(
    through.names.map(Number),
    range(ring.size()).map((index) => 100 - ring.size() + index),
  );
});

t.test('keeps every character, also of one that is larger than a page', async (t) => {
  const { ring, remember } = createSubject();
  const names = ['ä€😀', '😀'.repeat(20_000), 'x'.repeat(200_000), ''];
  for (const name of names) remember(name);
  const through = createBatcher(() => duplicate);
  await ring.replay(limiter, through);
  t.same(through.names, names);
});

t.test('stops when the server stops answering', async (t) => {
  const { ring, remember } = createSubject();
  for (const serial of range(600)) remember(String(serial));
  const through = createBatcher((name) => (name === '10' ? { kind: 'ambiguous' } : duplicate));
  t.equal(await ring.replay(limiter, through), false);
  t.equal(through.names.length, 256);
});
