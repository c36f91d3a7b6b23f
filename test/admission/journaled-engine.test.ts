import t from 'tap';
import { segmentOf } from '../../src/admission/journal-segments.ts';
import { openJournalDisk } from '../../src/admission/journal-disk.ts';
import { usageRank } from '../../src/contract/flow.ts';
import {
  admission,
  createJournalWorld,
  createTroubledDisk,
  diskFull,
  engineOn,
  framesIn,
  inputTokens,
  kindsIn,
  settlement,
} from './journal-world.ts';

t.test('answers an admission when its frame is in the file, and a settlement too', async (t) => {
  const world = createJournalWorld(t);
  const { engine, rows } = engineOn(t, await world.open());
  const disk = openJournalDisk(world.folder);
  const request = admission();
  t.match(await engine.admit(request), { outcome: 'admitted' });
  t.same(kindsIn(disk), ['head', 'admit']);
  t.match(await engine.admit(request), { outcome: 'admitted' }, 'the same request again');
  engine.markDispatched(request.id, request.accountId);
  const settled = settlement(request.id);
  await engine.settle(settled);
  t.same(kindsIn(disk), ['head', 'admit', 'mark', 'settle'], 'one frame for each step');
  t.match(framesIn(disk).at(-1), { record: settled.record });
  t.match(rows, [{ record: settled.record, position: Number }]);
  t.equal(engine.openLeases(), 0);
  t.match(await engine.admit(request), { outcome: 'finished' });
});

t.test('writes all frames of one turn of the event loop at once, in their order', async (t) => {
  const world = createJournalWorld(t);
  const troubled = createTroubledDisk(world.folder);
  const { engine, rows } = engineOn(t, await world.open({ disk: troubled.disk }));
  let writes = 0;
  troubled.trouble = () => {
    writes += 1;
  };
  const requests = Array.from({ length: 50 }, () => admission());
  t.ok(
    (await Promise.all(requests.map((request) => engine.admit(request)))).every(
      ({ outcome }) => outcome === 'admitted',
    ),
  );
  t.equal(writes, 1);
  await Promise.all(requests.map(({ id }) => engine.settle(settlement(id))));
  t.equal(writes, 2);
  t.same(
    rows.map(({ record }) => record.requestId),
    requests.map(({ id }) => id),
  );
  const positions = rows.map(({ position }) => position ?? 0);
  t.same(
    positions,
    [...new Set(positions)].toSorted((a, b) => a - b),
  );
});

t.test('passes a refusal on and writes nothing', async (t) => {
  const world = createJournalWorld(t);
  const { engine, rows } = engineOn(t, await world.open());
  const scope = 'account:full';
  t.match(await engine.admit(admission({ concurrency: [{ scope, limit: 0 }] })), { outcome: 'rejected', scope });
  t.same(kindsIn(openJournalDisk(world.folder)), ['head']);
  t.same(rows, []);
});

t.test('a request that was never admitted leaves no row when it is voided', async (t) => {
  const world = createJournalWorld(t);
  const { engine, rows } = engineOn(t, await world.open());
  const { id } = admission();
  await engine.settle({ ...settlement(id, { rank: usageRank.void }), kind: 'void' });
  t.same(rows, []);
  t.match(await engine.admit(admission({ id })), { outcome: 'finished' }, 'and cannot be admitted late');
});

t.test('writes progress with the heartbeat, the highest of each request, and once', async (t) => {
  const world = createJournalWorld(t);
  const { engine, beat } = engineOn(t, await world.open());
  const disk = openJournalDisk(world.folder);
  const [one, other] = [admission(), admission()];
  await Promise.all([one, other].map((request) => engine.admit(request)));
  engine.reportProgress(one.id, one.accountId, 50);
  engine.reportProgress(one.id, one.accountId, 70);
  engine.reportProgress(one.id, one.accountId, 60);
  engine.reportProgress('unknown', one.accountId, 60);
  beat();
  beat();
  await engine.settle(settlement(other.id));
  t.same(
    framesIn(disk).filter(({ kind }) => kind === 'progress'),
    [{ kind: 'progress', tokens: { [one.id]: 70 } }],
  );
});

