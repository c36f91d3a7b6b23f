/** `tollgate keys`: makes, lists, disables, enables and revokes API keys. A new key's text goes to stdout once, and nowhere else. */
import { publicIdStart } from '../auth/api-key.ts';
import { changeKeyStatus } from '../auth/auth-change.ts';
import type { GatewayConfig } from '../config/types.ts';
import { budgetPeriods, type MoneyLimits } from '../contract/budgets.ts';
import { issueKey, type KeyRequest } from '../auth/key-issue.ts';
import { createUuidV7 } from '../platform/uuid.ts';
import { findOwnedAccount } from '../store/accounts.ts';
import { type KeySummary, listKeys } from '../store/api-keys.ts';
import { insertAuditEntry } from '../store/audit-log.ts';
import type { KeyStatus, Store } from '../store/schema.ts';
import { findUserByEmail } from '../store/users.ts';
import {
  chosen,
  formatTable,
  knownTier,
  type LoadConfig,
  loadConfigFrom,
  optionalCount,
  optionalExpiry,
  optionalList,
  optionalText,
  optionalUsd,
  requiredEmail,
  requiredText,
  UsageError,
  type Values,
  withExitCode,
} from './arguments.ts';
import { commandLog } from './command-log.ts';
import type { Command, CommandIo, Invocation } from './command.ts';
import { openStore, type OpenStore } from './open-store.ts';
import { publishChange, type Published, sayPublished } from './publish-change.ts';

export type KeysCommandOptions = { loadConfig: LoadConfig; clock?: () => number };

const statusAfter = { disable: 'disabled', enable: 'active', revoke: 'revoked' } as const satisfies Record<
  string,
  KeyStatus
>;

export function createKeysCommand({ loadConfig, clock = Date.now }: KeysCommandOptions): Command {
  return {
    summary: 'Make, list, disable, enable and revoke API keys',
    usage: 'keys create|list|disable|enable|revoke [<id>] [options]',
    examples: [
      'tollgate keys create --email ops@example.com --tier pro --name "build server" --rpm 60',
      'tollgate keys create --email ops@example.com --name "night jobs" --budget-monthly 50 --budget-daily 2.50',
      'tollgate keys revoke sk-tg-AbCdEf123456',
    ],
    options: {
      config: { type: 'string' },
      email: { type: 'string' },
      tier: { type: 'string' },
      name: { type: 'string' },
      expires: { type: 'string' },
      rpm: { type: 'string' },
      tpm: { type: 'string' },
      concurrency: { type: 'string' },
      ...Object.fromEntries(budgetPeriods.map((period) => [`budget-${period}`, { type: 'string' as const }])),
      models: { type: 'string' },
      strict: { type: 'boolean' },
      json: { type: 'boolean' },
    },
    run: async (invocation) => withExitCode(invocation.io, async () => runKeys(invocation, { loadConfig, clock })),
  };
}

async function runKeys(
  { positionals, values, io }: Invocation,
  { loadConfig, clock }: Required<KeysCommandOptions>,
): Promise<void> {
  const action = chosen(positionals, ['create', 'list', 'disable', 'enable', 'revoke']);
  const config = loadConfigFrom(loadConfig, values);
  const nowMs = clock();
  const perform = prepareAction();
  const store = await openStore(config, { log: commandLog(io) });
  try {
    await perform(store);
  } finally {
    await store.close();
  }

  /** What was typed is read before anything is opened: a typing mistake must not wait for a database. */
  function prepareAction(): (store: OpenStore) => Promise<void> {
    if (action === 'list') return async ({ db }) => printKeys(await listKeys(db), values, io);
    if (action === 'create') {
      const wanted = readRequest(values, { nowMs, tiers: config.tiers });
      return async (store) => createKey(store, { wanted, values, io });
    }
    const id = readId(positionals[1]);
    return async (store) => changeKey(store, { action, id, nowMs, values, io, config });
  }
}

type WantedKey = Omit<KeyRequest, 'pepper'>;

function readRequest(
  values: Values,
  { nowMs, tiers }: { nowMs: number; tiers: Parameters<typeof knownTier>[0] },
): WantedKey {
  const tier = optionalText(values, 'tier');
  return {
    email: requiredEmail(values),
    tier: tier === undefined ? null : knownTier(tiers, tier),
    name: requiredText(values, 'name'),
    limits: readLimits(values),
    models: optionalList(values, 'models'),
    strict: values['strict'] === true,
    expiresAtMs: optionalExpiry(values, nowMs),
    actor: 'cli',
    nowMs,
  };
}

