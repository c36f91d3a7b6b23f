import { spawnSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { OpenedJournal } from '../../src/admission/journal.ts';
import { openJournalDisk } from '../../src/admission/journal-disk.ts';
import { positionOf, segmentName } from '../../src/admission/journal-segments.ts';
import {
  admission,
  createJournalWorld,
  createTroubledDisk,
  engineOn,
  settlement,
  type JournalWorld,
} from './journal-world.ts';

const pathOf = ({ folder }: JournalWorld, segment: number): string => join(folder, segmentName(segment));

const segmentsIn = ({ folder }: JournalWorld): string[] =>
  openJournalDisk(folder)
    .list()
    .filter((name) => name.endsWith('.log'))
    .toSorted();

/** So many requests, one after the other; gives their ids. */
async function serve({ engine }: ReturnType<typeof engineOn>, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let served = 0; served < count; served += 1) {
    const request = admission();
    await engine.admit(request);
    await engine.settle(settlement(request.id));
    ids.push(request.id);
  }
  return ids;
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 2));
}

const idsOf = ({ recovered }: OpenedJournal): string[] => recovered.map(({ record }) => record.requestId);

t.test('cuts off what a write left that did not come to its end, and says so', async (t) => {
  const world = createJournalWorld(t);
  const first = await world.open();
  const ids = await serve(engineOn(t, first), 3);
  await first.journal.close();
  const path = pathOf(world, 1);
  const wholeBytes = statSync(path).size;
  const tail = readFileSync(path).subarray(20, 300);
  for (const torn of [tail.subarray(0, 1), tail, Buffer.alloc(100, 0xff)]) {
    appendFileSync(path, torn);
    const next = await world.open();
    t.equal(statSync(path).size, wholeBytes);
    t.same(idsOf(next), ids);
    t.match(world.log.splice(0), [{ message: /cut short/, details: { segment: 1, bytes: torn.length } }, {}]);
    await next.journal.close();
    // The start leaves a segment of its own, which would make this one no longer the last.
    openJournalDisk(world.folder).remove(segmentName(2));
  }
  truncateSync(path, wholeBytes - 1);
  const next = await world.open();
  t.same(idsOf(next), ids, 'the last one settled by the start, as an orphan');
  t.equal(next.recovered.at(-1)?.record.rank, 0);
});

t.test('refuses to start on damage, and tells how to go on without what it hit', async (t) => {
  const world = createJournalWorld(t);
  const first = await world.open();
  const ids = await serve(engineOn(t, first), 3);
  await first.journal.close();
  const path = pathOf(world, 1);
  const whole = readFileSync(path);
  const damaged = Buffer.from(whole);
  const middle = whole.length >> 1;
  damaged[middle] = (damaged[middle] ?? 0) ^ 4;
  writeFileSync(path, damaged);
  const error = await world.open().then(
    () => null,
    (reason: unknown) => reason,
  );
  t.match(error, { message: /is damaged: .*00000001\.log.*Restore the file from a backup.*truncate -s \d+ '.*log'$/ });
  t.same(readFileSync(path), damaged, 'it touched nothing');
  t.same(segmentsIn(world), ['00000001.log']);
  const [, command = ''] = /run: (.*)$/.exec(error instanceof Error ? error.message : '') ?? [];
  t.equal(spawnSync('sh', ['-c', command]).status, 0);
  t.ok(ids.slice(0, 1).every((id, index) => id === ids[index]));
  t.same(idsOf(await world.open())[0], ids[0], 'the hint works');
});

t.test('refuses a tail that is cut in a segment that is not the last', async (t) => {
  const world = createJournalWorld(t);
  const first = await world.open({ segmentBytes: 1000 });
  await serve(engineOn(t, first), 3);
  await first.journal.close();
  t.ok(segmentsIn(world).length >= 2);
  truncateSync(pathOf(world, 1), statSync(pathOf(world, 1)).size - 3);
  await t.rejects(world.open(), { message: /damaged: .*00000001\.log/ });
});

