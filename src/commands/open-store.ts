/**
 * Opens what the configuration says is the durable store, for the server and for every command alike: a database with its
 * tables in order, and the secret that keys are hashed with. The embedded one is locked for this process. A desk wants one
 * command, so tables are brought up on the way; in production a schema changes when the operator says so.
 */
import { join } from 'node:path';
import type { Kysely } from 'kysely';
import { derivePepper } from '../auth/api-key.ts';
import type { GatewayConfig } from '../config/types.ts';
import { type DataFolder, openDataFolder, readOrCreateSecret } from '../platform/data-folder.ts';
import { type DatabaseKind, type DatabaseLog, type DatabaseOptions, openDatabase } from '../platform/postgres.ts';
import { assertMigrated, migrateToLatest } from '../store/migrate.ts';
import type { StoreSchema } from '../store/schema.ts';

export type StoreConfig = Pick<GatewayConfig, 'environment' | 'databaseUrl' | 'dataDirectory' | 'secret'>;

export type OpenStoreOptions = Pick<DatabaseOptions, 'poolSize' | 'acquireTimeoutMs' | 'statementTimeoutMs'> & {
  log: DatabaseLog;
  /** `as they are` is for the command that migrates. */
  tables?: 'ready' | 'as they are';
};

export type OpenStore = {
  db: Kysely<StoreSchema>;
  kind: DatabaseKind;
  /** The root that pepper and signing keys are derived from. */
  secret: string;
  pepper: string;
  /** Held while open; null with a database server, where the folder may be shared. */
  dataFolder: DataFolder | null;
  close: () => Promise<void>;
};

export async function openStore(config: StoreConfig, options: OpenStoreOptions): Promise<OpenStore> {
  const { log, tables = 'ready', ...database } = options;
  const url = config.databaseUrl?.reveal() ?? null;
  const dataFolder = url === null ? openDataFolder(config.dataDirectory) : null;
  const path = config.dataDirectory;
  const steps: (() => Promise<void>)[] = [async () => dataFolder?.release()];
  const close = async (): Promise<void> => {
    for (const step of steps.splice(0).toReversed()) await step();
  };
  try {
    const secret = config.secret?.reveal() ?? readOrCreateSecret(join(path, 'secret'));
    const opened = await openDatabase<StoreSchema>({ url, dataDirectory: path, log, ...database });
    steps.push(opened.close);
    const { db, kind } = opened;
    if (tables === 'ready')
      await bringTables(db, { mayMigrate: kind === 'pglite' || config.environment !== 'production' });
    return { db, kind, secret, pepper: derivePepper(secret).pepper, dataFolder, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function bringTables(db: Kysely<StoreSchema>, { mayMigrate }: { mayMigrate: boolean }): Promise<void> {
  if (mayMigrate) await migrateToLatest(db);
  else await assertMigrated(db);
}
