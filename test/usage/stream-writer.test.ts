import t, { type Test } from 'tap';
import type { UsageRecord } from '../../src/contract/flow.ts';
import type { UsageDeadLetter } from '../../src/store/usage-dead-letters.ts';
import type { StreamEntry } from '../../src/usage/stream-group.ts';
import { createStreamWriter, StreamStopped, type StreamWriterOptions } from '../../src/usage/stream-writer.ts';
import { silentLog } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

type Changes = Partial<StreamWriterOptions>;

function createSubject(changes: Changes = {}) {
  const rows: UsageRecord[] = [];
  const letters: UsageDeadLetter[] = [];
  const acknowledged: string[] = [];
  const pausesMs: number[] = [];
  const kept: string[][] = [];
  const stopping = new AbortController();
  const writer = createStreamWriter({
    stream: 'tg:{0}:u',
    insert: async (records) => void rows.push(...records),
    deadLetter: async (more) => void letters.push(...more),
    acknowledge: async (entryIds) => void acknowledged.push(...entryIds),
    beforeRetry: async (entryIds) => void kept.push([...entryIds]),
    maxDeliveries: 5,
    retryMs: 100,
    pause: async (durationMs) => void pausesMs.push(durationMs),
    signal: stopping.signal,
    log: silentLog,
    onWritten: () => {},
    onDeadLetters: () => {},
    ...changes,
  });
  return { writer, rows, letters, acknowledged, pausesMs, kept, stopping };
}

const failure = (code: string): Error => Object.assign(new Error(`failed with ${code}`), { code });

function entries(count: number): StreamEntry[] {
  return Array.from({ length: count }, (_, index) => entryOf(usageRecord(), index));
}

function entryOf(record: UsageRecord, index: number): StreamEntry {
  return { entryId: `${index}-0`, requestId: record.requestId, record: JSON.stringify(record), deliveries: 1 };
}

const idsOf = (batch: readonly StreamEntry[]): string[] => batch.map(({ entryId }) => entryId);

t.test('acknowledges a batch when its rows are in, and not before', async (t) => {
  const steps: string[] = [];
  const { writer } = createSubject({
    insert: async (records) => void steps.push(`insert ${records.length}`),
    acknowledge: async (entryIds) => void steps.push(`acknowledge ${entryIds.length}`),
  });
  await writer.write(entries(3));
  t.same(steps, ['insert 3', 'acknowledge 3']);
  t.same(writer.held(), []);
});

t.test('waits out whatever says something about the server and not about the data', async (t) => {
  const away =
    '40P01 40001 08006 08P01 57P01 57P03 57014 53300 55P03 25006 28P01 3D000 42P01 58030 EPIPE ECONNREFUSED'.split(' ');
  for (const code of away) {
    let failuresLeft = 8;
    const subject = createSubject({
      insert: async () => {
        failuresLeft -= 1;
        if (failuresLeft >= 0) throw failure(code);
        subject.rows.push(usageRecord());
      },
    });
    const batch = entries(2);
    await subject.writer.write(batch);
    t.equal(subject.rows.length, 1, `${code}: in one piece, at the ninth attempt`);
    t.same(subject.letters, []);
    t.same(subject.acknowledged, idsOf(batch));
    t.same(subject.kept[7], idsOf(batch), 'the others were told each time');
  }
});

t.test('waits longer after each failure, never more than five seconds, and never in step', async (t) => {
  let failuresLeft = 12;
  const { writer, pausesMs } = createSubject({
    insert: async () => {
      failuresLeft -= 1;
      if (failuresLeft >= 0) throw new Error('Connection terminated unexpectedly');
    },
  });
  await writer.write(entries(1));
  t.equal(pausesMs.length, 12);
  for (const [index, pauseMs] of pausesMs.entries()) {
    const fullMs = Math.min(5_000, 100 * 2 ** index);
    t.ok(pauseMs >= fullMs / 2 && pauseMs <= fullMs, `pause ${index + 1} is ${pauseMs}`);
  }
  t.ok(new Set(pausesMs.slice(6)).size > 1);
});

