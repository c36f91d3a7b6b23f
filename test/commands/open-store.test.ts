import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { derivePepper } from '../../src/auth/api-key.ts';
import { openStore } from '../../src/commands/open-store.ts';
import { assertMigrated } from '../../src/store/migrate.ts';
import { commandConfig } from '../support/command.ts';
import { createTestDatabase, silentLog } from '../support/database.ts';

const log = silentLog;

t.test('opens the embedded store with its tables, its secret and its lock', async (t) => {
  const config = { ...commandConfig(t, {}), secret: null };
  const store = await openStore(config, { log });
  t.equal(store.kind, 'pglite');
  await assertMigrated(store.db);
  t.equal(store.secret, readFileSync(join(config.dataDirectory, 'secret'), 'utf8').trim());
  t.equal(store.pepper, derivePepper(store.secret).pepper);
  t.equal(store.dataFolder?.path, config.dataDirectory);
  await t.rejects(openStore(config, { log }), { message: new RegExp(`in use by process ${process.pid}`) });
  await store.close();
  await store.close();
  t.notOk(existsSync(join(config.dataDirectory, 'lock')));
});

t.test('takes the secret of the configuration before that of the folder', async (t) => {
  const { url } = await createTestDatabase(t);
  const config = commandConfig(t, { DATABASE_URL: url });
  const store = await openStore(config, { log });
  t.teardown(async () => store.close());
  t.equal(store.secret, 'a secret of thirty-two characters');
  t.equal(store.dataFolder, null, 'a folder beside a server may be shared');
  t.notOk(existsSync(config.dataDirectory));
});

t.test('brings the tables up on a desk, and only checks them in production', async (t) => {
  const { url, db } = await createTestDatabase(t, { migrated: false });
  const production = commandConfig(t, { DATABASE_URL: url, NODE_ENV: 'production' });
  await t.rejects(openStore(production, { log }), { message: /lacks 0001-first-tables/ });
  const unchecked = await openStore(production, { log, tables: 'as they are' });
  await unchecked.close();
  const desk = await openStore(commandConfig(t, { DATABASE_URL: url }), { log });
  await desk.close();
  await assertMigrated(db);
  const ready = await openStore(production, { log });
  await ready.close();
});

t.test('gives the folder back when the database cannot be opened', async (t) => {
  const config = { ...commandConfig(t, {}), secret: { reveal: (): string => raise('no secret today') } };
  await t.rejects(openStore(config, { log }), { message: 'no secret today' });
  t.notOk(existsSync(join(config.dataDirectory, 'lock')));
});

function raise(message: string): never {
  throw new Error(message);
}
