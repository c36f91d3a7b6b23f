/** `tollgate migrate`: brings the tables up, says where they stand, fills them with the configured tiers, or drops them. */
import { issueKey } from '../auth/key-issue.ts';
import type { GatewayConfig } from '../config/types.ts';
import { findOwnedAccount } from '../store/accounts.ts';
import { listKeys } from '../store/api-keys.ts';
import { migrateToLatest, migrationStatus, resetDatabase } from '../store/migrate.ts';
import { upsertTiers } from '../store/tiers.ts';
import { ensureUsagePartitions } from '../store/usage-partitions.ts';
import { findUserByEmail } from '../store/users.ts';
import {
  chosen,
  formatTable,
  type LoadConfig,
  loadConfigFrom,
  UsageError,
  type Values,
  withExitCode,
} from './arguments.ts';
import { commandLog } from './command-log.ts';
import type { Command, CommandIo, Invocation } from './command.ts';
import { openStore, type OpenStore } from './open-store.ts';

export type MigrateCommandOptions = { loadConfig: LoadConfig; clock?: () => number };

const partitionDays = 8;
const demoKeyName = 'seeded';

export function createMigrateCommand({ loadConfig, clock = Date.now }: MigrateCommandOptions): Command {
  return {
    summary: 'Bring the database up to date, show its state, seed it, or drop its tables',
    usage: 'migrate [up|status|seed [--demo]|reset --yes]',
    examples: ['tollgate migrate up', 'tollgate migrate seed --demo'],
    options: {
      config: { type: 'string' },
      demo: { type: 'boolean' },
      yes: { type: 'boolean' },
      json: { type: 'boolean' },
    },
    run: async (invocation) => withExitCode(invocation.io, async () => runMigrate(invocation, { loadConfig, clock })),
  };
}

async function runMigrate(
  { positionals, values, io }: Invocation,
  { loadConfig, clock }: Required<MigrateCommandOptions>,
): Promise<void> {
  const action = chosen(positionals, ['up', 'status', 'seed', 'reset'], 'up');
  const config = loadConfigFrom(loadConfig, values);
  const isProduction = config.environment === 'production';
  if (action === 'reset' && isProduction) throw new Error('reset drops everything and is refused in production');
  if (action === 'reset' && values['yes'] !== true) throw new UsageError('reset drops everything; say --yes to do it');
  if (values.demo === true && isProduction) throw new Error('--demo makes open accounts and is refused in production');
  const tables = action === 'seed' ? 'ready' : 'as they are';
  // A migration may take as long as it takes, and waits for one that is running.
  const store = await openStore(config, { log: commandLog(io), tables, statementTimeoutMs: 0 });
  const context = { config, nowMs: clock(), values, io };
  try {
    if (action === 'up') await bringUp(store, context);
    else if (action === 'status') await printStatus(store, context);
    else if (action === 'seed') await seed(store, context);
    else await reset(store, context);
  } finally {
    await store.close();
  }
}

type Context = { config: GatewayConfig; nowMs: number; values: Values; io: CommandIo };

async function bringUp({ db }: OpenStore, { nowMs, values, io }: Context): Promise<void> {
  const executed = await migrateToLatest(db);
  await ensureUsagePartitions(db, { fromMs: nowMs, days: partitionDays, log: commandLog(io) });
  if (values['json'] === true) io.stdout(`${JSON.stringify({ executed })}\n`);
  else io.stderr(executed.length === 0 ? 'Nothing to do.\n' : `Migrated: ${executed.join(', ')}.\n`);
}

async function printStatus({ db }: OpenStore, { values, io }: Context): Promise<void> {
  const migrations = await migrationStatus(db);
  if (values['json'] === true) {
    io.stdout(`${JSON.stringify(migrations)}\n`);
    return;
  }
  const rows = migrations.map(({ name, executedAt }) => [name, executedAt?.toISOString() ?? 'pending']);
  io.stdout(formatTable(['MIGRATION', 'EXECUTED'], rows));
}

async function seed(store: OpenStore, { config, nowMs, values, io }: Context): Promise<void> {
  const tiers = Object.values(config.tiers);
  await upsertTiers(store.db, tiers, nowMs);
  const keys = values.demo === true ? await seedDemo(store, { config, nowMs }) : [];
  if (values['json'] === true) {
    io.stdout(`${JSON.stringify({ tiers: tiers.map(({ id }) => id), keys })}\n`);
    return;
  }
  io.stderr(`Wrote ${tiers.length} tiers.\n`);
  for (const { email, key } of keys) io.stdout(`${email}\t${key}\n`);
}

/** One account per tier, each with one key; those that are there already keep the key that nobody can show again. */
async function seedDemo(
  { db, pepper }: OpenStore,
  { config, nowMs }: Pick<Context, 'config' | 'nowMs'>,
): Promise<readonly { email: string; key: string }[]> {
  const made: { email: string; key: string }[] = [];
  const keys = await listKeys(db);
  for (const tier of Object.keys(config.tiers)) {
    const email = `${tier}@example.com`;
    const user = await findUserByEmail(db, email);
    const account = user === null ? null : await findOwnedAccount(db, user.id);
    if (keys.some(({ accountId, name }) => accountId === account?.id && name === demoKeyName)) continue;
    const { token } = await issueKey(db, { email, tier, name: demoKeyName, pepper, actor: 'cli', nowMs });
    made.push({ email, key: token });
  }
  return made;
}

async function reset({ db }: OpenStore, { values, io }: Context): Promise<void> {
  await resetDatabase(db);
  if (values['json'] === true) io.stdout(`${JSON.stringify({ reset: true })}\n`);
  else io.stderr('All tables are gone. "tollgate migrate up" makes them again.\n');
}
