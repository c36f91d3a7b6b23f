import { sql } from 'kysely';
import t from 'tap';
import { openDatabase } from '../../src/platform/postgres.ts';
import { assertMigrated, migrateToLatest, migrationStatus, resetDatabase } from '../../src/store/migrate.ts';
import type { StoreSchema } from '../../src/store/schema.ts';
import { createPgliteDatabase, createTestDatabase, silentLog, type TestDatabase } from '../support/database.ts';

const firstMigration = '0001-first-tables';

async function tableNames({ db }: TestDatabase): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    select tablename::text as name from pg_tables where schemaname = current_schema() order by 1
  `.execute(db);
  return rows.map(({ name }) => name);
}

for (const [kind, create] of [
  ['a Postgres server', createTestDatabase],
  ['the embedded Postgres', createPgliteDatabase],
] as const) {
  t.test(`goes from nothing to all tables and back on ${kind}`, async (t) => {
    const database = await create(t, { migrated: false });
    const { db } = database;
    const before = await migrationStatus(db);
    t.ok(before.length > 0 && before.every(({ executedAt }) => executedAt === null), 'all are pending');
    await t.rejects(assertMigrated(db), { message: /lacks 0001-first-tables.*tollgate migrate up/ });

    const names = before.map(({ name }) => name);
    t.same(await migrateToLatest(db), names);
    t.same(await migrateToLatest(db), [], 'a second run finds nothing to do');
    await assertMigrated(db);
    t.ok((await migrationStatus(db)).every(({ executedAt }) => executedAt instanceof Date));
    t.ok((await tableNames(database)).includes('usage_events_default'));

    await resetDatabase(db);
    t.same(await tableNames(database), [], 'a reset leaves none of our tables');
    t.same(await migrateToLatest(db), names, 'and the way up is free again');
  });
}

t.test('runs each migration once when two processes migrate at the same time', async (t) => {
  const { url, db } = await createTestDatabase(t, { migrated: false });
  const other = await openDatabase<StoreSchema>({ url, dataDirectory: '', log: silentLog });
  t.teardown(other.close);
  const runs = await Promise.all([migrateToLatest(db), migrateToLatest(other.db)]);
  const all = (await migrationStatus(db)).map(({ name }) => name);
  t.same(runs.flat().sort(), all);
  t.same(
    runs.map((names) => names.length).sort((left, right) => left - right),
    [0, all.length],
    'one did the work, the other waited',
  );
});

t.test('names the migration and leaves nothing behind when it fails', async (t) => {
  const database = await createTestDatabase(t, { migrated: false });
  const folder = t.testdir({
    '0001-good.ts':
      'export async function up(db: { schema: { createTable: Function } }) {\n' +
      "  await db.schema.createTable('half').addColumn('id', 'integer').execute();\n}\n",
    '0002-bad.ts': "export async function up() { throw new Error('no such thing'); }\n",
  });
  await t.rejects(migrateToLatest(database.db, folder), {
    message: 'migration 0002-bad failed',
    cause: { message: 'no such thing' },
  });
  t.notOk((await tableNames(database)).includes('half'), 'the good one was rolled back with it');
});

t.test('accepts a database that is ahead of the code when an update is rolling', async (t) => {
  const { db } = await createTestDatabase(t);
  const folder = t.testdir({ [`${firstMigration}.ts`]: 'export async function up() {}\n' });
  await sql`insert into kysely_migration (name, timestamp) values ('9999-later', '2999-01-01T00:00:00.000Z')`.execute(
    db,
  );
  await assertMigrated(db, folder);
  t.same((await migrationStatus(db, folder)).length, 1);
});
