/**
 * The providers that are on: each adapter under its settings, where it is reached, and as whom. Takes the configuration
 * and the adapters; opens no socket. Files that hold keys are watched until `close`.
 */
import type { ProviderConfig } from '../config/types.ts';
import type { ProviderAdapter } from '../contract/provider.ts';
import type { Logger } from '../platform/logger.ts';
import { watchTextFile, type WatchedFile } from '../platform/watched-file.ts';
import { createCredentials } from '../upstream/credentials.ts';
import type { Provider } from './relay.ts';

export type ProviderSet = { providers: ReadonlyMap<string, Provider>; close: () => void };

type AdapterOf = (entry: ProviderConfig) => ProviderAdapter;

export function openProviders(entries: readonly ProviderConfig[], adapterOf: AdapterOf, log: Logger): ProviderSet {
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
    const credentials = createCredentials({
      sources: entry.keys.map((key) => ({ weight: key.weight, read: readerOf(key) })),
      common: { 'content-type': 'application/json', 'accept-encoding': 'identity', 'user-agent': 'tollgate' },
      authorize: (secret) => adapter.authorize(secret),
      signing: adapter.signing,
    });
    return {
      adapter,
      origin: base.origin,
      basePath: base.pathname.replace(/\/+$/, ''),
      allowPrivate: entry.allowPrivate,
      credentials,
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
