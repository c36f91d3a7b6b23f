/** The newest authorisation versions of accounts and keys, raised and never lowered. */
import type { AuthStamp, GovernedEngine } from '../contract/admission.ts';

export type RaisedVersions = Parameters<GovernedEngine['raiseAuthVersion']>[1];

export type AuthVersions = ReturnType<typeof createAuthVersions>;

export function createAuthVersions() {
  const accounts = new Map<string, { account: number; keys: Map<string, number> }>();

  /** False when the stamp is not the newest, or when nobody has said yet what is: the caller must read the truth. */
  function isCurrent(accountId: string, stamp: AuthStamp): boolean {
    const known = accounts.get(accountId);
    return known?.account === stamp.accountVersion && known.keys.get(stamp.keyId) === stamp.keyVersion;
  }

  function raise(accountId: string, { account, key }: RaisedVersions): void {
    const known = accounts.get(accountId) ?? { account: -1, keys: new Map<string, number>() };
    accounts.set(accountId, known);
    if (account !== undefined) known.account = Math.max(known.account, account);
    if (key !== undefined) known.keys.set(key.id, Math.max(known.keys.get(key.id) ?? -1, key.version));
  }

  return { isCurrent, raise };
}
