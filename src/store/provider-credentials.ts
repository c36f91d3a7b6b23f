/** The provider keys that accounts brought themselves. Only sealed text is here; who may open it is not known here. */
import type { Store } from './schema.ts';

export type ProviderCredential = { accountId: string; provider: string; sealed: string; last4: string; atMs: number };

export type ProviderCredentialSummary = { provider: string; last4: string; createdAt: Date };

/** Takes the place of an older one. */
export async function putProviderCredential(db: Store, credential: ProviderCredential): Promise<void> {
  const { sealed, last4 } = credential;
  const createdAt = new Date(credential.atMs);
  await db
    .insertInto('provider_credentials')
    .values({ account_id: credential.accountId, provider: credential.provider, sealed, last4, created_at: createdAt })
    .onConflict((conflict) =>
      conflict.columns(['account_id', 'provider']).doUpdateSet({ sealed, last4, created_at: createdAt }),
    )
    .execute();
}

/** False: there was none. */
export async function deleteProviderCredential(db: Store, accountId: string, provider: string): Promise<boolean> {
  const deleted = await db
    .deleteFrom('provider_credentials')
    .where('account_id', '=', accountId)
    .where('provider', '=', provider)
    .executeTakeFirst();
  return deleted.numDeletedRows > 0n;
}

export async function listProviderCredentials(
  db: Store,
  accountId: string,
): Promise<readonly ProviderCredentialSummary[]> {
  return db
    .selectFrom('provider_credentials')
    .select(['provider', 'last4', 'created_at as createdAt'])
    .where('account_id', '=', accountId)
    .orderBy('provider')
    .execute();
}
