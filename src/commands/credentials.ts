/**
 * `tollgate credentials`: the provider keys that an account brings itself. The key is read from the standard input, kept
 * sealed, and shown never again; servers use it from the next request on.
 */
import { changeAccountBelongings } from '../auth/auth-change.ts';
import { createSealer, credentialContext } from '../auth/sealed-text.ts';
import { keyProblem } from '../config/provider-keys.ts';
import type { GatewayConfig } from '../config/types.ts';
import { createUuidV7 } from '../platform/uuid.ts';
import { type AccountRow, findOwnedAccount } from '../store/accounts.ts';
import { insertAuditEntry } from '../store/audit-log.ts';
import {
  deleteProviderCredential,
  listProviderCredentials,
  putProviderCredential,
} from '../store/provider-credentials.ts';
import type { Store } from '../store/schema.ts';
import { findUserByEmail } from '../store/users.ts';
import {
  chosen,
  formatTable,
  type LoadConfig,
  loadConfigFrom,
  requiredEmail,
  requiredText,
  UsageError,
  type Values,
  withExitCode,
} from './arguments.ts';
import { commandLog } from './command-log.ts';
import type { Command, CommandIo, Invocation } from './command.ts';
import { openStore, type OpenStore } from './open-store.ts';
import { publishChange, sayPublished } from './publish-change.ts';

export type CredentialsCommandOptions = { loadConfig: LoadConfig; clock?: () => number };

export function createCredentialsCommand({ loadConfig, clock = Date.now }: CredentialsCommandOptions): Command {
  return {
    summary: "Set, list and remove an account's own provider keys",
    usage: 'credentials set|list|remove --email ADDRESS [--provider NAME] < key',
    examples: [
      'tollgate credentials set --email ops@example.com --provider openai < /run/secrets/openai',
      'tollgate credentials remove --email ops@example.com --provider openai',
    ],
    options: {
      config: { type: 'string' },
      email: { type: 'string' },
      provider: { type: 'string' },
      json: { type: 'boolean' },
    },
    run: async (invocation) =>
      withExitCode(invocation.io, async () => runCredentials(invocation, { loadConfig, clock })),
  };
}

async function runCredentials(
  { positionals, values, io }: Invocation,
  { loadConfig, clock }: Required<CredentialsCommandOptions>,
): Promise<void> {
  const action = chosen(positionals, ['set', 'list', 'remove']);
  const email = requiredEmail(values);
  const config = loadConfigFrom(loadConfig, values);
  const provider = action === 'list' ? '' : readProvider(values, config);
  const secret = action === 'set' ? readSecret(await io.readStdin()) : '';
  const store = await openStore(config, { log: commandLog(io) });
  try {
    if (action === 'list') {
      await printCredentials(store.db, { account: await findAccount(store.db, email), values, io });
      return;
    }
    await change(store, { email, provider, secret, nowMs: clock(), values, io, config });
  } finally {
    await store.close();
  }
}

function readProvider(values: Values, config: GatewayConfig): string {
  const name = requiredText(values, 'provider');
  const open = config.providers.filter(({ ownKeys }) => ownKeys).map(({ id }) => id);
  if (open.includes(name)) return name;
  const hint = open.length === 0 ? 'No provider allows it' : `Providers that allow it: ${open.join(', ')}`;
  throw new UsageError(
    `accounts may not bring a key for ${name}. ${hint}; set own_keys: true under providers.${name}.`,
  );
}

function readSecret(stdin: string): string {
  const secret = stdin.trim();
  if (secret === '') throw new UsageError('nothing came in: give the key on the standard input');
  const problem = keyProblem(secret);
  if (problem !== null) throw new UsageError(problem);
  return secret;
}

type Change = {
  email: string;
  provider: string;
  /** Empty: the key goes. */
  secret: string;
  nowMs: number;
  values: Values;
  io: CommandIo;
  config: GatewayConfig;
};

async function change(store: OpenStore, wanted: Change): Promise<void> {
  const { email, provider, secret, nowMs, values, io, config } = wanted;
  const last4 = secret.slice(-4);
  const authChange = await store.db.transaction().execute(async (trx) => {
    const { id: accountId } = await findAccount(trx, email);
    if (secret === '') {
      const isGone = await deleteProviderCredential(trx, accountId, provider);
      if (!isGone) throw new Error(`${email} has no key of its own for ${provider}`);
    } else {
      const sealed = createSealer(store.secret).seal(secret, credentialContext(accountId, provider));
      await putProviderCredential(trx, { accountId, provider, sealed, last4, atMs: nowMs });
    }
    await insertAuditEntry(trx, {
      id: createUuidV7(nowMs),
      atMs: nowMs,
      actorKind: 'cli',
      actorId: null,
      accountId,
      action: secret === '' ? 'credential.remove' : 'credential.set',
      targetKind: 'credential',
      targetId: provider,
    });
    return changeAccountBelongings(trx, accountId, nowMs);
  });
  const published = await publishChange(store, authChange, { config, io });
  if (values['json'] === true) io.stdout(`${JSON.stringify({ provider, isSet: secret !== '', published })}\n`);
  else if (secret === '')
    io.stderr(`${email} has no key of its own for ${provider} any more. ${sayPublished(published)}\n`);
  else io.stderr(`${email} asks ${provider} with its own key …${last4}. ${sayPublished(published)}\n`);
}

async function findAccount(db: Store, email: string): Promise<AccountRow> {
  const user = await findUserByEmail(db, email);
  const account = user === null ? null : await findOwnedAccount(db, user.id);
  if (account === null) throw new Error(`${email} owns no account`);
  return account;
}

async function printCredentials(
  db: Store,
  { account, values, io }: { account: AccountRow; values: Values; io: CommandIo },
): Promise<void> {
  const credentials = await listProviderCredentials(db, account.id);
  if (values['json'] === true) {
    io.stdout(`${JSON.stringify(credentials)}\n`);
    return;
  }
  const rows = credentials.map(({ provider, last4, createdAt }) => [
    provider,
    `…${last4}`,
    createdAt.toISOString().slice(0, 10),
  ]);
  io.stdout(formatTable(['PROVIDER', 'KEY', 'SET'], rows));
}
