import t from 'tap';
import { createReaper } from '../../src/admission/reaper.ts';
import type { TickBatcher, TickReply } from '../../src/admission/tick-batcher.ts';
import type { UsageRecord } from '../../src/contract/flow.ts';
import { requestId, usageRecord } from './engine-world.ts';

type Known = { isDispatched: number; progress: number };

/** Plays the server: lists one expired request once, then answers each attempt to settle it with the next reply. */
function createScript(replies: TickReply[], known: Known): TickBatcher & { operations: string[] } {
  const operations: string[] = [];
  return {
    operations,
    submit: async ({ args }) => {
      operations.push(args[0] ?? '');
      if (args[0] === 'R') return replies.shift() ?? { kind: 'unsent' };
      const stored = JSON.stringify([3, usageRecord(requestId(1), 1)]);
      return {
        kind: 'answered',
        reply: ['OK', requestId(1), known.isDispatched, known.progress, stored, requestId(2), 0, 0, 'not ours'],
      };
    },
    reconnected: () => undefined,
    stop: () => {},
  };
}

function createSubject(replies: TickReply[], known: Known = { isDispatched: 1, progress: 60 }) {
  const background = createScript(replies, known);
  const rows: UsageRecord[] = [];
  const failures: string[] = [];
  const reaper = createReaper({
    shards: [{ background }],
    sink: { append: (record) => rows.push(record), hasRoom: () => true },
    isOwn: () => false,
    onFailure: (message) => failures.push(message),
  });
  return { reaper, rows, failures, operations: background.operations };
}

const answered = (word: string): TickReply => ({ kind: 'answered', reply: [word] });

t.test('writes the row when the lost answer of its settlement is repeated', async (t) => {
  const { reaper, rows } = createSubject([{ kind: 'ambiguous' }, answered('DUP')]);
  await reaper.run();
  t.same(rows, []);
  await reaper.run();
  t.match(rows, [{ status: 'orphaned', usage: { completionTokens: 20 }, costPicoUsd: 1000 + 20 * 3 }]);
});

t.test('writes no row when another settled it first, or its lease lives again', async (t) => {
  for (const reply of [answered('DUP'), answered('ALIVE'), answered('CHANGED')]) {
    const { reaper, rows } = createSubject([reply]);
    await reaper.run();
    t.same(rows, []);
  }
});

t.test('leaves for later what was not sent, and tells of a refusal', async (t) => {
  const { reaper, rows, failures, operations } = createSubject(
    [{ kind: 'unsent' }, { kind: 'failed', message: 'WRONGTYPE' }, answered('OK')],
    { isDispatched: 0, progress: 0 },
  );
  await reaper.run();
  await reaper.run();
  t.same(failures, ['WRONGTYPE']);
  await reaper.run();
  t.match(rows, [{ status: 'not_dispatched', costPicoUsd: 0 }]);
  t.same(operations, ['L', 'R', 'L', 'R', 'L', 'R']);
});
