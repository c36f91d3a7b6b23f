import t, { type Test } from 'tap';
import { createKeyAuthenticator } from '../../src/auth/key-authenticator.ts';
import { derivePepper } from '../../src/auth/api-key.ts';
import { createKeysCommand } from '../../src/commands/keys.ts';
import { findKeyByPublicId } from '../../src/store/api-keys.ts';
import { commandConfig, type Outcome, runCommand } from '../support/command.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const nowMs = Date.UTC(2026, 0, 2, 12);
const ops = ['--email', 'ops@example.com', '--name', 'build server'];

type SetUp = {
  database: TestDatabase;
  run: (...words: string[]) => Promise<Outcome>;
  /** Makes a key and gives its text. */
  create: (...words: string[]) => Promise<string>;
  kindOf: (token: string) => Promise<string>;
};

async function setUp(t: Test): Promise<SetUp> {
  const database = await createTestDatabase(t);
  const config = commandConfig(t, { DATABASE_URL: database.url });
  const command = createKeysCommand({ loadConfig: () => config, clock: () => nowMs });
  const run: SetUp['run'] = async (...words) => runCommand(command, words);
  return {
    database,
    run,
    create: async (...words) => (await run('create', ...ops, ...words)).stdout.trim(),
    async kindOf(token) {
      const { authenticate } = createKeyAuthenticator({
        pepper: derivePepper(config.secret?.reveal() ?? '').pepper,
        clock: () => nowMs,
        tierOf: (id) => config.tiers[id],
        findKey: async (publicId) => findKeyByPublicId(database.db, publicId),
      });
      const result = await authenticate(token);
      return result.kind === 'invalid' ? result.reason : result.kind;
    },
  };
}

t.test('prints a new key alone on stdout, and everything else on stderr', async (t) => {
  const { run, kindOf } = await setUp(t);
  const outcome = await run('create', ...ops, '--tier', 'pro');
  t.match(outcome, { code: 0, stdout: /^sk-tg-[0-9A-Za-z]{12}_[0-9A-Za-z]{49}\n$/ });
  t.match(outcome.stderr, /Made the account of ops@example\.com on the tier pro\.\n.*shown only now/);
  t.notMatch(outcome.stderr, outcome.stdout.trim());
  t.equal(await kindOf(outcome.stdout.trim()), 'valid');
});

t.test('gives the key what its options say', async (t) => {
  const { run, database } = await setUp(t);
  const options = [
    '--rpm',
    '60',
    '--tpm',
    '90000',
    '--concurrency',
    '0',
    '--models',
    'small, acme/*',
    '--expires',
    '30d',
  ];
  const { stdout } = await run('create', ...ops, '--tier', 'pro', ...options, '--json');
  const shown = JSON.parse(stdout);
  t.match(shown, {
    key: /^sk-tg-/,
    name: 'build server',
    email: 'ops@example.com',
    tier: 'pro',
    limits: { requestsPerMinute: 60, tokensPerMinute: 90_000, concurrency: 0 },
    models: ['small', 'acme/*'],
    expiresAt: '2026-02-01T12:00:00.000Z',
  });
  t.match(await findKeyByPublicId(database.db, shown.publicId), {
    id: shown.id,
    accountId: shown.accountId,
    limits: { requestsPerMinute: 60, tokensPerMinute: 90_000, concurrency: 0 },
    allowedModels: ['small', 'acme/*'],
    expiresAtMs: Date.UTC(2026, 1, 1, 12),
  });
});

t.test('refuses what makes no sense with exit code 2, before it makes anything', async (t) => {
  const { run, database } = await setUp(t);
  const cases: [string[], RegExp][] = [
    [['create', ...ops, '--tier', 'prro'], /no tier "prro"\. Did you mean pro\? Known tiers: free, pro\./],
    [['create', ...ops, '--tier', 'zzzzzzzz'], /no tier "zzzzzzzz"\. Known tiers/],
    [['create', ...ops], /no account yet; say its --tier/],
    [['create', '--name', 'x', '--tier', 'pro'], /--email is missing/],
    [['create', '--email', 'nonsense', '--name', 'x', '--tier', 'pro'], /"nonsense" is no email address/],
    [['create', '--email', 'ops@example.com', '--tier', 'pro'], /--name is missing/],
    [['create', ...ops, '--tier', 'pro', '--rpm', 'sixty'], /--rpm takes a whole number/],
    [['create', ...ops, '--tier', 'pro', '--tpm', '1e3'], /--tpm takes a whole number/],
    [['create', ...ops, '--tier', 'pro', '--budget-daily', '$5'], /--budget-daily: expected USD such as 50 or 0\.25/],
    [['create', ...ops, '--tier', 'pro', '--models', 'a,,b'], /--models takes names/],
    [['create', ...ops, '--tier', 'pro', '--expires', 'soon'], /--expires takes a date/],
    [['create', ...ops, '--tier', 'pro', '--expires', '2026-01-01'], /is in the past/],
    [['create', ...ops, '--tier', 'pro', '--expires', '99999999999d'], /--expires takes a date/],
    [['revoke'], /say which key/],
    [['revoke', 'sk-tg-'], /say which key/],
    [['destroy'], /"destroy" is unknown: create, list/],
    [[], /say what to do: create, list/],
  ];
  for (const [words, message] of cases) {
    t.match(await run(...words), { code: 2, stdout: '', stderr: message });
  }
  t.same(await database.db.selectFrom('users').select('id').execute(), []);
});

