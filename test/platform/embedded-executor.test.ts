import { sql } from 'kysely';
import t from 'tap';
import { createEmbeddedExecutor, splitScript } from '../../src/platform/embedded-executor.ts';
import { createPgliteDatabase } from '../support/database.ts';

t.test('cuts a script at the semicolons that end a statement', (t) => {
  const cases: [string, string[]][] = [
    ['', []],
    [' ; ;\n', []],
    ['select 1', ['select 1']],
    ['begin;\n select $1; commit;', ['begin', 'select $1', 'commit']],
    [`select 'a;b''c;' ; select ";""x"`, [`select 'a;b''c;'`, `select ";""x"`]],
    ['do $$ begin; end; $$; select 1', ['do $$ begin; end; $$', 'select 1']],
    ['as $body$ a; $$ b; $$ c; $body$ language sql; x', ['as $body$ a; $$ b; $$ c; $body$ language sql', 'x']],
    ['select 1 -- one; two\n; select 2', ['select 1 -- one; two', 'select 2']],
    ['select 1 /* a; b */ - 2 / 3; x', ['select 1 /* a; b */ - 2 / 3', 'x']],
    ["select '\n;'", ["select '\n;'"]],
  ];
  for (const [script, statements] of cases) t.same(splitScript(script), statements, script);
  t.end();
});

t.test('runs scripts and statements', async (t) => {
  const { db } = await createPgliteDatabase(t, { migrated: false });
  const executor = createEmbeddedExecutor(db);

  t.test('gives the rows of every statement of a script', async (t) => {
    const { rows } = await executor.executeSql("begin; select 1 as a; select ';' as b; commit");
    t.same(rows, [{ a: 1 }, { b: ';' }]);
  });

  t.test('binds values', async (t) => {
    t.same(await executor.executeSql('select $1::int + $2::int as sum', [1, 2]), { rows: [{ sum: 3 }] });
  });

  t.test('leaves a usable connection behind when a script fails in its transaction', async (t) => {
    await t.rejects(executor.executeSql('begin; create table half (id int); select 1 / 0; commit'), { code: '22012' });
    t.same(await executor.executeSql("select to_regclass('half')::text as half"), { rows: [{ half: null }] });
    await t.rejects(executor.executeSql('select $1::int / 0', [1]), { code: '22012' });
    t.same(await executor.executeSql('select 1 as a'), { rows: [{ a: 1 }] });
  });

  t.test('does not get into the transaction of another', async (t) => {
    await executor.executeSql('create table note (id int)');
    const { promise: started, resolve: start } = Promise.withResolvers<void>();
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const other = db.transaction().execute(async (trx) => {
      await sql`insert into note values (1)`.execute(trx);
      start();
      await ended;
      throw new Error('rolled back');
    });
    await started;
    const ours = executor.executeSql('begin; insert into note values (2); commit');
    end();
    await t.rejects(other, { message: 'rolled back' });
    await ours;
    t.same(await executor.executeSql('select id from note'), { rows: [{ id: 2 }] });
  });
});
