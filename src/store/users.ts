/** People. One address is one person, whatever its capitals. */
import type { MemberRole, Store, UserStatus } from './schema.ts';

export type UserRow = { id: string; email: string; displayName: string; status: UserStatus; createdAt: Date };
export type NewUser = { id: string; email: string; displayName: string; createdAtMs: number };

/** A user once per membership; the account is null for one who belongs nowhere. */
export type UserListing = UserRow & {
  account: { id: string; name: string; tier: string; role: MemberRole } | null;
};

const userColumns = [
  'users.id',
  'users.email',
  'users.display_name as displayName',
  'users.status',
  'users.created_at as createdAt',
] as const;

export function normalizeEmail(email: string): string {
  return email.trim().toLowerCase();
}

/** Gives the user of this address, made now or long ago, and locks the row until the transaction ends. */
export async function lockOrInsertUser(db: Store, user: NewUser): Promise<{ user: UserRow; isNew: boolean }> {
  const email = normalizeEmail(user.email);
  const inserted = await db
    .insertInto('users')
    .values({ id: user.id, email, display_name: user.displayName, created_at: new Date(user.createdAtMs) })
    .onConflict((conflict) => conflict.column('email').doNothing())
    .returning('id')
    .executeTakeFirst();
  const row = await db
    .selectFrom('users')
    .select(userColumns)
    .where('email', '=', email)
    .forUpdate()
    .executeTakeFirstOrThrow();
  return { user: row, isNew: inserted !== undefined };
}

export async function findUserByEmail(db: Store, email: string): Promise<UserRow | null> {
  const row = await db
    .selectFrom('users')
    .select(userColumns)
    .where('email', '=', normalizeEmail(email))
    .executeTakeFirst();
  return row ?? null;
}

export async function listUsers(db: Store): Promise<readonly UserListing[]> {
  const rows = await db
    .selectFrom('users')
    .leftJoin('members', 'members.user_id', 'users.id')
    .leftJoin('accounts', 'accounts.id', 'members.account_id')
    .select([
      ...userColumns,
      'accounts.id as accountId',
      'accounts.name as accountName',
      'accounts.tier as tier',
      'members.role as role',
    ])
    .orderBy('users.email')
    .orderBy('accounts.created_at')
    .execute();
  return rows.map(({ accountId, accountName, tier, role, ...user }) => ({
    ...user,
    account:
      accountId === null || accountName === null || tier === null || role === null
        ? null
        : { id: accountId, name: accountName, tier, role },
  }));
}
