import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import t, { type Test } from 'tap';
import { type JobEnd, type Jobs, type JobsOptions, startJobs } from '../../src/platform/jobs.ts';
import type { StoreSchema } from '../../src/store/schema.ts';
import { createTestDatabase, runOnServer, serverUrl, type TestDatabase, testBothKinds } from '../support/database.ts';

/** Every minute: what fell due within the last one runs at once. */
const always = '* * * * *';

type World = { jobs: Jobs; ends: JobEnd[]; warnings: string[]; warned: Promise<void> };

function start(
  t: Test,
  { url, kind, db }: Pick<TestDatabase, 'url' | 'kind' | 'db'>,
  changes: Partial<JobsOptions<StoreSchema>> = {},
): World {
  const ends: JobEnd[] = [];
  const warnings: string[] = [];
  const { promise: warned, resolve } = Promise.withResolvers<void>();
  const jobs = startJobs({
    database: { db, kind },
    url: kind === 'pglite' ? null : url,
    log: {
      warn(_details, message) {
        warnings.push(message);
        resolve();
      },
    },
    onEnd: (end) => void ends.push(end),
    pollSeconds: 0.5,
    retryMs: 10,
    ...changes,
  });
  t.teardown(() => jobs.stop());
  return { jobs, ends, warnings, warned };
}

/** Schedules and waits for the first run. */
function firstRun(jobs: Jobs, name: string): Promise<void> {
  return new Promise((resolve) => {
    void jobs.schedule(name, always, async () => resolve());
  });
}

testBothKinds(t, async (t, database) => {
  t.test('runs what is due, tells how it ended, and lets go of everything when stopped', async (t) => {
    const { jobs, ends, warnings } = start(t, database);
    const good = firstRun(jobs, 'good');
    const bad = new Promise<void>((resolve) => {
      void jobs.schedule('bad', always, async () => {
        resolve();
        throw new Error('this one cannot');
      });
    });
    await Promise.all([good, bad]);
    await jobs.stop();
    // As sets: at the turn of a minute the good one is due again.
    t.same(new Set(ends.map(({ name, result }) => `${name} ${result}`)), new Set(['bad failure', 'good success']));
    t.ok(ends.every(({ atMs }) => Math.abs(Date.now() - atMs) < 60_000));
    t.same(warnings, ['a job failed']);
    const { rows } = await sql<object>`
      select distinct name, state::text from pgboss.job
      where name = 'bad' or (name = 'good' and state = 'completed') order by name
    `.execute(database.db);
    t.same(rows, [
      { name: 'bad', state: 'retry' },
      { name: 'good', state: 'completed' },
    ]);
  });

  t.test('tells a running handler that the process stops, and waits for it', async (t) => {
    const { jobs, ends } = start(t, database);
    const { promise: running, resolve } = Promise.withResolvers<void>();
    void jobs.schedule('long', always, async (signal) => {
      t.notOk(signal.aborted);
      resolve();
      await new Promise((end) => signal.addEventListener('abort', end));
    });
    await running;
    await jobs.stop();
    t.match(ends, [{ name: 'long', result: 'success' }]);
  });

  t.test('starts again over what an earlier process left', async (t) => {
    const { jobs, warnings } = start(t, database);
    await firstRun(jobs, 'later');
    await jobs.stop();
    t.same(warnings, []);
  });
});

t.test('works on after its connections were cut', async (t) => {
  const database = await createTestDatabase(t, { migrated: false });
  const { jobs, warned } = start(t, database);
  await firstRun(jobs, 'before');
  await sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'tollgate-jobs'
  `.execute(database.db);
  await warned;
  await firstRun(jobs, 'after');
  await jobs.stop();
  // A server notices a closed connection a moment later; one that stays open never ends this loop.
  while ((await countConnections(database)) > 0) t.comment('not closed yet');
});

async function countConnections({ db }: TestDatabase): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*)::int as count from pg_stat_activity
    where datname = current_database() and application_name = 'tollgate-jobs'
  `.execute(db);
  return rows[0]?.count ?? 0;
}

t.test('waits for a database that is not there yet', async (t) => {
  const name = `tollgate_test_${randomBytes(8).toString('hex')}`;
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  t.teardown(() => runOnServer(`drop database if exists ${name} with (force)`));
  const { db } = await createTestDatabase(t, { migrated: false });
  const { jobs, warned } = start(t, { db, kind: 'postgres', url: url.href });
  const run = firstRun(jobs, 'patient');
  await warned;
  await runOnServer(`create database ${name}`);
  await run;
  await jobs.stop();
});

t.test('ends at once when it is stopped before it ever started', async (t) => {
  const { db } = await createTestDatabase(t, { migrated: false });
  const { jobs, warned, warnings } = start(
    t,
    { db, kind: 'postgres', url: 'postgres://127.0.0.1:1/none' },
    { retryMs: 3_600_000 },
  );
  const scheduled = jobs.schedule('never', always, async () => void t.fail('ran'));
  await warned;
  await jobs.stop();
  await scheduled;
  t.same(warnings, ['the job queue waits for its database']);
});

t.test('leaves no trace when it is stopped before its delay is over', async (t) => {
  const database = await createTestDatabase(t, { migrated: false });
  const { jobs, warnings } = start(t, database, { delayMs: 3_600_000 });
  const scheduled = jobs.schedule('never', always, async () => void t.fail('ran'));
  await jobs.stop();
  await scheduled;
  t.same(warnings, []);
  const { rows } = await sql<object>`select to_regnamespace('pgboss')::text as schema`.execute(database.db);
  t.same(rows, [{ schema: null }]);
});

t.test('refuses a server without an address', async (t) => {
  const { db } = await createTestDatabase(t, { migrated: false });
  t.throws(() => startJobs({ database: { db, kind: 'postgres' }, url: null, log: { warn() {} } }), TypeError);
});

t.test('runs a job once when two replicas have it', async (t) => {
  const database = await createTestDatabase(t, { migrated: false });
  const [one, two] = [start(t, database), start(t, database)];
  await Promise.race([firstRun(one.jobs, 'shared'), firstRun(two.jobs, 'shared')]);
  await Promise.all([one.jobs.stop(), two.jobs.stop()]);
  const ends = [...one.ends, ...two.ends];
  const { rows } = await sql<object>`
    select count(*)::int as jobs from pgboss.job where name = 'shared' and state = 'completed'
  `.execute(database.db);
  t.same(rows, [{ jobs: ends.length }], 'each job ran once');
  // Two at most: the turn of a minute may lie within the test.
  t.ok(ends.length === 1 || ends.length === 2);
});
