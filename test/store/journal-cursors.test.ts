import t from 'tap';
import { readJournalCursor, saveJournalCursor } from '../../src/store/journal-cursors.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { testBothKinds } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

const one = '018bcfe5-6800-7000-8000-000000000001';
const other = '018bcfe5-6800-7000-8000-000000000002';

testBothKinds(t, async (t, { db }) => {
  t.test('starts at zero for a journal that the database has never seen', async (t) => {
    t.equal(await readJournalCursor(db, '018bcfe5-6800-7000-8000-0000000000ff'), 0);
  });

  t.test('moves forward only, for each journal by itself', async (t) => {
    const far = 3 * 2 ** 40 + 17;
    await saveJournalCursor(db, one, 5);
    await saveJournalCursor(db, one, far);
    await saveJournalCursor(db, one, 6);
    await saveJournalCursor(db, other, 7);
    t.equal(await readJournalCursor(db, one), far);
    t.equal(await readJournalCursor(db, other), 7);
  });

  t.test('stays where it was when the rows beside it do not land', async (t) => {
    await saveJournalCursor(db, other, 8);
    const before = await readJournalCursor(db, other);
    const broken = { ...usageRecord(), accountId: 'no uuid' };
    await t.rejects(
      db.transaction().execute(async (trx) => {
        await saveJournalCursor(trx, other, before + 1);
        await insertUsageEvents(trx, [broken]);
      }),
    );
    t.equal(await readJournalCursor(db, other), before);
  });
});
