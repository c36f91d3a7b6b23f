/**
 * Short-lived tokens from a service account, by Google's own library, which is loaded at the first request that needs it.
 * One token is fetched for everybody who waits, and a new one before the old one ends.
 */
import type { JWT, JWTOptions } from 'google-auth-library';

export interface ServiceAccount {
  /** The value of the header; a promise while there is no token that is still good. Rejects when none can be had. */
  authorization(): string | Promise<string>;
}

export type ServiceAccountOptions = {
  /** The JSON document of the account, as it is now. */
  read: () => string;
  scopes: readonly string[];
  /** For tests: how the library reaches the token endpoint. */
  transporterOptions?: JWTOptions['transporterOptions'];
};

/** The library's own tokens live an hour; one that ends within this is replaced while it still works. */
const renewAheadMs = 5 * 60_000;

export function createServiceAccount({ read, scopes, transporterOptions }: ServiceAccountOptions): ServiceAccount {
  let account: { document: string; client: Promise<JWT> } | null = null;
  let token: { document: string; value: string; endsAtMs: number } | null = null;
  let pending: Promise<string> | null = null;

  async function openClient(document: string): Promise<JWT> {
    const { client_email: email, private_key: key } = parseDocument(document);
    const { JWT: Client } = await import('google-auth-library');
    return new Client({
      email,
      key,
      scopes: [...scopes],
      ...(transporterOptions === undefined ? {} : { transporterOptions }),
    });
  }

  async function fetchToken(document: string): Promise<string> {
    if (account?.document !== document) account = { document, client: openClient(document) };
    const client = await account.client;
    const { access_token: value, expiry_date: endsAtMs } = await client.authorize();
    if (typeof value !== 'string' || value === '') throw new Error('the token endpoint gave no token');
    token = { document, value: `Bearer ${value}`, endsAtMs: endsAtMs ?? 0 };
    return token.value;
  }

  function renew(document: string): Promise<string> {
    pending ??= fetchToken(document).finally(() => {
      pending = null;
    });
    return pending;
  }

  return {
    authorization() {
      const document = read();
      const leftMs = token?.document === document ? token.endsAtMs - Date.now() : 0;
      if (token === null || leftMs <= 0) return renew(document);
      // While the old one works nobody waits, and a failure now is only tried again later.
      if (leftMs < renewAheadMs) renew(document).catch(() => undefined);
      return token.value;
    },
  };
}

function parseDocument(document: string): { client_email: string; private_key: string } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(document);
  } catch {
    throw new Error('the key of this provider is not the JSON document of a service account');
  }
  if (
    typeof parsed === 'object' &&
    parsed !== null &&
    'client_email' in parsed &&
    'private_key' in parsed &&
    typeof parsed.client_email === 'string' &&
    typeof parsed.private_key === 'string'
  )
    return { client_email: parsed.client_email, private_key: parsed.private_key };
  throw new Error('the service account lacks client_email or private_key');
}