t.test('keeps the account and its tier when the address is known', async (t) => {
  const { run, create, database } = await setUp(t);
  await create('--tier', 'pro');
  t.match(await run('create', ...ops, '--tier', 'free'), {
    code: 1,
    stderr: /is on the tier pro.*users set-tier --email/,
  });
  t.match(await create(), /^sk-tg-/, 'no tier is needed then');
  t.equal((await database.db.selectFrom('accounts').select('id').execute()).length, 1);
});

t.test('disables, enables and revokes a key by whatever names it', async (t) => {
  const { run, create, kindOf, database } = await setUp(t);
  const token = await create('--tier', 'pro');
  const publicId = token.slice(6, 18);
  t.match(await run('disable', publicId.slice(0, 9)), { code: 0, stdout: '', stderr: /is disabled/ });
  t.equal(await kindOf(token), 'disabled');
  t.match(await run('enable', `sk-tg-${publicId}`), { code: 0 });
  t.equal(await kindOf(token), 'valid');
  const revoked = await run('revoke', token, '--json');
  t.same(JSON.parse(revoked.stdout), { publicId, status: 'revoked', published: 'pending' });
  t.equal(await kindOf(token), 'revoked');
  t.match(await run('revoke', publicId), { code: 0 }, 'twice does no harm');
  t.match(await run('enable', publicId), { code: 1, stderr: /revoked, and that is for ever/ });
  const actions = await database.db.selectFrom('audit_log').select('action').orderBy('id').execute();
  t.same(
    new Set(actions.map(({ action }) => action)),
    new Set(['key.create', 'key.disable', 'key.enable', 'key.revoke']),
  );
  t.equal(actions.length, 4, 'what changed nothing is not in the log');
});

t.test('changes nothing when the name fits no key, or several', async (t) => {
  const { run, create, database, kindOf } = await setUp(t);
  t.match(await run('revoke', 'AbCdEf'), { code: 1, stderr: 'no key begins with AbCdEf\n' });
  const tokens = [await create('--tier', 'pro'), await create()];
  await database.db
    .updateTable('api_keys')
    .set({ public_id: 'samesame0001' })
    .where('public_id', '=', tokens[0]?.slice(6, 18) ?? '')
    .execute();
  await database.db
    .updateTable('api_keys')
    .set({ public_id: 'samesame0002' })
    .where('public_id', '=', tokens[1]?.slice(6, 18) ?? '')
    .execute();
  t.match(await run('revoke', 'same'), { code: 1, stderr: /^2 keys begin with same: samesame000\d, samesame000\d\n$/ });
  t.same(await database.db.selectFrom('api_keys').select('status').execute(), [
    { status: 'active' },
    { status: 'active' },
  ]);
  t.equal(await kindOf(tokens[0] ?? ''), 'unknown');
});

t.test('lists keys without their secret', async (t) => {
  const { run, create } = await setUp(t);
  const token = await create('--tier', 'pro', '--expires', '2030-01-31');
  const table = await run('list');
  t.match(
    table.stdout,
    new RegExp(
      `^KEY .*NAME\n${token.slice(0, 18)}…${token.slice(-4)} +active +pro +ops@example.com +2026-01-02 +2030-01-31 +build server\n$`,
    ),
  );
  const listed = await run('list', '--json');
  const [key] = JSON.parse(listed.stdout);
  t.match(key, { publicId: token.slice(6, 18), status: 'active', expiresAt: '2030-01-31T00:00:00.000Z' });
  for (const { stdout } of [table, listed]) t.notMatch(stdout, token.slice(19, 62));
});

t.test('gives the --config flag to whoever loads the configuration', async (t) => {
  const flags: object[] = [];
  const command = createKeysCommand({
    loadConfig: (given) => {
      flags.push(given);
      throw new Error('stop here');
    },
  });
  t.match(await runCommand(command, ['list', '--config', 'other.yaml']), { code: 1, stderr: 'stop here\n' });
  await runCommand(command, ['list']);
  t.same(flags, [{ config: 'other.yaml' }, {}]);
});

t.test('gives the key the budgets of its options, to the nano-USD, and none when none is given', async (t) => {
  const { create, database } = await setUp(t);
  const bounded = await create('--tier', 'pro', '--budget-monthly', '50', '--budget-total', '0.000000001');
  const free = await create();
  const limitsOf = async (token: string): Promise<object | undefined> =>
    (await findKeyByPublicId(database.db, token.slice(6, 18)))?.limits;
  t.match(await limitsOf(bounded), { budgets: { monthly: 50_000_000_000, total: 1 } });
  t.notOk('budgets' in ((await limitsOf(free)) ?? {}));
});
