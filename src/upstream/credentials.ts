/**
 * As whom a provider is asked. Takes the keys that the operator gave, each with its weight; gives the headers of the next
 * request. A key whose file changes is read again without a restart. Nothing here is ever logged or thrown in a message.
 */
import type { Signing } from '../contract/provider.ts';
import { signWithSigv4 } from './sigv4.ts';
import { createServiceAccount } from './service-account.ts';

export type RequestHeaders = Readonly<Record<string, string>>;

export type SignableRequest = { origin: string; path: string; headers: RequestHeaders; body: Buffer };

export interface Credentials {
  /** Of one request. A promise only where a token must be fetched first; it rejects when there is none to be had. */
  headersFor(request: SignableRequest): RequestHeaders | Promise<RequestHeaders>;
}

/** Reads the key as it is now. */
export type KeySource = { weight: number; read: () => string };

export type CredentialsOptions = {
  sources: readonly KeySource[];
  /** Of every request to this provider, whoever asks. */
  common: RequestHeaders;
  authorize: (secret: string) => RequestHeaders;
  signing?: Signing | undefined;
};

export function createCredentials({ sources, common, authorize, signing }: CredentialsOptions): Credentials {
  if (sources.length === 0) {
    const headers = { ...common };
    return { headersFor: () => headers };
  }
  const next = createTurns(sources.map(({ weight, read }) => ({ weight, item: createSigner(read) })));
  return { headersFor: (request) => next()(request) };

  function createSigner(read: () => string): Credentials['headersFor'] {
    if (signing?.scheme === 'sigv4') {
      return (request) => {
        const secret = read();
        // A token that was made elsewhere, and not a pair to sign with.
        if (!secret.includes(':')) return { ...common, ...authorize(secret) };
        // Signed as they are sent: a content type that is not among them would be made up.
        const headers = { ...common, ...request.headers };
        return { ...common, ...signWithSigv4(secret, { ...request, headers }, signing) };
      };
    }
    if (signing?.scheme === 'service-account') {
      const account = createServiceAccount({ read, scopes: signing.scopes });
      return () => {
        const authorization = account.authorization();
        return typeof authorization === 'string'
          ? { ...common, authorization }
          : authorization.then((value) => ({ ...common, authorization: value }));
      };
    }
    let secret: string | null = null;
    let headers: RequestHeaders = common;
    return () => {
      const now = read();
      if (now !== secret) {
        secret = now;
        headers = { ...common, ...authorize(now) };
      }
      return headers;
    };
  }
}

/** Smooth weighted turns: of weights 3 and 1, every fourth is the second, and never two of them in a row. */
export function createTurns<T>(entries: readonly { weight: number; item: T }[]): () => T {
  const [first] = entries;
  if (first === undefined) throw new RangeError('nothing to take turns');
  if (entries.length === 1) return () => first.item;
  const total = entries.reduce((sum, { weight }) => sum + weight, 0);
  const credits = entries.map(() => 0);
  return () => {
    let chosen = 0;
    for (const [index, { weight }] of entries.entries()) {
      credits[index] = (credits[index] ?? 0) + weight;
      if ((credits[index] ?? 0) > (credits[chosen] ?? 0)) chosen = index;
    }
    credits[chosen] = (credits[chosen] ?? 0) - total;
    return (entries[chosen] ?? first).item;
  };
}
