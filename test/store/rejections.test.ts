import { type Kysely, sql } from 'kysely';
import t from 'tap';
import { addRejections, deleteRejections, nobody, type RejectionCount } from '../../src/store/rejections.ts';
import type { StoreSchema } from '../../src/store/schema.ts';
import { testBothKinds } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

const minuteMs = 60_000;
const { accountId, keyId, startedAtMs } = usageRecord();
const minute = Math.floor(startedAtMs / minuteMs) * minuteMs;
const limited: RejectionCount = { minuteMs: minute, accountId, keyId, reason: 'requests', status: 429, count: 3 };
const unknown: RejectionCount = {
  minuteMs: minute,
  accountId: null,
  keyId: null,
  reason: 'unknown',
  status: 401,
  count: 1,
};

async function stored(db: Kysely<StoreSchema>): Promise<object[]> {
  const { rows } = await sql<object>`
    select minute, account_id, key_id, reason, status, replica, count::int
    from rejections_minute order by minute, reason, replica
  `.execute(db);
  return rows;
}

testBothKinds(t, async (t, { db }) => {
  t.test('adds to the row of the same series, and keeps replicas apart', async (t) => {
    await addRejections(db, 'one', [limited, unknown]);
    await addRejections(db, 'one', [unknown, { ...limited, count: 4 }]);
    await addRejections(db, 'two', [unknown]);
    const base = { minute: new Date(minute), status: 401, account_id: nobody, key_id: nobody, reason: 'unknown' };
    t.strictSame(await stored(db), [
      { ...base, account_id: accountId, key_id: keyId, reason: 'requests', status: 429, replica: 'one', count: 7 },
      { ...base, replica: 'one', count: 2 },
      { ...base, replica: 'two', count: 1 },
    ]);
  });

  t.test('tells series apart by each of their parts', async (t) => {
    await sql`delete from rejections_minute`.execute(db);
    const other = '018bcfe5-6800-7000-8000-00000000000c';
    await addRejections(db, 'one', [
      limited,
      { ...limited, accountId: other },
      { ...limited, keyId: other },
      { ...limited, keyId: null },
      { ...limited, reason: 'tokens' },
      { ...limited, status: 503 },
      { ...limited, minuteMs: minute + minuteMs },
    ]);
    t.equal((await stored(db)).length, 7);
  });

  t.test('asks nothing when there is nothing to add', async (t) => {
    const before = await stored(db);
    await addRejections(db, 'one', []);
    t.same(await stored(db), before);
  });

  t.test('deletes what is old, a batch at a time', async (t) => {
    await sql`delete from rejections_minute`.execute(db);
    const counts = [0, 1, 2, 3].map((index) => ({ ...limited, minuteMs: minute + index * minuteMs }));
    await addRejections(db, 'one', counts);
    const limits = { beforeMs: minute + 3 * minuteMs, batchRows: 2 };
    t.equal(await deleteRejections(db, limits), 2);
    t.equal(await deleteRejections(db, limits), 1);
    t.equal(await deleteRejections(db, limits), 0);
    t.match(await stored(db), [{ minute: new Date(minute + 3 * minuteMs) }]);
  });
});
