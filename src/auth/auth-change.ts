/**
 * Changes who may do what, so that every replica obeys at its next request: the new state, the higher version and a line
 * in the outbox are one transaction; then the admission engine is told at once, and what it did not hear the outbox tells
 * until it does. Spec: reliability 2.4 REVOKE, I7.
 */
import type { GovernedEngine } from '../contract/admission.ts';
import { createUuidV7 } from '../platform/uuid.ts';
import { raiseAccountVersion, setAccountTier } from '../store/accounts.ts';
import { setKeyStatus } from '../store/api-keys.ts';
import { type AuthChange, deleteAuthChange, insertAuthChange } from '../store/auth-outbox.ts';
import type { KeyStatus, Store } from '../store/schema.ts';

export type RaiseAuthVersion = GovernedEngine['raiseAuthVersion'];

/** Inside a transaction. null: there is no such key, or it is revoked for ever. */
export async function changeKeyStatus(
  trx: Store,
  publicId: string,
  { status, nowMs }: { status: KeyStatus; nowMs: number },
): Promise<AuthChange | null> {
  const key = await setKeyStatus(trx, publicId, { status, atMs: nowMs });
  if (key === null) return null;
  const change = {
    id: createUuidV7(nowMs),
    accountId: key.accountId,
    accountVersion: null,
    key: { id: key.id, publicId, version: key.keyVersion },
  };
  await insertAuthChange(trx, change, nowMs);
  return change;
}

/** Inside a transaction. */
export async function changeAccountTier(
  trx: Store,
  accountId: string,
  { tier, nowMs }: { tier: string; nowMs: number },
): Promise<AuthChange> {
  const accountVersion = await setAccountTier(trx, accountId, tier);
  const change = { id: createUuidV7(nowMs), accountId, accountVersion, key: null };
  await insertAuthChange(trx, change, nowMs);
  return change;
}

/** Inside a transaction, for a change of what belongs to the account beside its row. */
export async function changeAccountBelongings(trx: Store, accountId: string, nowMs: number): Promise<AuthChange> {
  const accountVersion = await raiseAccountVersion(trx, accountId);
  const change = { id: createUuidV7(nowMs), accountId, accountVersion, key: null };
  await insertAuthChange(trx, change, nowMs);
  return change;
}

/** After the commit. `pending`: the outbox goes on telling it. */
export async function publishAuthChange(
  db: Store,
  change: AuthChange,
  { raise }: { raise: RaiseAuthVersion },
): Promise<'done' | 'pending'> {
  if (!(await tellAuthChange(change, raise))) return 'pending';
  await deleteAuthChange(db, change.id);
  return 'done';
}

/** False: not heard. */
export async function tellAuthChange(change: AuthChange, raise: RaiseAuthVersion): Promise<boolean> {
  const { accountId, accountVersion, key } = change;
  try {
    return await raise(accountId, {
      ...(accountVersion === null ? {} : { account: accountVersion }),
      ...(key === null ? {} : { key: { id: key.id, version: key.version } }),
    });
  } catch {
    // Whatever kept it from being heard, the row stays and is told again.
    return false;
  }
}
