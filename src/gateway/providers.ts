/**
 * The providers that are on: each adapter under its settings, where it is reached, and as whom, which is the operator or,
 * where that is allowed, the account with a key of its own. Opens no socket. Files that hold keys are watched until `close`.
 */
import { LRUCache } from 'lru-cache';
import { credentialContext, type Sealer } from '../auth/sealed-text.ts';
import type { ProviderConfig } from '../config/types.ts';
import { gatewayError } from '../contract/errors.ts';
import type { Principal } from '../contract/flow.ts';
import type { ProviderAdapter } from '../contract/provider.ts';
import type { Logger } from '../platform/logger.ts';
import { watchTextFile, type WatchedFile } from '../platform/watched-file.ts';
import { createCredentials, type Credentials, type KeySource } from '../upstream/credentials.ts';

/** A provider that is on: its adapter, where we reach it, and as whom. */
export type Provider = {
  adapter: ProviderAdapter;
  origin: string;
  /** Path of the base URL, without a trailing slash. */
  basePath: string;
  allowPrivate: boolean;
  /** Throws a `GatewayError` when the account would have to bring a key and has not. */
  credentialsFor(principal: Principal): Credentials;
};

export type ProviderSet = { providers: ReadonlyMap<string, Provider>; close: () => void };

export type ProviderSetOptions = {
  adapterOf: (entry: ProviderConfig) => ProviderAdapter;
  sealer: Pick<Sealer, 'open'>;
  log: Logger;
};

const common = { 'content-type': 'application/json', 'accept-encoding': 'identity', 'user-agent': 'tollgate' };
const rememberedAccounts = 5_000;

export function openProviders(entries: readonly ProviderConfig[], options: ProviderSetOptions): ProviderSet {
  const { adapterOf, sealer, log } = options;
  const files: WatchedFile[] = [];
  const providers = new Map(entries.map((entry) => [entry.id, open(entry)]));
  return {
    providers,
    close() {
      for (const file of files) file.close();
    },
  };

  function open(entry: ProviderConfig): Provider {
    const declared = adapterOf(entry);
    const adapter = declared.configure?.(entry.settings) ?? declared;
    const base = new URL(entry.baseUrl ?? adapter.baseUrl);
    const create = (sources: readonly KeySource[]): Credentials =>
      createCredentials({
        sources,
        common,
        authorize: (secret) => adapter.authorize(secret),
        signing: adapter.signing,
      });
    const ours = create(entry.keys.map((key) => ({ weight: key.weight, read: readerOf(key) })));
    const mustBring = entry.keys.length === 0 && adapter.needsKey;
    return {
      adapter,
      origin: base.origin,
      basePath: base.pathname.replace(/\/+$/, ''),
      allowPrivate: entry.allowPrivate,
      credentialsFor: entry.ownKeys ? createOwn(adapter, { ours: mustBring ? null : ours, create }) : () => ours,
    };
  }

  function createOwn(
    { id, name }: ProviderAdapter,
    { ours, create }: { ours: Credentials | null; create: (sources: readonly KeySource[]) => Credentials },
  ): Provider['credentialsFor'] {
    // By the account and its sealed text: a key that it replaces is another entry, and nobody else's text opens here.
    const opened = new LRUCache<string, Credentials>({ max: rememberedAccounts });
    return ({ accountId, ownCredentials }) => {
      const sealed = ownCredentials?.[id];
      if (sealed === undefined) {
        if (ours !== null) return ours;
        throw gatewayError('permissionDenied', {
          message: `This gateway has no key for ${name}; your account must bring its own.`,
        });
      }
      const owned = `${accountId} ${sealed}`;
      const known = opened.get(owned);
      if (known !== undefined) return known;
      const secret = sealer.open(sealed, credentialContext(accountId, id));
      const theirs = create([{ weight: 1, read: () => secret }]);
      opened.set(owned, theirs);
      return theirs;
    };
  }

  function readerOf({ secret, file }: ProviderConfig['keys'][number]): () => string {
    if (file === null) {
      const text = secret.reveal();
      return () => text;
    }
    const watched = watchTextFile(file, { initial: secret.reveal(), log });
    files.push(watched);
    return () => watched.text();
  }
}
