/** API keys: only their hash is here. Finding one joins its account, because both decide whether it is good. */
import { sql } from 'kysely';
import type { Limits } from '../contract/flow.ts';
import type { AccountStatus, KeyStatus, Store } from './schema.ts';

/** All that authentication needs to know of a key, read in one statement so that the parts belong together. */
export type KeyRow = {
  id: string;
  publicId: string;
  accountId: string;
  secretHash: Uint8Array;
  pepperId: string;
  status: KeyStatus;
  keyVersion: number;
  limits: Limits;
  /** null: whatever the tier allows. */
  allowedModels: readonly string[] | null;
  expiresAtMs: number | null;
  strict: boolean;
  tier: string;
  /** Sealed, by provider; null: the account brought none. */
  ownCredentials: Readonly<Record<string, string>> | null;
  accountStatus: AccountStatus;
  accountVersion: number;
};

export type NewKey = {
  id: string;
  publicId: string;
  accountId: string;
  createdBy: string | null;
  name: string;
  secretHash: Uint8Array;
  pepperId: string;
  prefix: string;
  last4: string;
  limits: Limits;
  allowedModels: readonly string[] | null;
  scopes: readonly string[];
  strict?: boolean;
  expiresAtMs: number | null;
  createdAtMs: number;
};

/** What may be shown of a key. */
export type KeySummary = {
  id: string;
  publicId: string;
  accountId: string;
  accountName: string;
  tier: string;
  name: string;
  prefix: string;
  last4: string;
  status: KeyStatus;
  limits: Limits;
  allowedModels: readonly string[] | null;
  expiresAt: Date | null;
  createdAt: Date;
  lastUsedAt: Date | null;
};

const newestFirst = 'api_keys.created_at';

export async function findKeyByPublicId(db: Store, publicId: string): Promise<KeyRow | null> {
  const row = await db
    .selectFrom('api_keys')
    .innerJoin('accounts', 'accounts.id', 'api_keys.account_id')
    .select([
      'api_keys.id',
      'api_keys.public_id as publicId',
      'api_keys.account_id as accountId',
      'api_keys.secret_hash as secretHash',
      'api_keys.pepper_id as pepperId',
      'api_keys.status',
      'api_keys.key_version as keyVersion',
      'api_keys.limits',
      'api_keys.allowed_models as allowedModels',
      'api_keys.expires_at as expiresAt',
      'api_keys.strict',
      'accounts.tier',
      'accounts.status as accountStatus',
      'accounts.auth_version as accountVersion',
      sql<Record<string, string> | null>`(
        select jsonb_object_agg(provider, sealed) from provider_credentials
        where provider_credentials.account_id = api_keys.account_id
      )`.as('ownCredentials'),
    ])
    .where('api_keys.public_id', '=', publicId)
    .executeTakeFirst();
  if (row === undefined) return null;
  const { expiresAt, ...rest } = row;
  return { ...rest, expiresAtMs: expiresAt?.getTime() ?? null };
}

/** False when the public id is taken; the caller then looks at what is there. */
export async function insertKey(db: Store, key: NewKey): Promise<boolean> {
  const inserted = await db
    .insertInto('api_keys')
    .values({
      id: key.id,
      public_id: key.publicId,
      account_id: key.accountId,
      created_by: key.createdBy,
      name: key.name,
      secret_hash: key.secretHash,
      pepper_id: key.pepperId,
      prefix: key.prefix,
      last4: key.last4,
      limits: JSON.stringify(key.limits),
      allowed_models: key.allowedModels === null ? null : JSON.stringify(key.allowedModels),
      scopes: JSON.stringify(key.scopes),
      strict: key.strict ?? false,
      expires_at: key.expiresAtMs === null ? null : new Date(key.expiresAtMs),
      created_at: new Date(key.createdAtMs),
    })
    .onConflict((conflict) => conflict.column('public_id').doNothing())
    .returning('id')
    .executeTakeFirst();
  return inserted !== undefined;
}

/** The keys whose public id begins so; all of them when it is empty. Newest first. */
export async function listKeys(db: Store, publicIdStart = ''): Promise<readonly KeySummary[]> {
  return (
    db
      .selectFrom('api_keys')
      .innerJoin('accounts', 'accounts.id', 'api_keys.account_id')
      .select([
        'api_keys.id',
        'api_keys.public_id as publicId',
        'api_keys.account_id as accountId',
        'accounts.name as accountName',
        'accounts.tier',
        'api_keys.name',
        'api_keys.prefix',
        'api_keys.last4',
        'api_keys.status',
        'api_keys.limits',
        'api_keys.allowed_models as allowedModels',
        'api_keys.expires_at as expiresAt',
        'api_keys.created_at as createdAt',
        'api_keys.last_used_at as lastUsedAt',
      ])
      // Not LIKE: the start comes from a person, and `_` is no wildcard in it.
      .where(sql<boolean>`starts_with(api_keys.public_id, ${publicIdStart})`)
      .orderBy(newestFirst, 'desc')
      .orderBy('api_keys.id', 'desc')
      .execute()
  );
}

/**
 * Raises the key's version with every change, so that a replica can tell that what it remembers is old.
 * Gives the raised version; revoked is for ever, so null when there is no such key or it is past changing.
 */
export async function setKeyStatus(
  db: Store,
  publicId: string,
  { status, atMs }: { status: KeyStatus; atMs: number },
): Promise<Pick<KeyRow, 'id' | 'accountId' | 'keyVersion'> | null> {
  const updated = await db
    .updateTable('api_keys')
    .set((expression) => ({
      status,
      key_version: expression('key_version', '+', 1),
      ...(status === 'revoked' ? { revoked_at: new Date(atMs) } : {}),
    }))
    .where('public_id', '=', publicId)
    .where('status', '!=', 'revoked')
    .returning(['id', 'account_id as accountId', 'key_version as keyVersion'])
    .executeTakeFirst();
  return updated ?? null;
}

/** After a change of the pepper, for a key whose whole text is at hand again. */
export async function setKeyHash(
  db: Store,
  publicId: string,
  { secretHash, pepperId }: Pick<KeyRow, 'secretHash' | 'pepperId'>,
): Promise<void> {
  await db
    .updateTable('api_keys')
    .set((expression) => ({
      secret_hash: secretHash,
      pepper_id: pepperId,
      key_version: expression('key_version', '+', 1),
    }))
    .where('public_id', '=', publicId)
    .execute();
}
