import t from 'tap';
import { isRefusal, type StreamEntry, type StreamGroup } from '../../src/usage/stream-group.ts';
import { usageRecord } from '../support/usage-record.ts';
import { manyRecords, openStreamWorld } from './stream-world.ts';

const idsOf = (entries: readonly StreamEntry[]): string[] => entries.map(({ entryId }) => entryId);

t.test('gives entries as they were added, also those from before there was a group', async (t) => {
  const { group, add, addRaw } = await openStreamWorld(t);
  const record = usageRecord();
  const first = await add(record);
  const second = await addRaw({ other: 'x' });
  const reader = group('a');
  await reader.join();
  await reader.join();
  t.strictSame(await reader.readNew(10, 20), [
    { entryId: first, requestId: record.requestId, record: JSON.stringify(record), deliveries: 1 },
    { entryId: second, requestId: null, record: null, deliveries: 1 },
  ]);
  t.same(await reader.readNew(10, 20), [], 'nothing new');
});

t.test('says so when the group is gone', async (t) => {
  const { group, admin, stream } = await openStreamWorld(t);
  const reader = group('a');
  await reader.join();
  await admin.del(stream);
  const error: unknown = await reader.readNew(10, 20).catch((thrown: unknown) => thrown);
  t.ok(isRefusal(error, 'NOGROUP'));
  t.notOk(isRefusal('NOGROUP', 'NOGROUP'));
});

t.test('takes over what was left untouched, counts who had it, and takes nothing twice', async (t) => {
  const { group, addAll } = await openStreamWorld(t);
  await addAll(manyRecords(4));
  const dead = group('dead');
  await dead.join();
  const lost = await dead.readNew(10, 20);
  t.same(await group('b').takeStale(10, 60_000), [], 'it may still be at work');
  const taken = await group('b').takeStale(10, 0);
  t.same(
    taken,
    lost.map((entry) => ({ ...entry, deliveries: 2 })),
  );
  await group('b').acknowledge(idsOf(taken));
  t.same(await group('c').takeStale(10, 0), []);
  t.same(await group('b').takeOwn(10), []);
});

t.test('leaves an entry to its drainer when that has just said that it is at work', async (t) => {
  const { group, addAll } = await openStreamWorld(t);
  await addAll(manyRecords(2));
  const reader = group('a');
  await reader.join();
  const ids = idsOf(await reader.readNew(10, 20));
  await reader.release(ids, 90_000);
  await reader.keep(ids);
  t.same(await group('b').takeStale(10, 60_000), []);
  await reader.release(ids, 90_000);
  t.match(await group('b').takeStale(10, 60_000), [{ deliveries: 1 }, { deliveries: 1 }], 'and counts none of it');
});

t.test('gives entries of a reply that was lost once more, and does not count it', async (t) => {
  const { group, addAll } = await openStreamWorld(t);
  await addAll(manyRecords(3));
  const reader = group('a');
  await reader.join();
  await reader.readNew(2, 20);
  for (let round = 0; round < 8; round += 1) {
    t.match(await reader.takeOwn(10), [{ deliveries: 1 }, { deliveries: 1 }]);
  }
  t.same(await group('b').takeOwn(10), [], 'those of others are not its own');
  t.match(await group('b').takeStale(10, 0), [{ deliveries: 2 }, { deliveries: 2 }], 'and nobody else counts it');
});

t.test('gives only the entry up that kills every drainer, not its neighbours', async (t) => {
  const { group, addAll, add, pending } = await openStreamWorld(t);
  await addAll(manyRecords(120));
  const culprit = await add(usageRecord());
  await addAll(manyRecords(79));
  await group('dead-0').join();
  await group('dead-0').readNew(500, 20);
  const survived: StreamEntry[] = [];
  /** False: it met the culprit and died with whatever it held. */
  async function live(drainer: StreamGroup): Promise<boolean> {
    for (;;) {
      const entries = await drainer.takeStale(500, 0);
      if (entries.length === 0) return true;
      const last = entries.filter(({ deliveries }) => deliveries > 5);
      if (entries.length > last.length && entries.some(({ entryId }) => entryId === culprit)) return false;
      survived.push(...entries);
      await drainer.acknowledge(idsOf(entries));
    }
  }
  let deaths = 1;
  while (!(await live(group(`dead-${deaths}`)))) deaths += 1;
  t.equal(deaths, 5);
  t.equal(survived.length, 200);
  t.same(idsOf(survived.filter(({ deliveries }) => deliveries > 5)), [culprit]);
  t.equal(await pending(), 0);
});

t.test('trims what was acknowledged and not deleted, and nothing else', async (t) => {
  const { group, addAll, admin, stream } = await openStreamWorld(t);
  await addAll(manyRecords(6));
  const reader = group('a');
  await reader.join();
  const all = (await admin.xrange(stream, '-', '+')).map(([entryId]) => entryId);
  const left = async () => (await admin.xrange(stream, '-', '+')).map(([entryId]) => all.indexOf(entryId));
  await reader.trim();
  t.same(await left(), [0, 1, 2, 3, 4, 5], 'nothing was read yet');
  await reader.readNew(5, 20);
  await reader.trim();
  t.same(await left(), [0, 1, 2, 3, 4, 5], 'all is pending or unread');
  await admin.xack(stream, 'pg', all[0] ?? '', all[1] ?? '', all[3] ?? '');
  await reader.trim();
  t.same(await left(), [2, 3, 4, 5], 'up to the oldest that is pending');
  await admin.xack(stream, 'pg', all[2] ?? '', all[4] ?? '');
  await reader.trim();
  t.same(await left(), [5], 'the unread one stays');
  await reader.trim();
  t.same((await reader.readNew(5, 20)).length, 1);
});

t.test('does not trim when there is no group to go by', async (t) => {
  const { group, addAll, admin, stream, depth } = await openStreamWorld(t);
  await addAll(manyRecords(2));
  await group('a').trim();
  await admin.xgroup('CREATE', stream, 'another', '$');
  await group('a').trim();
  t.equal(await depth(), 2);
});

t.test('measures how many entries wait, and for how long', async (t) => {
  const { group, addAll, admin, stream } = await openStreamWorld(t);
  const reader = group('a');
  await reader.join();
  t.same(await reader.measure(5_000), { stream, depth: 0, pending: 0, oldestAgeMs: 0 });
  await admin.xadd(stream, '1000-1', 'rec', '{}');
  await addAll(manyRecords(2));
  await reader.readNew(1, 20);
  t.same(await reader.measure(5_000), { stream, depth: 3, pending: 1, oldestAgeMs: 4_000 });
  t.equal((await reader.measure(10)).oldestAgeMs, 0, 'clocks may differ');
});

t.test('takes a consumer out of the group unless it holds an entry', async (t) => {
  const { group, addAll, admin, stream, pending } = await openStreamWorld(t);
  await addAll(manyRecords(2));
  await group('busy').join();
  // The server gives them by name.
  const consumers = async () =>
    ((await admin.xinfo('CONSUMERS', stream, 'pg')) as string[][]).map((fields) => fields[1]);
  const held = await group('busy').readNew(1, 20);
  await group('idle')
    .readNew(1, 20)
    .then((entries) => group('idle').acknowledge(idsOf(entries)));
  await group('busy').leave(3_600_000);
  t.same(await consumers(), ['busy', 'idle']);
  t.equal(await pending(), 1);
  await group('idle').leave(3_600_000);
  t.same(await consumers(), ['busy']);
  await group('busy').acknowledge(idsOf(held));
  await group('other').leave(-1);
  t.same(await consumers(), [], 'also one that went without a word');
});
