import t from 'tap';
import { createLookupQueue } from '../../src/auth/lookup-queue.ts';

/** A store whose answers are given by hand. */
function heldStore(): {
  ask: (name: string) => () => Promise<string>;
  asked: string[];
  answer: (name: string) => void;
} {
  const asked: string[] = [];
  const open = new Map<string, () => void>();
  return {
    asked,
    ask: (name) => async () => {
      asked.push(name);
      return new Promise((resolve) => open.set(name, () => resolve(name)));
    },
    answer: (name) => open.get(name)?.(),
  };
}

t.test('asks no more than its slots allow, and in order', async (t) => {
  const { ask, asked, answer } = heldStore();
  const queue = createLookupQueue<string>({ concurrency: 2, waitingLimit: 10, timeoutMs: 60_000 });
  const answers = ['a', 'b', 'c', 'd'].map((name) => queue.run({ ask: ask(name), isUrgent: false }));
  t.same(asked, ['a', 'b']);
  answer('b');
  t.equal(await answers[1], 'b');
  t.same(asked, ['a', 'b', 'c']);
  for (const name of ['a', 'c']) answer(name);
  await answers[2];
  answer('d');
  t.same(await Promise.all(answers), ['a', 'b', 'c', 'd']);
});

t.test('refuses at once when the line is full, except what is urgent', async (t) => {
  const { ask, asked, answer } = heldStore();
  const queue = createLookupQueue<string>({ concurrency: 1, waitingLimit: 1, timeoutMs: 60_000 });
  const first = queue.run({ ask: ask('first'), isUrgent: false });
  const waiting = queue.run({ ask: ask('waiting'), isUrgent: false });
  await t.rejects(queue.run({ ask: ask('refused'), isUrgent: false }), { message: /too many keys/ });
  const urgent = queue.run({ ask: ask('urgent'), isUrgent: true });
  answer('first');
  await first;
  answer('urgent');
  await urgent;
  answer('waiting');
  await waiting;
  t.same(asked, ['first', 'urgent', 'waiting']);
});

t.test('gives a slot back when the question fails', async (t) => {
  const queue = createLookupQueue<string>({ concurrency: 1, waitingLimit: 1, timeoutMs: 60_000 });
  await t.rejects(queue.run({ ask: async () => Promise.reject(new Error('down')), isUrgent: false }), {
    message: 'down',
  });
  t.equal(await queue.run({ ask: async () => 'up', isUrgent: false }), 'up');
});

t.test(
  'stops waiting after the timeout, in the slot and in the line, and keeps the slot until the store is done',
  async (t) => {
    const { ask, asked, answer } = heldStore();
    const queue = createLookupQueue<string>({ concurrency: 1, waitingLimit: 10, timeoutMs: 5 });
    const hung = queue.run({ ask: ask('hung'), isUrgent: false });
    const behind = queue.run({ ask: ask('behind'), isUrgent: false });
    await t.rejects(hung, { message: /within 5 ms/ });
    await t.rejects(behind, { message: /within 5 ms/ });
    t.same(asked, ['hung'], 'what nobody waits for is not asked any more');
    const next = queue.run({ ask: ask('next'), isUrgent: false });
    answer('hung');
    // Promises only: on a busy machine the timer of the last question could be first otherwise.
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
    t.same(asked, ['hung', 'next']);
    answer('next');
    t.equal(await next, 'next');
  },
);
