import { Client } from 'pg';
import t, { type Test } from 'tap';
import type { Command } from '../../src/commands/command.ts';
import { createMigrateCommand } from '../../src/commands/migrate.ts';
import { listUsagePartitions } from '../../src/store/usage-partitions.ts';
import { commandConfig, type Outcome, runCommand } from '../support/command.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const nowMs = Date.UTC(2026, 0, 2, 12);

async function setUp(
  t: Test,
  environment: Readonly<Record<string, string>> = {},
): Promise<{ database: TestDatabase; run: (...words: string[]) => Promise<Outcome> }> {
  const database = await createTestDatabase(t, { migrated: false });
  const config = commandConfig(t, { DATABASE_URL: database.url, ...environment });
  const command: Command = createMigrateCommand({ loadConfig: () => config, clock: () => nowMs });
  return { database, run: async (...words) => runCommand(command, words) };
}

t.test('goes up, says so, and has nothing to do after', async (t) => {
  const { database, run } = await setUp(t);
  t.match((await run('status')).stdout, /0001-first-tables +pending/);
  t.match(await run(), { code: 0, stdout: '', stderr: /^Migrated: 0001-first-tables/ });
  t.match(await run('up'), { code: 0, stderr: 'Nothing to do.\n' });
  t.match((await run('status')).stdout, /0001-first-tables +\d{4}-\d\d-\d\dT/);
  const [first] = JSON.parse((await run('status', '--json')).stdout);
  t.match(first, { name: '0001-first-tables', executedAt: /^\d{4}-/ });
  t.ok((await listUsagePartitions(database.db)).includes('usage_events_20260109'), 'a week of days is ready');
});

t.test('waits for a migration that is running, however long it takes', async (t) => {
  const { database, run } = await setUp(t);
  const holder = new Client({ connectionString: database.url });
  await holder.connect();
  t.teardown(async () => holder.end());
  // The key of Kysely's own lock.
  await holder.query('select pg_advisory_lock(3853314791062309107)');
  const running = run('up');
  for (;;) {
    const { rows } = await holder.query("select 1 from pg_locks where locktype = 'advisory' and not granted");
    if (rows.length > 0) break;
  }
  await holder.query('select pg_advisory_unlock(3853314791062309107)');
  t.match(await running, { code: 0, stderr: /^Migrated/ });
});

t.test('writes the tiers of the configuration', async (t) => {
  const { database, run } = await setUp(t);
  t.match(await run('seed'), { code: 0, stdout: '', stderr: 'Wrote 2 tiers.\n' });
  const rows = await database.db.selectFrom('tiers').select('id').orderBy('id').execute();
  t.same(rows, [{ id: 'free' }, { id: 'pro' }]);
  t.same(JSON.parse((await run('seed', '--json')).stdout), { tiers: ['free', 'pro'], keys: [] });
});

t.test('makes one demo account for each tier, once', async (t) => {
  const { run } = await setUp(t);
  const first = await run('seed', '--demo');
  t.match(first.stdout, /^free@example\.com\tsk-tg-\S+\npro@example\.com\tsk-tg-\S+\n$/);
  t.match(await run('seed', '--demo'), { code: 0, stdout: '' });
});

t.test('drops everything when it is told to with --yes', async (t) => {
  const { run } = await setUp(t);
  await run('up');
  t.match(await run('reset'), { code: 2, stderr: /say --yes/ });
  t.match((await run('status')).stdout, /0001-first-tables +\d{4}/);
  t.match(await run('reset', '--yes'), { code: 0, stderr: /All tables are gone/ });
  t.match((await run('status')).stdout, /0001-first-tables +pending/);
});

t.test('drops nothing and opens no demo account in production', async (t) => {
  const { run } = await setUp(t, { NODE_ENV: 'production' });
  t.match(await run('reset', '--yes'), { code: 1, stderr: /refused in production/ });
  t.match(await run('seed', '--demo'), { code: 1, stderr: /refused in production/ });
  t.match(
    await run('seed'),
    { code: 1, stderr: /Run "tollgate migrate up" first/ },
    'and migrates only when it is told to',
  );
  t.match(await run('up'), { code: 0 });
  t.match(await run('seed'), { code: 0 });
});

t.test('says what it can do when it is asked for something else', async (t) => {
  const { run } = await setUp(t);
  t.match(await run('down'), { code: 2, stderr: '"down" is unknown: up, status, seed, reset\n' });
});

t.test('says what is wrong when the server cannot be reached', async (t) => {
  const config = commandConfig(t, { DATABASE_URL: 'postgres://someone:hunter2@127.0.0.1:1/none' });
  const outcome = await runCommand(createMigrateCommand({ loadConfig: () => config }), ['up']);
  t.match(outcome, { code: 1, stderr: /ECONNREFUSED/ });
  t.notMatch(outcome.stderr, /hunter2/);
});
