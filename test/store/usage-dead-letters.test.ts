import t from 'tap';
import { insertUsageDeadLetters, listUsageDeadLetters } from '../../src/store/usage-dead-letters.ts';
import { testBothKinds } from '../support/database.ts';

const letter = { streamId: 'tg:{0}:u 1-0', requestId: 'a', payload: '{"broken"', error: 'no JSON' };

testBothKinds(t, async (t, { db }) => {
  t.test('keeps what was said about each entry, the newest first', async (t) => {
    await insertUsageDeadLetters(db, [letter, { ...letter, streamId: 'tg:{0}:u 2-0', requestId: null }]);
    const letters = await listUsageDeadLetters(db, 10);
    t.match(letters, [{ streamId: 'tg:{0}:u 2-0', requestId: null }, letter]);
    t.ok(letters.every(({ id, atMs }) => /^\d+$/.test(id) && atMs > 0));
    t.equal((await listUsageDeadLetters(db, 1)).length, 1);
  });

  t.test('keeps the first letter when the same entry is delivered again', async (t) => {
    const streamId = 'tg:{0}:u 3-0';
    await insertUsageDeadLetters(db, [{ ...letter, streamId }]);
    await insertUsageDeadLetters(db, [
      { ...letter, streamId, error: 'said again' },
      { ...letter, streamId: 'tg:{0}:u 4-0' },
    ]);
    const letters = await listUsageDeadLetters(db, 10);
    t.match(
      letters.filter((stored) => stored.streamId === streamId),
      [{ error: 'no JSON' }],
    );
    t.ok(letters.some((stored) => stored.streamId === 'tg:{0}:u 4-0'));
  });

  t.test('makes storable what Postgres would refuse', async (t) => {
    await insertUsageDeadLetters(db, [
      { streamId: 'tg:{0}:u 5-0', requestId: 'a\0b\ud800', payload: '\u{1F600}'.repeat(200_000), error: 'x\0' },
    ]);
    const [stored] = await listUsageDeadLetters(db, 1);
    t.match(stored, { requestId: 'a\uFFFDb\uFFFD', error: 'x\uFFFD' });
    t.equal(stored?.payload.length, 262_144);
    t.ok(stored?.payload.isWellFormed());
  });

  t.test('does nothing when there is nothing to keep', async (t) => {
    await t.resolves(insertUsageDeadLetters(db, []));
  });
});