function readLimits(values: Values): MoneyLimits {
  const budgets = Object.fromEntries(
    budgetPeriods.flatMap((period) => {
      const nanoUsd = optionalUsd(values, `budget-${period}`);
      return nanoUsd === null ? [] : [[period, nanoUsd]];
    }),
  );
  return {
    requestsPerMinute: optionalCount(values, 'rpm'),
    tokensPerMinute: optionalCount(values, 'tpm'),
    concurrency: optionalCount(values, 'concurrency'),
    ...(Object.keys(budgets).length > 0 ? { budgets } : {}),
  };
}

async function createKey(
  { db, pepper }: OpenStore,
  { wanted, values, io }: { wanted: WantedKey; values: Values; io: CommandIo },
): Promise<void> {
  await refuseAnotherTier(db, wanted);
  const issued = await issueKey(db, { ...wanted, pepper });
  const { token, publicId, keyId, user, account } = issued;
  if (values['json'] === true) {
    const { name, limits, models = null, expiresAtMs = null } = wanted;
    const expiresAt = expiresAtMs === null ? null : new Date(expiresAtMs).toISOString();
    const shown = {
      key: token,
      id: keyId,
      publicId,
      name,
      email: user.email,
      accountId: account.id,
      tier: account.tier,
    };
    io.stdout(`${JSON.stringify({ ...shown, limits, models, expiresAt })}\n`);
    return;
  }
  if (issued.isNewAccount) io.stderr(`Made the account of ${user.email} on the tier ${account.tier}.\n`);
  io.stderr('This is the key. It is shown only now:\n');
  io.stdout(`${token}\n`);
}

/** A key follows its account; to change the tier of an account by making a key for it would surprise all its other keys. */
async function refuseAnotherTier(db: Store, { email, tier }: WantedKey): Promise<void> {
  const user = await findUserByEmail(db, email);
  const account = user === null ? null : await findOwnedAccount(db, user.id);
  if (account === null && tier === null) throw new UsageError(`${email} has no account yet; say its --tier`);
  if (account !== null && tier !== null && account.tier !== tier) {
    throw new Error(
      `${email} is on the tier ${account.tier}. Leave --tier out, or change it: tollgate users set-tier --email ${email} --tier ${tier}`,
    );
  }
}

function readId(text: string | undefined): string {
  const start = publicIdStart(text ?? '');
  if (start === '') throw new UsageError('say which key: its id, or the start of it');
  return start;
}

type Change = {
  action: keyof typeof statusAfter;
  id: string;
  nowMs: number;
  values: Values;
  io: CommandIo;
  config: GatewayConfig;
};

async function changeKey(store: OpenStore, { action, id, nowMs, values, io, config }: Change): Promise<void> {
  const key = await findOneKey(store.db, id);
  const status = statusAfter[action];
  const change = await store.db.transaction().execute(async (trx) => {
    const changed = await changeKeyStatus(trx, key.publicId, { status, nowMs });
    if (changed === null) return null;
    await insertAuditEntry(trx, {
      id: createUuidV7(nowMs),
      atMs: nowMs,
      actorKind: 'cli',
      actorId: null,
      accountId: key.accountId,
      action: `key.${action}`,
      targetKind: 'key',
      targetId: key.publicId,
    });
    return changed;
  });
  if (change === null && action !== 'revoke') {
    throw new Error(`the key ${key.publicId} is revoked, and that is for ever`);
  }
  const published = change === null ? 'done' : await publishChange(store, change, { config, io });
  if (values['json'] === true) io.stdout(`${JSON.stringify({ publicId: key.publicId, status, published })}\n`);
  else io.stderr(`The key ${key.prefix} (${key.name}) is ${status}. ${sayInForce(published, action)}\n`);
}

/** Servers remember a refusal for a moment, so that a bad key cannot make them ask the database each time. */
function sayInForce(published: Published, action: Change['action']): string {
  if (action === 'enable' && published === 'done') return 'In force within 5 seconds.';
  return sayPublished(published);
}

async function findOneKey(db: Store, id: string): Promise<KeySummary> {
  const found = await listKeys(db, id);
  const [key, ...others] = found;
  if (key === undefined) throw new Error(`no key begins with ${id}`);
  if (others.length > 0) {
    throw new Error(`${found.length} keys begin with ${id}: ${found.map(({ publicId }) => publicId).join(', ')}`);
  }
  return key;
}

function printKeys(keys: readonly KeySummary[], values: Values, io: CommandIo): void {
  if (values['json'] === true) {
    io.stdout(`${JSON.stringify(keys)}\n`);
    return;
  }
  const rows = keys.map((key) => [
    `${key.prefix}…${key.last4}`,
    key.status,
    key.tier,
    key.accountName,
    key.createdAt.toISOString().slice(0, 10),
    key.expiresAt?.toISOString().slice(0, 10) ?? '-',
    key.name,
  ]);
  io.stdout(formatTable(['KEY', 'STATUS', 'TIER', 'ACCOUNT', 'CREATED', 'EXPIRES', 'NAME'], rows));
}
