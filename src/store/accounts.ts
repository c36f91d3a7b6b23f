/** Accounts carry the tier, the limits and the bill; users reach them as members with a role. */
import type { AccountStatus, MemberRole, Store } from './schema.ts';

export type AccountRow = {
  id: string;
  name: string;
  tier: string;
  authVersion: number;
  status: AccountStatus;
  createdAt: Date;
};

export type NewAccount = { id: string; name: string; tier: string; createdAtMs: number };
export type NewMember = { accountId: string; userId: string; role: MemberRole; createdAtMs: number };

const accountColumns = [
  'accounts.id',
  'accounts.name',
  'accounts.tier',
  'accounts.auth_version as authVersion',
  'accounts.status',
  'accounts.created_at as createdAt',
] as const;

export async function insertAccount(db: Store, account: NewAccount): Promise<void> {
  await db
    .insertInto('accounts')
    .values({ id: account.id, name: account.name, tier: account.tier, created_at: new Date(account.createdAtMs) })
    .execute();
}

export async function insertMember(db: Store, member: NewMember): Promise<void> {
  await db
    .insertInto('members')
    .values({
      account_id: member.accountId,
      user_id: member.userId,
      role: member.role,
      created_at: new Date(member.createdAtMs),
    })
    .execute();
}

/** The oldest account that the user owns. */
export async function findOwnedAccount(db: Store, userId: string): Promise<AccountRow | null> {
  const row = await db
    .selectFrom('members')
    .innerJoin('accounts', 'accounts.id', 'members.account_id')
    .select(accountColumns)
    .where('members.user_id', '=', userId)
    .where('members.role', '=', 'owner')
    .orderBy('accounts.created_at')
    .orderBy('accounts.id')
    .executeTakeFirst();
  return row ?? null;
}

/** Gives the raised version, for a change that is not in the account's own row. */
export async function raiseAccountVersion(db: Store, accountId: string): Promise<number> {
  const { version } = await db
    .updateTable('accounts')
    .set((expression) => ({ auth_version: expression('auth_version', '+', 1) }))
    .where('id', '=', accountId)
    .returning('auth_version as version')
    .executeTakeFirstOrThrow();
  return version;
}

/** Gives the raised version: whatever a replica remembers of the account's keys is old from now on. */
export async function setAccountTier(db: Store, accountId: string, tier: string): Promise<number> {
  const { version } = await db
    .updateTable('accounts')
    .set((expression) => ({ tier, auth_version: expression('auth_version', '+', 1) }))
    .where('id', '=', accountId)
    .returning('auth_version as version')
    .executeTakeFirstOrThrow();
  return version;
}
