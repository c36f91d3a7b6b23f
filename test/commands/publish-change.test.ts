/** What a command says of servers that it cannot see. */
import t from 'tap';
import { createKeysCommand } from '../../src/commands/keys.ts';
import { createUsersCommand } from '../../src/commands/users.ts';
import { openRedis } from '../../src/platform/redis.ts';
import { commandConfig, runCommand } from '../support/command.ts';
import { createTestDatabase, silentLog } from '../support/database.ts';

const redisUrl = process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379';
const ops = ['--email', 'ops@example.com'];

t.test('tells Redis of a revocation and of a new tier before it ends', async (t) => {
  const database = await createTestDatabase(t);
  const config = commandConfig(t, { DATABASE_URL: database.url, REDIS_URL: redisUrl });
  const keys = createKeysCommand({ loadConfig: () => config });
  const users = createUsersCommand({ loadConfig: () => config });
  const token = (await runCommand(keys, ['create', ...ops, '--name', 'x', '--tier', 'pro'])).stdout.trim();
  t.match(await runCommand(keys, ['revoke', token]), {
    code: 0,
    stderr: /is revoked\. In force from the next request/,
  });
  const moved = await runCommand(users, ['set-tier', ...ops, '--tier', 'free', '--json']);
  t.match(JSON.parse(moved.stdout), { tier: 'free', published: 'done' });

  const { id, account_id: accountId } = await database.db
    .selectFrom('api_keys')
    .select(['id', 'account_id'])
    .executeTakeFirstOrThrow();
  const redis = openRedis(redisUrl, silentLog, { commandTimeoutMs: 5_000 });
  t.teardown(() => redis.disconnect());
  await new Promise<void>((resolve) => redis.once('ready', () => resolve()));
  const name = `tg:{0}:av:${accountId}`;
  t.same(await redis.hgetall(name), { a: '2', [id]: '2' });
  await redis.del(name);
  t.same(await database.db.selectFrom('auth_outbox').select('id').execute(), [], 'nothing is left to tell');
});

t.test('says pending when Redis is away, and leaves the change in the outbox', async (t) => {
  const database = await createTestDatabase(t);
  const config = commandConfig(t, { DATABASE_URL: database.url, REDIS_URL: 'redis://127.0.0.1:1' });
  const keys = createKeysCommand({ loadConfig: () => config });
  const token = (await runCommand(keys, ['create', ...ops, '--name', 'x', '--tier', 'pro'])).stdout.trim();
  t.match(await runCommand(keys, ['disable', token]), { code: 0, stderr: /is disabled\. Not told .* \(pending\)/ });
  const again = await runCommand(keys, ['revoke', token, '--json']);
  t.match(JSON.parse(again.stdout), { status: 'revoked', published: 'pending' });
  t.match(await database.db.selectFrom('auth_outbox').select('key_version').orderBy('key_version').execute(), [
    { key_version: 2 },
    { key_version: 3 },
  ]);
});

t.test('leaves the change to the one server that runs without Redis', async (t) => {
  const database = await createTestDatabase(t);
  const config = commandConfig(t, { DATABASE_URL: database.url });
  const keys = createKeysCommand({ loadConfig: () => config });
  const token = (await runCommand(keys, ['create', ...ops, '--name', 'x', '--tier', 'pro'])).stdout.trim();
  t.match(await runCommand(keys, ['revoke', token]), { code: 0, stderr: /pending/ });
  t.equal((await database.db.selectFrom('auth_outbox').select('id').execute()).length, 1);
});
