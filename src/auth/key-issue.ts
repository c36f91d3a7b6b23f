/**
 * Makes keys, and the user and account that a key needs. Takes an address, a tier and what the key may do; gives the key,
 * whose secret exists nowhere but in that answer. Everything happens in one transaction with its audit line.
 */
import type { Kysely } from 'kysely';
import type { Limits } from '../contract/flow.ts';
import { createUuidV7 } from '../platform/uuid.ts';
import { type AccountRow, findOwnedAccount, insertAccount, insertMember } from '../store/accounts.ts';
import { findKeyByPublicId, insertKey, setKeyHash } from '../store/api-keys.ts';
import { insertAuditEntry } from '../store/audit-log.ts';
import type { Store, StoreSchema } from '../store/schema.ts';
import { lockOrInsertUser, type UserRow } from '../store/users.ts';
import { displayParts, generateApiKey, hashApiKey, parseApiKey, pepperIdOf } from './api-key.ts';

export type Owner = {
  email: string;
  /** The tier of the account if it has to be made; null refuses to make one. */
  tier: string | null;
  displayName?: string;
  nowMs: number;
};

export type EnsuredOwner = { user: UserRow; account: AccountRow; isNewUser: boolean; isNewAccount: boolean };

export type KeyRequest = Owner & {
  name: string;
  pepper: string;
  limits?: Limits;
  /** null: whatever the tier allows. */
  models?: readonly string[] | null;
  scopes?: readonly string[];
  /** Refuses what a model does not support instead of dropping it. */
  strict?: boolean;
  expiresAtMs?: number | null;
  /** Who asked, for the audit log; the program itself unless said. */
  actor?: string;
};

export type IssuedKey = EnsuredOwner & { keyId: string; token: string; publicId: string };

const unlimited: Limits = { requestsPerMinute: null, tokensPerMinute: null, concurrency: null };

export async function issueKey(db: Kysely<StoreSchema>, request: KeyRequest): Promise<IssuedKey> {
  return db.transaction().execute(async (trx) => {
    const owner = await ensureOwner(trx, request);
    const { token, publicId } = generateApiKey();
    const keyId = await storeKey(trx, { token, publicId, owner, request });
    // The id is random; taken means that the generator is broken, and then nothing may be issued.
    if (keyId === null) throw new Error('a new key has the id of an old one');
    return { ...owner, keyId, token, publicId };
  });
}

/** The same, for a key that is given from outside (bootstrap, demo): made once, left alone ever after. */
export async function ensureKey(
  db: Kysely<StoreSchema>,
  request: KeyRequest & { token: string },
): Promise<{ isNew: boolean; publicId: string }> {
  const { token, pepper } = request;
  const parsed = parseApiKey(token);
  if ('failure' in parsed) {
    const reason = parsed.failure === 'checksum' ? 'its checksum is wrong' : 'it has not the form sk-tg-…';
    throw new Error(`the key "${request.name}" cannot be used: ${reason}`);
  }
  const { publicId } = parsed;
  const isNew = await db.transaction().execute(async (trx) => {
    if ((await findKeyByPublicId(trx, publicId)) !== null) return false;
    const owner = await ensureOwner(trx, request);
    return (await storeKey(trx, { token, publicId, owner, request })) !== null;
  });
  if (!isNew) await matchHash(db, { token, publicId, pepper });
  return { isNew, publicId };
}

/** A new TOLLGATE_SECRET ends all keys, except those whose text the operator gives us again at every start. */
async function matchHash(
  db: Store,
  { token, publicId, pepper }: { token: string; publicId: string; pepper: string },
): Promise<void> {
  const stored = await findKeyByPublicId(db, publicId);
  const secretHash = hashApiKey(pepper, token);
  if (stored === null || secretHash.equals(stored.secretHash)) return;
  const pepperId = pepperIdOf(pepper);
  if (stored.pepperId === pepperId) throw new Error(`the key ${publicId} exists with another secret`);
  await setKeyHash(db, publicId, { secretHash, pepperId });
}

/** Inside a transaction: the row of the user stays locked, so two at once cannot make two accounts. */
export async function ensureOwner(trx: Store, owner: Owner): Promise<EnsuredOwner> {
  const { email, tier, nowMs } = owner;
  const { user, isNew } = await lockOrInsertUser(trx, {
    id: createUuidV7(nowMs),
    email,
    displayName: owner.displayName ?? email.trim(),
    createdAtMs: nowMs,
  });
  const existing = await findOwnedAccount(trx, user.id);
  if (existing !== null) return { user, account: existing, isNewUser: isNew, isNewAccount: false };
  if (tier === null) throw new Error(`${user.email} has no account yet; a tier is needed to make one`);
  const accountId = createUuidV7(nowMs);
  await insertAccount(trx, { id: accountId, name: user.displayName, tier, createdAtMs: nowMs });
  await insertMember(trx, { accountId, userId: user.id, role: 'owner', createdAtMs: nowMs });
  const account = await findOwnedAccount(trx, user.id);
  if (account === null) throw new Error(`the new account of ${user.email} cannot be read back`);
  return { user, account, isNewUser: isNew, isNewAccount: true };
}

type Issue = { token: string; publicId: string; owner: EnsuredOwner; request: KeyRequest };

async function storeKey(trx: Store, { token, publicId, owner, request }: Issue): Promise<string | null> {
  const {
    name,
    pepper,
    limits = unlimited,
    models = null,
    scopes = [],
    strict = false,
    expiresAtMs = null,
    nowMs,
  } = request;
  const keyId = createUuidV7(nowMs);
  const isInserted = await insertKey(trx, {
    id: keyId,
    publicId,
    accountId: owner.account.id,
    createdBy: owner.user.id,
    name,
    secretHash: hashApiKey(pepper, token),
    pepperId: pepperIdOf(pepper),
    ...displayParts(token),
    limits,
    allowedModels: models,
    scopes,
    strict,
    expiresAtMs,
    createdAtMs: nowMs,
  });
  if (!isInserted) return null;
  await insertAuditEntry(trx, {
    id: createUuidV7(nowMs),
    atMs: nowMs,
    actorKind: request.actor ?? 'system',
    actorId: null,
    accountId: owner.account.id,
    action: 'key.create',
    targetKind: 'key',
    targetId: publicId,
    detail: { name, limits, models, scopes, strict, expiresAtMs },
  });
  return keyId;
}
