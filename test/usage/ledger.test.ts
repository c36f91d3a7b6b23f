import { array, assert, asyncProperty, constantFrom, integer, nat, uniqueArray } from 'fast-check';
import t from 'tap';
import type { UsageRecord } from '../../src/contract/flow.ts';
import { createLedger, type Ledger, type LedgerOptions } from '../../src/usage/ledger.ts';
import { usageRecord } from '../support/usage-record.ts';

const refusedData = () => Object.assign(new Error('invalid input'), { code: '22P02' });
const databaseAway = () => Object.assign(new Error('connection refused'), { code: 'ECONNREFUSED' });

type World = {
  ledger: Ledger;
  /** Ids of each batch that was offered to the database, in order. */
  offered: string[][];
  landed: string[];
  /** The journal position that came with each batch that landed. */
  cursors: (number | null)[];
  /** What the ledger told. */
  written: string[];
  poisoned: string[];
  failures: { error: unknown; waitingRows: number }[];
  /** Rows that the database refuses. */
  bad: Set<string>;
  /** Asked before each insert; throws or waits to be a database in trouble. */
  trouble: () => Promise<void> | void;
  add: (...ids: string[]) => void;
  /** Resolves as soon as the condition holds, looked at after everything that the ledger does. */
  until: (isSo: () => boolean) => Promise<void>;
};

const idOf = ({ requestId }: UsageRecord): string => requestId;