t.test('refuses a journal with a segment missing in the middle, or of two journals', async (t) => {
  const world = createJournalWorld(t);
  const first = await world.open({ segmentBytes: 1000 });
  await serve(engineOn(t, first), 6);
  await first.journal.close();
  const disk = openJournalDisk(world.folder);
  const second = disk.read(segmentName(2));
  disk.remove(segmentName(2));
  await t.rejects(world.open(), { message: /lacks .*00000002\.log/ });

  const otherFolder = `${world.folder}-other`;
  const foreign = await world.open({ segmentBytes: 1000, folder: otherFolder });
  await serve(engineOn(t, foreign), 6);
  await foreign.journal.close();
  writeFileSync(pathOf(world, 2), openJournalDisk(otherFolder).read(segmentName(2)));
  await t.rejects(world.open(), { message: /00000002\.log belongs to another journal/ });
  writeFileSync(pathOf(world, 2), disk.read(segmentName(3)));
  await t.rejects(world.open(), { message: /00000002\.log is not segment 2/ });
  writeFileSync(pathOf(world, 2), second);
  await world.open();
});

t.test('passes over what a process left that died before its first write returned', async (t) => {
  const world = createJournalWorld(t);
  const first = await world.open();
  const ids = await serve(engineOn(t, first), 2);
  await first.journal.close();
  writeFileSync(pathOf(world, 2), '');
  writeFileSync(pathOf(world, 3), Buffer.alloc(4000));
  const next = await world.open();
  t.same(idsOf(next), ids);
  t.same(segmentsIn(world), ['00000001.log', '00000002.log']);
});

t.test('a segment goes when its rows are in the database and its requests have ended', async (t) => {
  const world = createJournalWorld(t);
  const opened = await world.open({ segmentBytes: 1000 });
  const { journal } = opened;
  const served = engineOn(t, opened);
  const long = admission();
  await served.engine.admit(long);
  await serve(served, 8);
  const last = served.rows.at(-1)?.position ?? 0;
  const before = segmentsIn(world);
  t.ok(before.length > 5);
  journal.committed(last);
  await serve(served, 1);
  t.same(segmentsIn(world)[0], '00000001.log', 'a request that began in the first one is still running');
  await served.engine.settle(settlement(long.id));
  journal.committed(served.rows.at(-1)?.position ?? 0);
  await serve(served, 1);
  await until(() => segmentsIn(world).length < 4);
  await journal.close();
  world.cursors.set(journal.id, served.rows.at(-2)?.position ?? 0);
  const next = await world.open();
  t.equal(next.recovered.length, 1);
  next.journal.committed(next.recovered[0]?.position ?? 0);
});

t.test('keeps every segment with a row that the database does not have', async (t) => {
  const world = createJournalWorld(t);
  const opened = await world.open({ segmentBytes: 1000 });
  const served = engineOn(t, opened);
  await serve(served, 6);
  const third = served.rows[2]?.position ?? 0;
  opened.journal.committed(third);
  await until(() => segmentsIn(world)[0] !== '00000001.log');
  await serve(served, 2);
  await opened.journal.close();
  world.cursors.set(opened.journal.id, third);
  t.equal((await world.open()).recovered.length, 5);
});

t.test(
  'keeps what requests that were cut off were recovered from, until the last of their rows has landed',
  async (t) => {
    const world = createJournalWorld(t);
    const first = await world.open({ segmentBytes: 1000 });
    const cut = [admission(), admission(), admission()];
    const { engine } = engineOn(t, first);
    for (const request of cut) await engine.admit(request);
    await first.journal.close();
    const old = segmentsIn(world);
    t.ok(old.length > 1);

    const second = await world.open();
    const served = engineOn(t, second);
    await serve(served, 1);
    second.journal.committed(0);
    t.same(
      second.recovered.map(({ position }) => position !== null),
      [false, false, true],
    );
    await second.journal.close();
    t.same(segmentsIn(world).slice(0, old.length), old);
    const third = await world.open();
    t.equal(third.recovered.length, 4);
    await serve(engineOn(t, third), 1);
    third.journal.committed(third.recovered.at(-1)?.position ?? 0);
    await third.journal.close();
    t.notOk(segmentsIn(world).some((name) => old.includes(name)));
  },
);

