/** Databases for tests: one of its own per call on the Postgres server, or one in memory. Both are gone after the test. */
import { randomBytes } from 'node:crypto';
import { PGlite } from '@electric-sql/pglite';
import { Kysely, PGliteDialect } from 'kysely';
import { Client } from 'pg';
import type { Test } from 'tap';
import { type DatabaseKind, openDatabase } from '../../src/platform/postgres.ts';
import { migrateToLatest } from '../../src/store/migrate.ts';
import type { StoreSchema } from '../../src/store/schema.ts';

export type TestDatabase = {
  /** Empty for a database in memory. */
  url: string;
  kind: DatabaseKind;
  db: Kysely<StoreSchema>;
  close: () => Promise<void>;
};

type Options = { migrated?: boolean };

export const silentLog = { info(): void {}, warn(): void {}, error(): void {} };

export const serverUrl = process.env['DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/test';

export async function createTestDatabase(t: Test, { migrated = true }: Options = {}): Promise<TestDatabase> {
  const name = `tollgate_test_${randomBytes(8).toString('hex')}`;
  await runOnServer(`create database ${name}`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  const { db, kind, close } = await openDatabase<StoreSchema>({
    url: url.href,
    dataDirectory: '',
    poolSize: 4,
    log: silentLog,
  });
  const closeOnce = once(close);
  t.teardown(async () => {
    await closeOnce();
    await runOnServer(`drop database ${name} with (force)`);
  });
  if (migrated) await migrateToLatest(db);
  return { url: url.href, kind, db, close: closeOnce };
}

export async function createPgliteDatabase(t: Test, { migrated = true }: Options = {}): Promise<TestDatabase> {
  const pglite = await PGlite.create();
  const db = new Kysely<StoreSchema>({ dialect: new PGliteDialect({ pglite }) });
  const close = once(async () => {
    await db.destroy();
    if (!pglite.closed) await pglite.close();
  });
  t.teardown(close);
  if (migrated) await migrateToLatest(db);
  return { url: '', kind: 'pglite', db, close };
}

/** The same tests over both kinds. One database per kind: an embedded one takes seconds to start. */
export function testBothKinds(t: Test, run: (t: Test, database: TestDatabase) => Promise<void>): void {
  t.test('on a Postgres server', async (t) => run(t, await createTestDatabase(t)));
  t.test('on the embedded Postgres', async (t) => run(t, await createPgliteDatabase(t)));
}

export async function runOnServer(text: string): Promise<void> {
  const client = new Client({ connectionString: serverUrl });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

function once(close: () => Promise<void>): () => Promise<void> {
  let closing: Promise<void> | undefined;
  return () => (closing ??= close());
}