function createWorld(options: Partial<LedgerOptions> = {}): World {
  let wake: () => void = () => undefined;
  const world: Omit<World, 'ledger'> = {
    offered: [],
    landed: [],
    cursors: [],
    written: [],
    poisoned: [],
    failures: [],
    bad: new Set(),
    trouble: () => undefined,
    add: (...ids) => {
      for (const requestId of ids) ledger.append(usageRecord({ requestId }));
    },
    async until(isSo) {
      while (!isSo()) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
  const ledger = createLedger({
    async insert(records, journalPosition) {
      const ids = records.map(idOf);
      world.offered.push(ids);
      wake();
      await world.trouble();
      if (ids.some((id) => world.bad.has(id))) throw refusedData();
      world.landed.push(...ids);
      world.cursors.push(journalPosition);
    },
    batchRows: 4,
    intervalMs: 1,
    capRows: 1000,
    retryMs: 1,
    onWritten(records) {
      world.written.push(...records.map(idOf));
      wake();
    },
    onFailure(error, waitingRows) {
      world.failures.push({ error, waitingRows });
      wake();
    },
    onPoison(record) {
      world.poisoned.push(idOf(record));
      wake();
    },
    ...options,
  });
  return Object.assign(world, { ledger });
}

const ids = (count: number): string[] => Array.from({ length: count }, (_, index) => `r${index}`);

/** Troubles in order, one for each insert; none when they are used up. */
function troubles(...list: readonly (() => unknown)[]): World['trouble'] {
  const left = [...list];
  return () => {
    const error = left.shift()?.();
    if (error !== undefined) throw error;
  };
}

const fine = () => undefined;

t.test('writes rows in batches and in their order', async (t) => {
  const world = createWorld();
  world.add(...ids(10));
  t.equal(world.ledger.depth(), 10);
  await world.until(() => world.written.length === 10);
  t.same(
    world.offered.map(({ length }) => length),
    [4, 4, 2],
  );
  t.same(world.landed, ids(10));
  t.same(world.written, ids(10));
  t.equal(world.ledger.depth(), 0);
  world.add('later');
  await world.until(() => world.written.includes('later'));
  t.same(world.landed, [...ids(10), 'later']);
});

t.test('lets a few rows wait for each other, and a full batch for nothing', async (t) => {
  const patient = createWorld({ intervalMs: 3_600_000 });
  patient.add('a', 'b', 'c');
  await new Promise((resolve) => setImmediate(resolve));
  t.same(patient.offered, []);
  patient.add('d');
  await patient.until(() => patient.written.length === 4);
  t.same(patient.offered, [['a', 'b', 'c', 'd']]);
});

t.test('writes what came while it was writing, once', async (t) => {
  const world = createWorld();
  const gate = Promise.withResolvers<void>();
  world.trouble = () => gate.promise;
  world.add('a', 'b');
  await world.until(() => world.offered.length === 1);
  world.add('c');
  t.equal(world.ledger.depth(), 3, 'rows in flight are still ours');
  gate.resolve();
  await world.until(() => world.written.length === 3);
  t.same(world.offered, [['a', 'b'], ['c']]);
});

t.test('keeps every row and its order while the database is away, and tells how many wait', async (t) => {
  const world = createWorld();
  world.trouble = troubles(databaseAway, databaseAway, fine, databaseAway);
  world.add(...ids(6));
  await world.until(() => world.written.length === 6);
  t.same(world.landed, ids(6), 'nothing twice, nothing lost');
  t.same(
    world.failures.map(({ waitingRows }) => waitingRows),
    [6, 6, 2],
  );
  t.match(world.failures[0]?.error, { code: 'ECONNREFUSED' });
  t.same(world.poisoned, []);
});

t.test('waits twice as long after each failure, up to 32 times, and starts again after a success', async (t) => {
  const realSetTimeout = globalThis.setTimeout;
  const delays: number[] = [];
  t.intercept(globalThis, 'setTimeout', {
    value: (run: () => void, delayMs: number) => {
      delays.push(delayMs);
      return realSetTimeout(run, 0);
    },
  });
  const world = createWorld({ intervalMs: 1, retryMs: 100 });
  world.trouble = troubles(...Array<() => Error>(8).fill(databaseAway), fine, databaseAway);
  world.add('a');
  await world.until(() => world.written.length === 1);
  world.add('b');
  await world.until(() => world.written.length === 2);
  t.same(
    delays.filter((delayMs) => delayMs > 1),
    [100, 200, 400, 800, 1600, 3200, 3200, 3200, 100],
  );
});

t.test('a new row does not shorten the wait for a database that is away', async (t) => {
  const world = createWorld({ retryMs: 3_600_000 });
  world.trouble = troubles(databaseAway);
  world.add('a', 'b');
  await world.until(() => world.failures.length === 1);
  // The first two of them make a full batch.
  world.add(...ids(8));
  await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(world.offered.length, 1);
  t.same(await world.ledger.close(1000), []);
  t.same(world.landed, ['a', 'b', ...ids(8)]);
});

t.test('sets a row that the database refuses aside, alone', async (t) => {
  for (const bad of [['r0'], ['r3'], ['r1', 'r2'], ['r0', 'r1', 'r2', 'r3'], ['r5']]) {
    const world = createWorld();
    for (const id of bad) world.bad.add(id);
    world.add(...ids(6));
    await world.until(() => world.ledger.depth() === 0);
    const good = ids(6).filter((id) => !bad.includes(id));
    t.same(world.landed, good, `${bad.join(' ')} aside`);
    t.same(world.written, good);
    t.same(world.poisoned, bad);
    t.same(world.failures, [], 'no reason to wait');
  }
});

t.test('takes data and constraint errors for a bad row, and everything else for a database in trouble', async (t) => {
  for (const code of ['22001', '22P05', '23502', '23514']) {
    const world = createWorld();
    world.trouble = troubles(() => Object.assign(new Error(code), { code }));
    world.add('a');
    await world.until(() => world.ledger.depth() === 0);
    t.same(world.poisoned, ['a'], code);
  }
  const otherErrors = [
    ...['40001', '40P01', '53300', '57P01', '42P01', '08006'].map((code) => Object.assign(new Error(code), { code })),
    Object.assign(new Error('a number'), { code: 22 }),
    new Error('Connection terminated unexpectedly'),
    'a string',
    null,
  ];
  for (const error of otherErrors) {
    const world = createWorld();
    world.trouble = () => {
      world.trouble = fine;
      throw error;
    };
    world.add('a');
    await world.until(() => world.written.length === 1);
    t.same([world.poisoned, world.landed], [[], ['a']], String(error));
    t.equal(world.failures[0]?.error, error);
  }
});

t.test('writes nothing twice when the database goes away in the middle of a search for a bad row', async (t) => {
  const world = createWorld();
  world.bad.add('r1');
  // Offered: all four, the first two, r0, r1, and then the other half.
  world.trouble = troubles(fine, fine, fine, fine, databaseAway);
  world.add(...ids(4));
  await world.until(() => world.ledger.depth() === 0);
  t.same(world.landed, ['r0', 'r2', 'r3']);
  t.same(world.written, ['r0', 'r2', 'r3']);
  t.same(world.poisoned, ['r1']);
  t.equal(world.failures.length, 1);
});

t.test('has no room at the cap, rows in flight included, and has it again when they have landed', async (t) => {
  const world = createWorld({ capRows: 5 });
  const gate = Promise.withResolvers<void>();
  world.trouble = () => gate.promise;
  world.add(...ids(4));
  t.ok(world.ledger.hasRoom());
  world.add('fifth');
  t.notOk(world.ledger.hasRoom());
  await world.until(() => world.offered.length === 1);
  t.notOk(world.ledger.hasRoom());
  world.add('settled all the same');
  t.equal(world.ledger.depth(), 6, 'the cap closes admission; it drops nothing');
  gate.resolve();
  await world.until(() => world.written.length === 6);
  t.ok(world.ledger.hasRoom());
});

t.test('close writes what is left, without waiting for its time', async (t) => {
  const world = createWorld({ intervalMs: 3_600_000, batchRows: 100 });
  world.add(...ids(9));
  t.same(await world.ledger.close(10_000), []);
  t.same(world.landed, ids(9));
  t.same(await world.ledger.close(10_000), [], 'again');
  t.equal(world.offered.length, 1);
});

t.test('close joins the write that is under way', async (t) => {
  const world = createWorld();
  const gate = Promise.withResolvers<void>();
  world.trouble = () => gate.promise;
  world.add(...ids(6));
  await world.until(() => world.offered.length === 1);
  const closed = world.ledger.close(10_000);
  gate.resolve();
  t.same(await closed, []);
  t.same(world.offered, [ids(4), ['r4', 'r5']]);
});

t.test('close waits for a database that comes back in time', async (t) => {
  const world = createWorld();
  world.trouble = troubles(databaseAway, databaseAway, databaseAway);
  world.add(...ids(6));
  t.same(await world.ledger.close(10_000), []);
  t.same(world.landed, ids(6));
});

t.test('close gives back what could not be written', async (t) => {
  const world = createWorld();
  world.trouble = troubles(fine, ...Array<() => Error>(1000).fill(databaseAway));
  world.add(...ids(7));
  t.same((await world.ledger.close(20)).map(idOf), ['r4', 'r5', 'r6']);
  t.same(world.landed, ids(4));
});

t.test('close does not wait for a database that never answers', async (t) => {
  const world = createWorld();
  const never = Promise.withResolvers<void>();
  world.add(...ids(3));
  world.trouble = () => never.promise;
  await world.until(() => world.offered.length === 1);
  t.same((await world.ledger.close(5)).map(idOf), ids(3));
  never.resolve();
});

t.test('a row that comes while it closes is written too, and no other row is written twice or lost', async (t) => {
  const world = createWorld({ intervalMs: 0, retryMs: 5 });
  world.trouble = troubles(databaseAway, databaseAway, databaseAway);
  world.add(...ids(6));
  await world.until(() => world.failures.length === 1);
  const closed = world.ledger.close(10_000);
  world.add('late');
  const later = setTimeout(() => world.add('later'), 2);
  t.same(await closed, []);
  clearTimeout(later);
  await world.until(() => world.ledger.depth() === 0);
  const expected = [...ids(6), 'late', 'later'].filter((id) => id !== 'later' || world.landed.includes(id));
  t.same(world.landed, expected);
});

t.test('a fault in what is told to others costs no row and repeats none', async (t) => {
  let told = 0;
  const world = createWorld({
    onWritten() {
      told += 1;
      if (told === 1) throw new Error('a metric is broken');
    },
  });
  world.add(...ids(6));
  t.same(await world.ledger.close(10_000), []);
  t.same(world.landed, ids(6));
  t.equal(world.failures.length, 1);
});

t.test('whatever the database does, each row lands once or is set aside once, in order', async (t) => {
  const outcome = constantFrom('up', 'up', 'away');
  await assert(
    asyncProperty(
      nat({ max: 30 }),
      uniqueArray(nat({ max: 29 })),
      array(outcome),
      integer({ min: 1, max: 9 }),
      async (count, bad, outcomes, batchRows) => {
        const world = createWorld({ batchRows, retryMs: 0, intervalMs: 0 });
        for (const index of bad) world.bad.add(`r${index}`);
        world.trouble = troubles(...outcomes.map((state) => (state === 'away' ? databaseAway : fine)));
        const all = ids(count);
        world.add(...all);
        await world.until(() => world.ledger.depth() === 0);
        const isBad = (id: string): boolean => world.bad.has(id);
        t.strictSame(
          world.landed,
          all.filter((id) => !isBad(id)),
        );
        t.strictSame(world.written, world.landed);
        t.strictSame(world.poisoned, all.filter(isBad));
      },
    ),
    { numRuns: 60 },
  );
});

t.test('tells with each batch how far the rows of the journal have landed with it', async (t) => {
  const world = createWorld();
  world.bad.add('r2');
  for (const [index, requestId] of ids(6).entries()) world.ledger.append(usageRecord({ requestId }), 100 + index);
  world.add('of no journal');
  await world.until(() => world.ledger.depth() === 0);
  t.same(world.landed, ['r0', 'r1', 'r3', 'r4', 'r5', 'of no journal']);
  t.same(world.cursors, [101, 103, 105], 'a row that is refused moves it no further than those in front of it');
  world.add('alone');
  await world.until(() => world.landed.includes('alone'));
  t.equal(world.cursors.at(-1), null);
});

t.test('flush writes what is there without waiting for its time, and the ledger goes on', async (t) => {
  const world = createWorld({ intervalMs: 3_600_000, batchRows: 100 });
  world.trouble = troubles(databaseAway, databaseAway);
  world.add(...ids(3));
  t.ok(await world.ledger.flush(10_000));
  t.same(world.landed, ids(3));
  t.ok(await world.ledger.flush(10_000), 'nothing to do');
  world.add('later');
  t.ok(await world.ledger.flush(10_000));
  t.same(world.landed, [...ids(3), 'later']);
});

t.test('flush tells when rows could not be written in time, and keeps them', async (t) => {
  const world = createWorld({ intervalMs: 3_600_000 });
  world.trouble = () => {
    throw databaseAway();
  };
  world.add(...ids(3));
  t.notOk(await world.ledger.flush(5));
  t.equal(world.ledger.depth(), 3);
  world.trouble = fine;
  t.same(await world.ledger.close(10_000), []);
  t.same(world.landed, ids(3));
});
