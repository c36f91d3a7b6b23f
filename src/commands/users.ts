/** `tollgate users`: makes people with their account, lists them, and moves an account to another tier. */
import { changeAccountTier } from '../auth/auth-change.ts';
import { ensureOwner } from '../auth/key-issue.ts';
import type { GatewayConfig } from '../config/types.ts';
import { createUuidV7 } from '../platform/uuid.ts';
import { findOwnedAccount } from '../store/accounts.ts';
import { insertAuditEntry } from '../store/audit-log.ts';
import { findUserByEmail, listUsers, type UserListing } from '../store/users.ts';
import {
  chosen,
  formatTable,
  knownTier,
  type LoadConfig,
  loadConfigFrom,
  optionalText,
  requiredEmail,
  requiredText,
  type Values,
  withExitCode,
} from './arguments.ts';
import { commandLog } from './command-log.ts';
import type { Command, CommandIo, Invocation } from './command.ts';
import { openStore, type OpenStore } from './open-store.ts';
import { publishChange, sayPublished } from './publish-change.ts';

export type UsersCommandOptions = { loadConfig: LoadConfig; clock?: () => number };

export function createUsersCommand({ loadConfig, clock = Date.now }: UsersCommandOptions): Command {
  return {
    summary: 'Make and list users, and change the tier of their account',
    usage: 'users create|list|set-tier [options]',
    examples: [
      'tollgate users create --email ops@example.com --tier pro --name "Operations"',
      'tollgate users set-tier --email ops@example.com --tier plus',
    ],
    options: {
      config: { type: 'string' },
      email: { type: 'string' },
      tier: { type: 'string' },
      name: { type: 'string' },
      json: { type: 'boolean' },
    },
    run: async (invocation) => withExitCode(invocation.io, async () => runUsers(invocation, { loadConfig, clock })),
  };
}

async function runUsers(
  { positionals, values, io }: Invocation,
  { loadConfig, clock }: Required<UsersCommandOptions>,
): Promise<void> {
  const action = chosen(positionals, ['create', 'list', 'set-tier']);
  const config = loadConfigFrom(loadConfig, values);
  const change = action === 'list' ? null : readChange(values, { nowMs: clock(), tiers: config.tiers });
  const store = await openStore(config, { log: commandLog(io) });
  try {
    if (change === null) printUsers(await listUsers(store.db), values, io);
    else if (action === 'create') await createUser(store.db, { change, values, io });
    else await setTier(store, { change, values, io, config });
  } finally {
    await store.close();
  }
}

type Change = { email: string; tier: string; displayName?: string; nowMs: number };
type Context = { change: Change; values: Values; io: CommandIo };

function readChange(
  values: Values,
  { nowMs, tiers }: { nowMs: number; tiers: Parameters<typeof knownTier>[0] },
): Change {
  const displayName = optionalText(values, 'name');
  const change = { email: requiredEmail(values), tier: knownTier(tiers, requiredText(values, 'tier')), nowMs };
  return displayName === undefined ? change : { ...change, displayName };
}

async function createUser(db: OpenStore['db'], { change, values, io }: Context): Promise<void> {
  const made = await db.transaction().execute(async (trx) => {
    const owner = await ensureOwner(trx, change);
    if (!owner.isNewAccount) {
      throw new Error(`${owner.user.email} exists already, on the tier ${owner.account.tier}`);
    }
    await audit(trx, { change, accountId: owner.account.id, action: 'user.create', targetId: owner.user.id });
    return owner;
  });
  const { user, account } = made;
  if (values['json'] === true) {
    const shown = { id: user.id, email: user.email, name: user.displayName, accountId: account.id, tier: account.tier };
    io.stdout(`${JSON.stringify(shown)}\n`);
    return;
  }
  io.stderr(`Made ${user.email} with an account on the tier ${account.tier}.\n`);
}

async function setTier(
  store: OpenStore,
  { change, values, io, config }: Context & { config: GatewayConfig },
): Promise<void> {
  const { email, tier, nowMs } = change;
  const { account, authChange } = await store.db.transaction().execute(async (trx) => {
    const user = await findUserByEmail(trx, email);
    const owned = user === null ? null : await findOwnedAccount(trx, user.id);
    if (owned === null) throw new Error(`${email} owns no account`);
    await audit(trx, { change, accountId: owned.id, action: 'account.set-tier', targetId: owned.id });
    return { account: owned, authChange: await changeAccountTier(trx, owned.id, { tier, nowMs }) };
  });
  const published = await publishChange(store, authChange, { config, io });
  if (values['json'] === true) io.stdout(`${JSON.stringify({ accountId: account.id, tier, published })}\n`);
  else io.stderr(`${email} moved from ${account.tier} to ${tier}. ${sayPublished(published)}\n`);
}

async function audit(
  trx: OpenStore['db'],
  { change, accountId, action, targetId }: { change: Change; accountId: string; action: string; targetId: string },
): Promise<void> {
  await insertAuditEntry(trx, {
    id: createUuidV7(change.nowMs),
    atMs: change.nowMs,
    actorKind: 'cli',
    actorId: null,
    accountId,
    action,
    targetKind: action.slice(0, action.indexOf('.')),
    targetId,
    detail: { tier: change.tier },
  });
}

function printUsers(users: readonly UserListing[], values: Values, io: CommandIo): void {
  if (values['json'] === true) {
    io.stdout(`${JSON.stringify(users)}\n`);
    return;
  }
  const rows = users.map(({ email, status, createdAt, displayName, account }) => [
    email,
    status,
    account?.tier ?? '-',
    account?.role ?? '-',
    createdAt.toISOString().slice(0, 10),
    displayName,
  ]);
  io.stdout(formatTable(['EMAIL', 'STATUS', 'TIER', 'ROLE', 'CREATED', 'NAME'], rows));
}