t.test('settles what the last process left open before it takes a request', async (t) => {
  const world = createJournalWorld(t);
  const first = await world.open();
  const { engine, beat } = engineOn(t, first);
  const [untouched, dispatched, streaming, done] = [admission(), admission(), admission(), admission()];
  await Promise.all([untouched, dispatched, streaming, done].map((request) => engine.admit(request)));
  for (const { id, accountId } of [dispatched, streaming, done]) engine.markDispatched(id, accountId);
  engine.reportProgress(streaming.id, streaming.accountId, inputTokens + 30);
  beat();
  engine.reportProgress(streaming.id, streaming.accountId, inputTokens + 10);
  beat();
  await engine.settle(settlement(done.id));
  await first.journal.close();

  const second = await world.open();
  const { recovered } = second;
  const byId = new Map(recovered.map(({ record }) => [record.requestId, record]));
  t.match(byId.get(untouched.id), { rank: 0, status: 'not_dispatched', costPicoUsd: 0, usage: { promptTokens: 0 } });
  t.match(byId.get(dispatched.id), { rank: 1, status: 'orphaned', costPicoUsd: 4000, usage: { completionTokens: 0 } });
  t.match(byId.get(streaming.id), {
    rank: 1,
    status: 'orphaned',
    usageSource: 'estimated',
    costPicoUsd: 4000 + 30 * 7,
    usage: { promptTokens: inputTokens, completionTokens: 30 },
  });
  t.match(byId.get(done.id), { rank: 3, status: 'ok' });
  t.equal(byId.size, 4);
  const positions = recovered.map(({ position }) => position);
  t.match(positions, [Number, null, null, Number], 'the last one moves the cursor past all of them');
  t.ok((positions[0] ?? 0) < (positions[3] ?? 0));
  t.match(world.log, [{ level: 'warn', message: /recovered/, details: { rows: 4, of_requests_cut_off: 3 } }]);

  world.cursors.set(first.journal.id, positions[0] ?? 0);
  await second.journal.close();
  const third = await world.open();
  t.same(
    third.recovered.map(({ record }) => record),
    recovered.slice(1).map(({ record }) => record),
    'the same rows again, until the database has the last of them',
  );
  world.cursors.set(first.journal.id, third.recovered.at(-1)?.position ?? 0);
  third.journal.committed(third.recovered.at(-1)?.position ?? 0);
  await third.journal.close();
  t.same((await world.open()).recovered, []);
});

t.test('brings again only what the database does not have', async (t) => {
  const world = createJournalWorld(t);
  const first = await world.open();
  const { engine, rows } = engineOn(t, first);
  const requests = Array.from({ length: 5 }, () => admission());
  for (const request of requests) {
    await engine.admit(request);
    await engine.settle(settlement(request.id));
  }
  world.cursors.set(first.journal.id, rows[2]?.position ?? 0);
  await first.journal.close();
  const second = await world.open();
  t.equal(second.journal.id, first.journal.id);
  t.same(
    second.recovered.map(({ record }) => record.requestId),
    requests.slice(3).map(({ id }) => id),
  );
  await second.journal.close();
  world.cursors.set(first.journal.id, second.recovered.at(-1)?.position ?? 0);
  t.same((await world.open()).recovered, []);
});

t.test('a full disk refuses what comes and still takes every settlement, until there is room again', async (t) => {
  const world = createJournalWorld(t);
  const troubled = createTroubledDisk(world.folder);
  const opened = await world.open({ disk: troubled.disk });
  const { engine, rows } = engineOn(t, opened);
  const running = Array.from({ length: 20 }, () => admission());
  await Promise.all(running.map((request) => engine.admit(request)));

  let isFull = true;
  troubled.trouble = ({ name }) => {
    if (isFull && name !== 'reserve') throw diskFull();
  };
  const refused = admission();
  t.same(await engine.admit(refused), { outcome: 'unavailable', reason: 'journal_full' }, 'the one that finds it out');
  t.equal(engine.openLeases(), running.length, 'it holds nothing');
  t.same(await engine.admit(admission()), { outcome: 'unavailable', reason: 'journal_full' });
  await Promise.all(running.map(({ id }) => engine.settle(settlement(id))));
  t.equal(rows.length, running.length);
  t.ok(rows.every(({ position }) => position !== null && segmentOf(position) === 2));
  t.equal(engine.openLeases(), 0);

  const hasLogged = (text: RegExp): boolean => world.log.some(({ message }) => text.test(message));
  while (!hasLogged(/still full/)) await new Promise((resolve) => setTimeout(resolve, 5));
  isFull = false;
  const late = admission();
  while ((await engine.admit(late)).outcome !== 'admitted') await new Promise((resolve) => setTimeout(resolve, 5));
  await engine.settle(settlement(late.id));
  t.ok(hasLogged(/nothing is admitted until there is room again/) && hasLogged(/has room again$/));
  await opened.journal.close();
  const { recovered } = await world.open({ disk: troubled.disk });
  t.same(
    recovered.map(({ record }) => record.requestId),
    [...running, late].map(({ id }) => id),
    'all of it is read back, and nothing of what was refused',
  );
});

t.test('a settlement that meets the full disk by itself goes into the reserve', async (t) => {
  const world = createJournalWorld(t);
  const troubled = createTroubledDisk(world.folder);
  const opened = await world.open({ disk: troubled.disk });
  const { engine, rows } = engineOn(t, opened);
  const request = admission();
  await engine.admit(request);
  troubled.trouble = ({ name }) => {
    if (name !== 'reserve') throw diskFull();
  };
  await engine.settle(settlement(request.id));
  t.equal(rows.length, 1);
  t.notOk(opened.journal.hasRoom());
  await engine.close();
});

