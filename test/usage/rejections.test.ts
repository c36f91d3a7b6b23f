import t from 'tap';
import { addRejections, type RejectionCount } from '../../src/store/rejections.ts';
import { createRejectionCounter, type Rejection, type RejectionCounterOptions } from '../../src/usage/rejections.ts';
import { testBothKinds } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

const minuteMs = 60_000;
const { accountId, keyId } = usageRecord();
const limited: Rejection = { accountId, keyId, reason: 'requests', status: 429 };
const unknown: Rejection = { accountId: null, keyId: null, reason: 'unknown', status: 401 };

/** A table that adds up as the real one does, with a clock and a switch. */
function createWorld(changes: Partial<RejectionCounterOptions> = {}) {
  const world = {
    nowMs: 10 * minuteMs + 5,
    isDown: false,
    batches: [] as RejectionCount[][],
    failures: [] as number[],
  };
  const counter = createRejectionCounter({
    async insert(counts) {
      if (world.isDown) throw new Error('no database');
      world.batches.push([...counts]);
    },
    clock: () => world.nowMs,
    onFailure: (_error, waiting) => void world.failures.push(waiting),
    ...changes,
  });
  const total = (): number => world.batches.flat().reduce((sum, entry) => sum + entry.count, 0);
  return { world, counter, total };
}

t.test('adds refusals of one minute up to one row per series', async (t) => {
  const { world, counter } = createWorld();
  for (let index = 0; index < 5; index += 1) counter.count(limited);
  counter.count(unknown);
  counter.count({ ...limited, status: 503, reason: 'limits_unavailable' });
  world.nowMs += minuteMs;
  counter.count(limited);
  t.equal(counter.size(), 4);
  await counter.flush();
  t.strictSame(world.batches, [
    [
      { ...limited, minuteMs: 10 * minuteMs, count: 5 },
      { ...unknown, minuteMs: 10 * minuteMs, count: 1 },
      { ...limited, status: 503, reason: 'limits_unavailable', minuteMs: 10 * minuteMs, count: 1 },
      { ...limited, minuteMs: 11 * minuteMs, count: 1 },
    ],
  ]);
  t.equal(counter.size(), 0);
  await counter.flush();
  t.equal(world.batches.length, 1, 'writes nothing when nothing is new');
});

t.test('keeps the counts and writes them later when the database is away', async (t) => {
  const { world, counter, total } = createWorld();
  world.isDown = true;
  counter.count(limited);
  await counter.flush();
  counter.count(limited);
  await counter.flush();
  t.same(world.failures, [1, 1]);
  world.isDown = false;
  await counter.flush();
  t.equal(total(), 2);
  t.equal(counter.size(), 0);
});

t.test('counts what is refused while a batch is on its way, once', async (t) => {
  const { promise: answer, resolve } = Promise.withResolvers<void>();
  const batches: number[] = [];
  const { counter } = createWorld({
    async insert(counts) {
      batches.push(...counts.map((entry) => entry.count));
      await answer;
    },
  });
  counter.count(limited);
  const first = counter.flush();
  counter.count(limited);
  counter.count(limited);
  const second = counter.flush();
  resolve();
  await Promise.all([first, second]);
  t.same(batches, [1], 'one writer at a time');
  await counter.flush();
  t.same(batches, [1, 2]);
});

t.test('puts what is too many into one series per minute and status', async (t) => {
  const { world, counter, total } = createWorld({ maxSeries: 2 });
  for (const reason of ['a', 'b', 'c', 'd', 'a']) counter.count({ ...limited, reason });
  counter.count(unknown);
  await counter.flush();
  const nobody = { minuteMs: 10 * minuteMs, accountId: null, keyId: null, reason: 'other' };
  t.strictSame(world.batches.flat().slice(2), [
    { ...nobody, status: 429, count: 2 },
    { ...nobody, status: 401, count: 1 },
  ]);
  t.equal(total(), 6);
});

t.test('makes no second row of a reason that is called other by itself', async (t) => {
  const { counter } = createWorld({ maxSeries: 1 });
  counter.count({ ...unknown, reason: 'other' });
  counter.count(unknown);
  t.equal(counter.size(), 1);
});

t.test('is bounded when the database is away for days, and loses no count', async (t) => {
  const { world, counter, total } = createWorld({ maxSeries: 10 });
  world.isDown = true;
  const minutes = 3_000;
  for (let minute = 0; minute < minutes; minute += 1) {
    world.nowMs += minuteMs;
    counter.count({ ...limited, reason: `reason ${minute}` });
    counter.count(unknown);
  }
  t.ok(counter.size() < 1_020, `${counter.size()} series`);
  world.isDown = false;
  await counter.flush();
  t.equal(total(), 2 * minutes);
  world.nowMs += minuteMs;
  counter.count(unknown);
  await counter.flush();
  t.match(world.batches.at(-1), [{ reason: 'unknown' }], 'names them again as soon as there is room');
});

t.test('keeps what landed when a later batch of the same write fails', async (t) => {
  const written: string[] = [];
  let isDown = true;
  const { counter, world } = createWorld({
    batchRows: 2,
    async insert(counts) {
      if (written.length > 0 && isDown) throw new Error('gone');
      written.push(...counts.map(({ reason }) => reason));
    },
  });
  for (const reason of ['a', 'b', 'c']) counter.count({ ...limited, reason });
  await counter.flush();
  t.same(world.failures, [1]);
  isDown = false;
  await counter.flush();
  t.same(written, ['a', 'b', 'c']);
});

t.test('writes by itself after its interval, again after a failure, and not without a reason', async (t) => {
  const { promise: done, resolve } = Promise.withResolvers<readonly RejectionCount[]>();
  let attempts = 0;
  const { counter } = createWorld({
    intervalMs: 1,
    async insert(counts) {
      attempts += 1;
      if (attempts === 1) throw new Error('not yet');
      resolve(counts);
    },
  });
  counter.count(limited);
  // The counter's own timer keeps no process alive, and here nothing else does.
  const awake = setInterval(() => {}, 1_000);
  t.match(await done, [limited]);
  clearInterval(awake);
  t.equal(attempts, 2);
});

t.test('writes the rest when it is closed, and tells what it could not write', async (t) => {
  const { world, counter, total } = createWorld();
  counter.count(limited);
  t.equal(await counter.close(1_000), 0);
  t.equal(total(), 1);
  world.isDown = true;
  counter.count(limited);
  counter.count(unknown);
  t.equal(await counter.close(1_000), 2);
});

t.test('closes although the database never answers', async (t) => {
  const { counter } = createWorld({ insert: () => new Promise(() => {}) });
  counter.count(limited);
  t.equal(await counter.close(1), 1);
});

testBothKinds(t, async (t, { db }) => {
  t.test('brings a burst into the table as one row per series', async (t) => {
    let nowMs = 0;
    const counter = createRejectionCounter({
      insert: (counts) => addRejections(db, 'one', counts),
      clock: () => nowMs,
      onFailure: (error) => t.fail(String(error)),
    });
    for (let index = 0; index < 20_000; index += 1) counter.count(index % 2 === 0 ? limited : unknown);
    await counter.flush();
    nowMs = 59_999;
    counter.count(limited);
    t.equal(await counter.close(5_000), 0);
    const rows = await db.selectFrom('rejections_minute').select(['status', 'count']).orderBy('status').execute();
    t.same(
      rows.map(({ status, count }) => [status, Number(count)]),
      [
        [401, 10_000],
        [429, 10_001],
      ],
    );
  });
});
