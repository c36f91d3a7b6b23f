/** The commands that read the configuration, each with what the configuration may name. */
import { known } from '../app.ts';
import { loadConfig } from '../config/load.ts';
import type { LoadConfig } from './arguments.ts';
import { createConfigCommand } from './config.ts';
import { createCredentialsCommand } from './credentials.ts';
import { createKeysCommand } from './keys.ts';
import { createLedgerCommand } from './ledger.ts';
import { createMigrateCommand } from './migrate.ts';
import { createUsersCommand } from './users.ts';

const load: LoadConfig = (flags) => loadConfig({ ...known, flags });

export const config = createConfigCommand(known);
export const credentials = createCredentialsCommand({ loadConfig: load });
export const keys = createKeysCommand({ loadConfig: load });
export const ledger = createLedgerCommand({ loadConfig: load });
export const migrate = createMigrateCommand({ loadConfig: load });
export const users = createUsersCommand({ loadConfig: load });