t.test('halves a refused batch until only the culprits are left out', async (t) => {
  for (const refusal of [failure('22P02'), failure('23514'), failure('54000'), new RangeError('no cost')]) {
    const subject = createSubject({
      insert: async (records) => {
        if (records.some(({ model }) => model === 'bad')) throw refusal;
        subject.rows.push(...records);
      },
    });
    const batch = [...entries(30), ...[30, 31, 47].map((index) => entryOf(usageRecord({ model: 'bad' }), index))];
    await subject.writer.write(batch);
    t.equal(subject.rows.length, 30);
    t.same(
      subject.letters.map(({ streamId }) => streamId),
      ['tg:{0}:u 30-0', 'tg:{0}:u 31-0', 'tg:{0}:u 47-0'],
    );
    t.match(subject.letters[0], { error: refusal.message, payload: /"model":"bad"/ });
    t.same(new Set(subject.acknowledged), new Set(idsOf(batch)));
    t.equal(subject.acknowledged.length, batch.length);
    t.same(subject.pausesMs, [], 'nothing was waited for');
  }
});

t.test('blames the data for an error that nobody knows only after five attempts', async (t) => {
  const subject = createSubject({
    insert: async () => {
      throw failure('XX000');
    },
  });
  await subject.writer.write(entries(1));
  t.equal(subject.pausesMs.length, 4);
  t.equal(subject.letters.length, 1);
});

t.test('does not look at an entry that has outlived five drainers', async (t) => {
  const { writer, rows, letters } = createSubject();
  const [first, second, third] = entries(3);
  if (first === undefined || second === undefined || third === undefined) throw new Error('three were made');
  await writer.write([{ ...first, deliveries: 5 }, { ...second, deliveries: 6 }, third]);
  t.equal(rows.length, 2);
  t.match(letters, [{ streamId: 'tg:{0}:u 1-0', error: 'delivered 5 times, never finished' }]);
});

t.test('acknowledges a broken entry only when its dead letter is kept', async (t) => {
  let failuresLeft = 3;
  const steps: string[] = [];
  const { writer } = createSubject({
    insert: async () => void steps.push('insert'),
    deadLetter: async () => {
      failuresLeft -= 1;
      steps.push('letter');
      // Data that is refused here as well must not be let go either.
      if (failuresLeft >= 0) throw failure('22P05');
    },
    acknowledge: async (entryIds) => void steps.push(`acknowledge ${entryIds.join()}`),
  });
  await writer.write([...entries(1), { entryId: '9-0', requestId: null, record: '{', deliveries: 1 }]);
  t.same(steps, ['insert', 'acknowledge 0-0', 'letter', 'letter', 'letter', 'letter', 'acknowledge 9-0']);
});

t.test('repeats an acknowledgement, and not the rows, when Redis does not answer', async (t) => {
  let failuresLeft = 3;
  const subject = createSubject({
    acknowledge: async (entryIds) => {
      failuresLeft -= 1;
      if (failuresLeft >= 0) throw new Error('Command timed out');
      subject.acknowledged.push(...entryIds);
    },
  });
  await subject.writer.write(entries(2));
  t.equal(subject.rows.length, 2);
  t.same(subject.acknowledged, ['0-0', '1-0']);
});

async function stopWhileAway(t: Test, changes: Changes): Promise<readonly string[]> {
  const subject = createSubject({
    pause: async () => subject.stopping.abort(),
    ...changes,
  });
  const error: unknown = await subject.writer.write(entries(2)).catch((thrown: unknown) => thrown);
  t.ok(error instanceof StreamStopped);
  return subject.writer.held();
}

t.test('keeps hold of what is not acknowledged when it is stopped', async (t) => {
  const refuse = async (): Promise<void> => {
    throw failure('57P01');
  };
  t.same(await stopWhileAway(t, { insert: refuse }), ['0-0', '1-0']);
  t.same(await stopWhileAway(t, { acknowledge: refuse }), ['0-0', '1-0']);
});
