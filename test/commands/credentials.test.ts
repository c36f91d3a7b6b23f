import t, { type Test } from 'tap';
import { createSealer, credentialContext } from '../../src/auth/sealed-text.ts';
import { createCredentialsCommand } from '../../src/commands/credentials.ts';
import { createUsersCommand } from '../../src/commands/users.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type Outcome, runCommand } from '../support/command.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const nowMs = Date.UTC(2026, 0, 2, 12);
const secret = 'a secret of thirty-two characters';
const key = 'sk-canary-key-1234';
const ops = ['--email', 'ops@example.com'];

type World = { database: TestDatabase; run: (words: string[], stdin?: string) => Promise<Outcome> };

async function setUp(t: Test): Promise<World> {
  const database = await createTestDatabase(t);
  const folder = t.testdir({ 'gateway.yaml': 'providers: { acme: { own_keys: true }, other: { key: k } }\n' });
  const config = loadConfig({
    environment: { DATABASE_URL: database.url, TOLLGATE_SECRET: secret, TOLLGATE_DATA: `${folder}/data` },
    flags: { config: `${folder}/gateway.yaml` },
    workingDirectory: folder,
    providerIds: ['acme', 'other'],
    dialects: [],
  });
  const options = { loadConfig: () => config, clock: () => nowMs };
  await runCommand(createUsersCommand(options), ['create', ...ops, '--tier', Object.keys(config.tiers)[0] ?? '']);
  const command = createCredentialsCommand(options);
  return { database, run: async (words, stdin) => runCommand(command, words, stdin) };
}

t.test('keeps a key sealed, tells servers of the change, and shows its last four characters only', async (t) => {
  const { database, run } = await setUp(t);
  const set = await run(['set', ...ops, '--provider', 'acme'], `${key}\n`);
  t.match(set, { code: 0, stdout: '', stderr: /asks acme with its own key …1234/ });
  const [row] = await database.db.selectFrom('provider_credentials').selectAll().execute();
  const [account] = await database.db.selectFrom('accounts').select(['id', 'auth_version']).execute();
  t.equal(account?.auth_version, 2, 'the next request looks again');
  t.equal(row?.account_id, account?.id);
  t.equal(createSealer(secret).open(row?.sealed ?? '', credentialContext(account?.id ?? '', 'acme')), key);
  const listed = await run(['list', ...ops]);
  t.match(listed.stdout, /^PROVIDER .*\nacme +…1234 +2026-01-02\n$/);
  const audit = await database.db.selectFrom('audit_log').selectAll().execute();
  t.match(audit.at(-1), { action: 'credential.set', target_id: 'acme', account_id: account?.id });
  t.notMatch(JSON.stringify([row, set, listed, audit]), /canary/);
});

t.test('replaces a key and removes it', async (t) => {
  const { database, run } = await setUp(t);
  await run(['set', ...ops, '--provider', 'acme'], 'first-0001');
  t.match(JSON.parse((await run(['set', ...ops, '--provider', 'acme', '--json'], 'second-0002')).stdout), {
    provider: 'acme',
    isSet: true,
  });
  t.match(JSON.parse((await run(['list', ...ops, '--json'])).stdout), [{ provider: 'acme', last4: '0002' }]);
  t.match(await run(['remove', ...ops, '--provider', 'acme']), {
    code: 0,
    stderr: /no key of its own for acme any more/,
  });
  t.same(await database.db.selectFrom('provider_credentials').selectAll().execute(), []);
  t.match(await run(['remove', ...ops, '--provider', 'acme']), { code: 1, stderr: /has no key of its own for acme/ });
});

t.test('says what would have been right', async (t) => {
  const { run } = await setUp(t);
  t.match(await run(['set', ...ops, '--provider', 'other'], key), {
    code: 2,
    stderr: /may not bring a key for other\. Providers that allow it: acme; set own_keys: true under providers\.other/,
  });
  t.match(await run(['set', ...ops, '--provider', 'acme'], '\n'), { code: 2, stderr: /standard input/ });
  t.match(await run(['set', ...ops, '--provider', 'acme'], 'two words'), { code: 2, stderr: /no spaces/ });
  t.match(await run(['set', '--email', 'b@example.com', '--provider', 'acme'], key), {
    code: 1,
    stderr: 'b@example.com owns no account\n',
  });
  t.match(await run(['sett', ...ops]), { code: 2, stderr: /set, list, remove/ });
});