t.test('a settlement waits for a disk that fails, and lands when it works again', async (t) => {
  const world = createJournalWorld(t);
  const troubled = createTroubledDisk(world.folder);
  const { engine, rows } = engineOn(t, await world.open({ disk: troubled.disk }));
  const [one, other] = [admission(), admission()];
  await Promise.all([one, other].map((request) => engine.admit(request)));
  let failures = 3;
  troubled.trouble = () => {
    failures -= 1;
    if (failures >= 0) throw Object.assign(new Error('input/output error'), { code: 'EIO' });
  };
  await Promise.all([one, other].map(({ id }) => engine.settle(settlement(id))));
  t.same(
    rows.map(({ record }) => record.requestId),
    [one.id, other.id],
  );
  t.match(await engine.admit(admission()), { outcome: 'admitted' });
});

t.test('a disk that does not answer refuses admissions in bounded time and holds no slot for them', async (t) => {
  const world = createJournalWorld(t);
  const troubled = createTroubledDisk(world.folder);
  const opened = await world.open({ disk: troubled.disk, stallMs: 20 });
  const { engine, rows } = engineOn(t, opened);
  const running = admission();
  await engine.admit(running);
  const gate = Promise.withResolvers<void>();
  troubled.trouble = () => gate.promise;
  const stuck = admission();
  const behind = new Promise<{ outcome: string }>((resolve) => {
    // Its turn comes when the write of the first is under way already.
    setTimeout(() => resolve(engine.admit(admission())), 5);
  });
  const refusal = { outcome: 'unavailable', reason: 'journal_full' };
  t.same(await engine.admit(stuck), refusal);
  t.same(await behind, refusal);
  t.same(await engine.admit(admission()), refusal, 'at once');
  t.equal(engine.openLeases(), 1);
  const settled = engine.settle(settlement(running.id));
  gate.resolve();
  await settled;
  t.match(await engine.admit(admission()), { outcome: 'admitted' }, 'it answers again');
  await opened.journal.close();
  const { recovered } = await world.open();
  t.notOk(
    recovered.some(({ record }) => record.requestId === stuck.id),
    'its frame landed late, and its caller had been told no',
  );
  t.same(rows.length, 1);
});

t.test('has no room while the ledger has none', async (t) => {
  const world = createJournalWorld(t);
  let hasRoom = false;
  const { engine } = engineOn(t, await world.open(), { hasRoom: () => hasRoom });
  t.same(await engine.admit(admission()), { outcome: 'unavailable', reason: 'journal_full' });
  hasRoom = true;
  t.match(await engine.admit(admission()), { outcome: 'admitted' });
});

t.test('saves the levels with the heartbeat and at the end, and starts from the last of them', async (t) => {
  const world = createJournalWorld(t);
  let level = 5;
  const restored: unknown[] = [];
  const levels = { snapshot: () => ({ level }), restore: (value: unknown) => void restored.push(value) };
  const first = engineOn(t, await world.open(), { levels });
  t.same(restored, [], 'nothing to start from');
  const disk = openJournalDisk(world.folder);
  const checkpoints = (): unknown[] => framesIn(disk).filter(({ kind }) => kind === 'checkpoint');
  const request = admission();
  await first.engine.admit(request);
  first.beat();
  first.beat();
  await first.engine.settle(settlement(request.id));
  t.match(checkpoints(), [{ levels: { level: 5 } }], 'one, as nothing has changed since');
  level = 6;
  await first.engine.close();
  t.equal(checkpoints().length, 2);
  engineOn(t, await world.open(), { levels });
  t.same(restored, [{ level: 6 }]);
});

t.test('a row that a dead disk never took goes to the ledger without a position', async (t) => {
  const world = createJournalWorld(t);
  const troubled = createTroubledDisk(world.folder);
  const opened = await world.open({ disk: troubled.disk });
  const { engine, rows } = engineOn(t, opened);
  const request = admission();
  await engine.admit(request);
  troubled.trouble = () => {
    throw new Error('dead');
  };
  const settled = engine.settle(settlement(request.id));
  await opened.journal.close(20);
  await settled;
  t.match(rows, [{ record: { requestId: request.id }, position: null }]);
  await engine.settle(settlement(admission().id));
  t.equal(rows.length, 2, 'and one that comes after the end');
  t.same(await engine.admit(admission()), { outcome: 'unavailable', reason: 'journal_full' });
});

t.test('a checkpoint longer than a write lands by itself, and is given up where the room is short', async (t) => {
  const world = createJournalWorld(t);
  const troubled = createTroubledDisk(world.folder);
  const opened = await world.open({ disk: troubled.disk, segmentBytes: 2 ** 30 });
  const long = 'x'.repeat(5 * 2 ** 20);
  opened.journal.checkpoint(long);
  const { engine, rows } = engineOn(t, opened);
  const request = admission();
  t.match(await engine.admit(request), { outcome: 'admitted' });
  t.same(kindsIn(troubled.disk), ['head', 'checkpoint', 'admit']);
  troubled.trouble = ({ name }) => {
    if (name !== 'reserve') throw diskFull();
  };
  opened.journal.checkpoint(long);
  await engine.settle(settlement(request.id));
  opened.journal.checkpoint(long);
  t.equal(rows.length, 1);
  await engine.close();
  t.same(kindsIn(troubled.disk), ['head', 'checkpoint', 'admit', 'head', 'settle']);
});