t.test('begins a segment only when the one before it is on the medium', async (t) => {
  const world = createJournalWorld(t);
  const { disk: real } = createTroubledDisk(world.folder);
  const steps: string[] = [];
  const disk = {
    ...real,
    create: async (name: string) => {
      steps.push(`begins ${name}`);
      const file = await real.create(name);
      return {
        ...file,
        async sync() {
          await file.sync();
          steps.push(`on the medium ${name}`);
        },
      };
    },
  };
  const served = engineOn(t, await world.open({ disk, segmentBytes: 1000, every: () => () => undefined }));
  steps.length = 0;
  await serve(served, 2);
  t.same(steps.slice(0, 2), ['on the medium 00000001.log', 'begins 00000002.log']);
});

t.test('keeps the segment of the last checkpoint until there is a newer one', async (t) => {
  const world = createJournalWorld(t);
  const opened = await world.open({ segmentBytes: 1000 });
  const { journal } = opened;
  const served = engineOn(t, opened);
  journal.checkpoint({ of: 'the first segment' });
  await serve(served, 6);
  journal.committed(served.rows.at(-1)?.position ?? 0);
  await serve(served, 2);
  t.equal(segmentsIn(world)[0], '00000001.log');
  journal.checkpoint({ of: 'a later one' });
  await serve(served, 1);
  await until(() => segmentsIn(world)[0] !== '00000001.log');
  await journal.close();
  t.same((await world.open()).levels, { of: 'a later one' });
});

t.test('begins a new segment after its time, and never goes back to a number', async (t) => {
  const world = createJournalWorld(t);
  let nowMs = 0;
  const opened = await world.open({ segmentMs: 600_000, nowMs: () => nowMs, stallMs: 3_600_000 });
  const served = engineOn(t, opened);
  await serve(served, 1);
  nowMs = 599_999;
  await serve(served, 1);
  t.same(segmentsIn(world).length, 1);
  nowMs = 600_000;
  await serve(served, 1);
  t.same(segmentsIn(world).length, 2);
  nowMs = 0;
  // The last files are gone, and the database remembers how far it was.
  await opened.journal.close();
  world.cursors.set(opened.journal.id, positionOf(7, 100));
  const next = await world.open();
  await serve(engineOn(t, next), 1);
  await next.journal.close();
  t.ok(segmentsIn(world).includes('00000008.log'));
  t.equal((await world.open()).recovered.length, 1, 'and such a jump is no missing segment');
});

t.test('at its cap it refuses admissions, takes settlements, and has room again when rows have gone', async (t) => {
  const world = createJournalWorld(t);
  const opened = await world.open({ segmentBytes: 1000, capBytes: 12_000 });
  const served = engineOn(t, opened);
  const running = Array.from({ length: 20 }, () => admission());
  const results = await Promise.all(running.map((request) => served.engine.admit(request)));
  t.ok(results.every(({ outcome }) => outcome === 'admitted'));
  t.match(await served.engine.admit(admission()), { outcome: 'unavailable', reason: 'journal_full' });
  for (const { id } of running) await served.engine.settle(settlement(id));
  t.equal(served.rows.length, 20);
  t.ok(opened.journal.sizeBytes() > 12_000);
  opened.journal.committed(served.rows.at(-1)?.position ?? 0);
  await until(() => opened.journal.hasRoom());
  t.match(await served.engine.admit(admission()), { outcome: 'admitted' });
});

