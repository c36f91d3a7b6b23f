import t, { type Test } from 'tap';
import { createUsersCommand } from '../../src/commands/users.ts';
import { commandConfig, type Outcome, runCommand } from '../support/command.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const nowMs = Date.UTC(2026, 0, 2, 12);

async function setUp(t: Test): Promise<{ database: TestDatabase; run: (...words: string[]) => Promise<Outcome> }> {
  const database = await createTestDatabase(t);
  const config = commandConfig(t, { DATABASE_URL: database.url });
  const command = createUsersCommand({ loadConfig: () => config, clock: () => nowMs });
  return { database, run: async (...words) => runCommand(command, words) };
}

t.test('makes a user with an account of the tier, once', async (t) => {
  const { run, database } = await setUp(t);
  const words = ['create', '--email', 'Ops@Example.com', '--tier', 'pro', '--name', 'Operations'];
  t.match(await run(...words), {
    code: 0,
    stdout: '',
    stderr: 'Made ops@example.com with an account on the tier pro.\n',
  });
  t.match(await run(...words), { code: 1, stderr: 'ops@example.com exists already, on the tier pro\n' });
  const entries = await database.db.selectFrom('audit_log').select(['action', 'target_kind', 'detail']).execute();
  t.strictSame(entries, [{ action: 'user.create', target_kind: 'user', detail: { tier: 'pro' } }]);
  const other = await run('create', '--email', 'b@example.com', '--tier', 'free', '--json');
  t.match(JSON.parse(other.stdout), { email: 'b@example.com', name: 'b@example.com', tier: 'free' });
});

t.test('lists users with their tier and role', async (t) => {
  const { run } = await setUp(t);
  await run('create', '--email', 'ops@example.com', '--tier', 'pro', '--name', 'Operations');
  t.match((await run('list')).stdout, /^EMAIL .*NAME\nops@example\.com +active +pro +owner +2026-01-02 +Operations\n$/);
  const [user] = JSON.parse((await run('list', '--json')).stdout);
  t.match(user, { email: 'ops@example.com', displayName: 'Operations', account: { tier: 'pro', role: 'owner' } });
  t.notOk('passwordHash' in user);
});

t.test('moves an account to another tier, and raises its version', async (t) => {
  const { run, database } = await setUp(t);
  await run('create', '--email', 'ops@example.com', '--tier', 'free');
  t.match(await run('set-tier', '--email', 'OPS@example.com', '--tier', 'pro'), {
    code: 0,
    stderr: /moved from free to pro/,
  });
  const accounts = await database.db.selectFrom('accounts').select(['tier', 'auth_version']).execute();
  t.same(accounts, [{ tier: 'pro', auth_version: 2 }]);
  t.match(await run('set-tier', '--email', 'nobody@example.com', '--tier', 'pro'), {
    code: 1,
    stderr: 'nobody@example.com owns no account\n',
  });
  const json = await run('set-tier', '--email', 'ops@example.com', '--tier', 'free', '--json');
  t.match(JSON.parse(json.stdout), { tier: 'free' });
});

t.test('refuses what makes no sense with exit code 2', async (t) => {
  const { run } = await setUp(t);
  t.match(await run('create', '--email', 'a@example.com', '--tier', 'fre'), { code: 2, stderr: /Did you mean free\?/ });
  t.match(await run('create', '--email', 'a@example.com'), { code: 2, stderr: '--tier is missing\n' });
  t.match(await run('create', '--email', ' ', '--tier', 'pro'), { code: 2, stderr: '--email is empty\n' });
  t.match(await run('erase'), { code: 2, stderr: /create, list, set-tier/ });
});
