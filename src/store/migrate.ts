/**
 * Brings the tables to the form that this version of the code expects, forward only. Takes a handle, reads the files of
 * `migrations/` at run time (no room may import them), and holds an advisory lock while it works, so that many replicas
 * may start at once: one migrates, the others wait and find nothing to do.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Kysely, sql } from 'kysely';
import { FileMigrationProvider, Migrator } from 'kysely/migration';
import type { StoreSchema } from './schema.ts';

export type MigrationState = { name: string; executedAt: Date | null };

const projectMigrations = join(import.meta.dirname, '..', '..', 'migrations');

/** Gives the names that were run now, in order. Throws the first failure; each run is one transaction, so it leaves nothing. */
export async function migrateToLatest(db: Kysely<StoreSchema>, folder = projectMigrations): Promise<readonly string[]> {
  const { error, results = [] } = await createMigrator(db, folder).migrateToLatest();
  if (error !== undefined) {
    const failed = results.find(({ status }) => status === 'Error');
    throw new Error(`migration ${failed?.migrationName ?? ''} failed`, { cause: error });
  }
  return results.map(({ migrationName }) => migrationName);
}

export async function migrationStatus(
  db: Kysely<StoreSchema>,
  folder = projectMigrations,
): Promise<readonly MigrationState[]> {
  const migrations = await createMigrator(db, folder).getMigrations();
  return migrations.map(({ name, executedAt }) => ({ name, executedAt: executedAt ?? null }));
}

/** A database that is ahead of the code passes: during a rolling update the old version goes on beside the new. */
export async function assertMigrated(db: Kysely<StoreSchema>, folder = projectMigrations): Promise<void> {
  const pending = (await migrationStatus(db, folder)).filter(({ executedAt }) => executedAt === null);
  if (pending.length === 0) return;
  const names = pending.map(({ name }) => name).join(', ');
  throw new Error(`The database lacks ${names}. Run "tollgate migrate up" first.`);
}

/** Drops what the migrations made, and only that: the database may hold tables of others. */
export async function resetDatabase(db: Kysely<StoreSchema>): Promise<void> {
  await db.transaction().execute(async (trx) => {
    for (const table of ownTables) await sql`drop table if exists ${sql.table(table)} cascade`.execute(trx);
  });
}

const ownTables = [
  'usage_intents',
  'shard_counts',
  'auth_outbox',
  'rejections_minute',
  'usage_upkeep',
  'journal_cursors',
  'usage_dlq',
  'usage_rollups_hour',
  'usage_events',
  'price_versions',
  'audit_log',
  'provider_credentials',
  'api_keys',
  'members',
  'users',
  'accounts',
  'tiers',
  'kysely_migration',
  'kysely_migration_lock',
] as const satisfies readonly (keyof StoreSchema | `kysely_${string}`)[];

function createMigrator(db: Kysely<StoreSchema>, folder: string): Migrator {
  return new Migrator({
    db,
    // By code point, the same on every machine; a locale's order would depend on where it runs.
    nameComparator: (left, right) => (left < right ? -1 : Number(left > right)),
    provider: new FileMigrationProvider({
      fs: { readdir: (path) => readdir(path) },
      path: { join },
      migrationFolder: folder,
      import: (path) => import(pathToFileURL(path).href),
    }),
  });
}