t.test('strict: it answers when the frame is on the medium', async (t) => {
  const world = createJournalWorld(t);
  const troubled = createTroubledDisk(world.folder);
  const real = troubled.disk;
  const steps: string[] = [];
  const disk = {
    ...real,
    create: async (name: string) => {
      const file = await real.create(name);
      return {
        ...file,
        async sync() {
          await file.sync();
          if (name.endsWith('.log')) steps.push('on the medium');
        },
      };
    },
  };
  troubled.trouble = ({ name }) => void (name.endsWith('.log') && steps.push('written'));
  const served = engineOn(t, await world.open({ disk, durability: 'strict' }));
  steps.length = 0;
  const request = admission();
  await served.engine.admit(request);
  steps.push('answered');
  await served.engine.settle(settlement(request.id));
  steps.push('settled');
  t.same(steps, ['written', 'on the medium', 'answered', 'written', 'on the medium', 'settled']);
});

t.test('standard: what was written is on the medium with the next round of the timer', async (t) => {
  const world = createJournalWorld(t);
  const troubled = createTroubledDisk(world.folder);
  const real = troubled.disk;
  let syncs = 0;
  let underWay = 0;
  let failing = false;
  const disk = {
    ...real,
    create: async (name: string) => {
      const file = await real.create(name);
      return {
        ...file,
        async sync() {
          underWay += 1;
          try {
            if (failing) throw new Error('input/output error');
            await file.sync();
            if (name.endsWith('.log')) syncs += 1;
          } finally {
            underWay -= 1;
          }
        },
      };
    },
  };
  const rounds: (() => void)[] = [];
  const opened = await world.open({
    disk,
    every: (periodMs, work) => {
      if (periodMs === 100) rounds.push(() => void work());
      return () => undefined;
    },
  });
  const served = engineOn(t, opened);
  const turn = async (): Promise<void> => {
    for (const run of rounds) run();
    await until(() => underWay === 0);
  };
  await turn();
  syncs = 0;
  await serve(served, 3);
  t.equal(syncs, 0);
  await turn();
  t.equal(syncs, 1);
  await turn();
  t.equal(syncs, 1, 'nothing new');
  failing = true;
  await serve(served, 1);
  await turn();
  failing = false;
  t.match(world.log.at(-1), { level: 'error', message: /could not be synced/ });
});

t.test('on a real disk without room: refused, settled, read back', async (t) => {
  const mount = mkdtempSync(join(tmpdir(), 'tollgate-full-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', mount]);
  if (mounted.status !== 0) {
    t.pass('mounting takes rights that this account lacks; the refusing disk above stands for it');
    rmdirSync(mount);
    return;
  }
  t.teardown(() => {
    spawnSync('umount', ['-l', mount]);
    rmdirSync(mount);
  });
  const world = createJournalWorld(t);
  const folder = join(mount, 'journal');
  const opened = await world.open({ folder, reserveBytes: 96 * 1024, retryMs: 3_600_000 });
  const served = engineOn(t, opened);
  const running: string[] = [];
  for (;;) {
    const request = admission();
    const { outcome } = await served.engine.admit(request);
    if (outcome !== 'admitted') {
      t.equal(outcome, 'unavailable');
      break;
    }
    running.push(request.id);
  }
  const kept = running.slice(0, 90);
  await Promise.all(kept.map((id) => served.engine.settle(settlement(id))));
  t.equal(served.rows.length, kept.length);
  await served.engine.close();
  const next = await world.open({ folder, reserveBytes: 96 * 1024 });
  t.same(next.recovered.filter(({ record }) => record.rank === 3).length, kept.length);
  t.equal(next.recovered.length, running.length);
  t.notOk(next.journal.hasRoom(), 'there is none for a new reserve');
  next.journal.committed(next.recovered.at(-1)?.position ?? 0);
  await until(() => next.journal.hasRoom());
  t.match(await engineOn(t, next).engine.admit(admission()), { outcome: 'admitted' });
});
