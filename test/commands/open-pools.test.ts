import { type Kysely, sql } from 'kysely';
import t from 'tap';
import { openPools } from '../../src/commands/open-pools.ts';
import type { StoreSchema } from '../../src/store/schema.ts';
import { commandConfig } from '../support/command.ts';
import { createTestDatabase, silentLog } from '../support/database.ts';

async function settingOf(db: Kysely<StoreSchema>, name: string): Promise<string | undefined> {
  const { rows } = await sql<{ value: string }>`select current_setting(${name}) as value`.execute(db);
  return rows[0]?.value;
}

t.test('gives keys a second, the ledger five and jobs a minute, each on connections of its own', async (t) => {
  const { url } = await createTestDatabase(t);
  const { pools, close } = await openPools(commandConfig(t, { DATABASE_URL: url }), silentLog);
  t.teardown(close);
  if (pools === null) throw new Error('a server has pools');
  t.equal(await settingOf(pools.auth, 'statement_timeout'), '1s');
  t.equal(await settingOf(pools.drain, 'statement_timeout'), '5s');
  t.equal(await settingOf(pools.jobs, 'statement_timeout'), '1min');

  const { promise: end, resolve } = Promise.withResolvers<void>();
  const busy = [pools.drain, pools.drain, pools.drain, pools.jobs, pools.jobs].map((db) =>
    db.connection().execute(async (connection) => {
      await sql`select 1`.execute(connection);
      await end;
    }),
  );
  await t.resolves(sql`select 1`.execute(pools.auth), 'a key is looked up while ledger and jobs use all of theirs');
  resolve();
  await Promise.all(busy);
});

t.test('the embedded database has one connection whatever is asked', async (t) => {
  const { pools, close } = await openPools(commandConfig(t, {}), silentLog);
  t.equal(pools, null);
  await close();
});
