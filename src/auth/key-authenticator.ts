/**
 * Who is it? Takes the bearer token, gives a principal, proof that the key is bad, or the admission that we cannot know;
 * there is nothing in between, so trouble with the store never looks like a wrong key. A known key is answered at once,
 * without a promise. It must never ask the store about noise, trust half a key, or go on trusting a key for more than a
 * minute while the store can be asked. Spec: reliability 2.4 AUTH.
 */
import { createHmac, createSecretKey, timingSafeEqual } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { AuthFailure, AuthResult, Principal, Tier } from '../contract/flow.ts';
import type { KeyRow } from '../store/api-keys.ts';
import { checkApiKey, pepperIdOf, publicIdOf } from './api-key.ts';
import { createLookupQueue } from './lookup-queue.ts';

export type KeyAuthenticatorOptions = {
  pepper: string;
  findKey: (publicId: string) => Promise<KeyRow | null>;
  tierOf: (tierId: string) => Tier | undefined;
  /** Unix milliseconds: keys expire by it. */
  clock: () => number;
  /** How long an answer of the store is taken for true. */
  positiveTtlMs?: number;
  negativeTtlMs?: number;
  /** How long a good key is still served while the store fails. */
  staleOnErrorMs?: number;
  /** After a failure of the store, known keys are served without asking for this long. */
  retryAfterErrorMs?: number;
  maxEntries?: number;
  lookupConcurrency?: number;
  lookupWaitingLimit?: number;
  lookupTimeoutMs?: number;
};

export type KeyAuthenticator = {
  authenticate: (token: string | undefined) => AuthResult | Promise<AuthResult>;
  /** Asks the store whatever is remembered; the question starts after the call, so the answer is not older than the call. */
  reload: (token: string) => Promise<AuthResult>;
  /** What is remembered of this key is young enough to go by when nothing else can tell whether it still holds. */
  isFresh: (token: string) => boolean;
  /** What was known of this key, good or bad, is asked again at its next use. */
  forget: (publicId: string) => void;
};

type Known = {
  publicId: string;
  result: AuthResult;
  keyExpiresAtMs: number;
  freshUntilMs: number;
  staleUntilMs: number;
};
type Flight = { publicId: string; startedMs: number; result: Promise<AuthResult> };
type Reload = { running: Promise<AuthResult>; next: Promise<AuthResult> | null };

const refusals: Readonly<Record<AuthFailure, AuthResult>> = {
  missing: refuse('missing'),
  malformed: refuse('malformed'),
  checksum: refuse('checksum'),
  unknown: refuse('unknown'),
  expired: refuse('expired'),
  disabled: refuse('disabled'),
  revoked: refuse('revoked'),
};

export function createKeyAuthenticator(options: KeyAuthenticatorOptions): KeyAuthenticator {
  const { pepper, findKey, tierOf, clock, maxEntries = 20_000 } = options;
  const {
    positiveTtlMs = 60_000,
    negativeTtlMs = 5_000,
    staleOnErrorMs = 600_000,
    retryAfterErrorMs = 5_000,
  } = options;
  const { lookupConcurrency = 8, lookupWaitingLimit = 1_000, lookupTimeoutMs = 1_000 } = options;
  const pepperKey = createSecretKey(pepper, 'utf8');
  const pepperId = pepperIdOf(pepper);
  // Two caches: a flood of bad keys with good checksums must not push the good keys out.
  const good = new LRUCache<string, Known>({ max: maxEntries });
  const bad = new LRUCache<string, Known>({ max: maxEntries });
  const flights = new Map<string, Flight>();
  const reloads = new Map<string, Reload>();
  const queue = createLookupQueue<KeyRow | null>({
    concurrency: lookupConcurrency,
    waitingLimit: lookupWaitingLimit,
    timeoutMs: lookupTimeoutMs,
  });
  let storeFailedAtMs = Number.NEGATIVE_INFINITY;

  return { authenticate, reload, isFresh, forget };

  function authenticate(token: string | undefined): AuthResult | Promise<AuthResult> {
    if (token === undefined || token === '') return refusals.missing;
    const failure = checkApiKey(token);
    if (failure !== null) return refusals[failure];
    const digest = digestOf(token);
    const nowMs = clock();
    const known = good.get(digest) ?? bad.get(digest);
    if (known !== undefined && nowMs < known.freshUntilMs) return answer(known, nowMs);
    return flights.get(digest)?.result ?? lookUp(token, digest, nowMs);
  }

  function lookUp(token: string, digest: string, nowMs: number): AuthResult | Promise<AuthResult> {
    const stale = findStale(digest, nowMs);
    if (stale !== null && nowMs - storeFailedAtMs < retryAfterErrorMs) return stale;
    return startFlight(token, digest, { isKnown: stale !== null, mayBeStale: true });
  }

  function startFlight(
    token: string,
    digest: string,
    { isKnown, mayBeStale }: { isKnown: boolean; mayBeStale: boolean },
  ): Promise<AuthResult> {
    const publicId = publicIdOf(token);
    const startedMs = clock();
    const result = queue
      .run({ ask: async () => findKey(publicId), isUrgent: isKnown })
      .then(
        (row) => {
          storeFailedAtMs = Number.NEGATIVE_INFINITY;
          return remember(digest, flight, judge(row, digest));
        },
        (cause: unknown): AuthResult => {
          // Only a known key tells of the store: it never waits in line, so it cannot fail because of a flood of others.
          if (isKnown) storeFailedAtMs = clock();
          return (mayBeStale ? findStale(digest, clock()) : null) ?? { kind: 'unknown', cause };
        },
      )
      .finally(() => {
        if (flights.get(digest) === flight) flights.delete(digest);
      });
    const flight: Flight = { publicId, startedMs, result };
    flights.set(digest, flight);
    return result;
  }

  /** Many requests of one key learn at once that it changed: the first asks, and all the others share one more question. */
  function reload(token: string): Promise<AuthResult> {
    const failure = checkApiKey(token);
    if (failure !== null) return Promise.resolve(refusals[failure]);
    const digest = digestOf(token);
    const current = reloads.get(digest);
    if (current !== undefined) return (current.next ??= current.running.then(() => startReload(token, digest)));
    return startReload(token, digest);
  }

  /** Whoever waits for a reload knows that the remembered key is old, so a store that fails answers with nothing. */
  function startReload(token: string, digest: string): Promise<AuthResult> {
    const current: Reload = {
      running: startFlight(token, digest, { isKnown: true, mayBeStale: false }).finally(() => {
        if (current.next === null) reloads.delete(digest);
      }),
      next: null,
    };
    reloads.set(digest, current);
    return current.running;
  }

  function isFresh(token: string): boolean {
    const known = good.peek(digestOf(token));
    return known !== undefined && clock() < known.freshUntilMs;
  }

  /** Of the whole token: two keys with the same public id never meet in the cache. */
  function digestOf(token: string): string {
    return createHmac('sha256', pepperKey).update(token).digest('base64url');
  }

  /** A key that was good, and may still be taken for good if the store cannot be asked. */
  function findStale(digest: string, nowMs: number): AuthResult | null {
    const known = good.peek(digest);
    return known !== undefined && nowMs < known.staleUntilMs ? answer(known, nowMs) : null;
  }

  function judge(row: KeyRow | null, digest: string): { result: AuthResult; keyExpiresAtMs: number } {
    const keyExpiresAtMs = row?.expiresAtMs ?? Number.POSITIVE_INFINITY;
    return { result: row === null ? refusals.unknown : judgeRow(row, digest), keyExpiresAtMs };
  }

  function judgeRow(row: KeyRow, digest: string): AuthResult {
    if (row.pepperId !== pepperId) {
      return unknown(`the key ${row.publicId} was hashed with another secret; was TOLLGATE_SECRET changed?`);
    }
    // Before anything is said about the key: who knows only its id learns nothing of its state.
    if (!isSame(row.secretHash, Buffer.from(digest, 'base64url'))) return refusals.unknown;
    if (row.status !== 'active') return refusals[row.status];
    if (row.accountStatus !== 'active') return refusals.disabled;
    const tier = tierOf(row.tier);
    if (tier === undefined) return unknown(`the tier ${row.tier} of account ${row.accountId} is not configured`);
    return Object.freeze({ kind: 'valid', principal: principalOf(row, tier) });
  }

  function remember(
    digest: string,
    flight: Flight,
    { result, keyExpiresAtMs }: { result: AuthResult; keyExpiresAtMs: number },
  ): AuthResult {
    const { publicId, startedMs } = flight;
    const isGood = result.kind === 'valid';
    const known = {
      publicId,
      result,
      keyExpiresAtMs,
      // Counted from the question, not from the answer: what the row said may be that old.
      freshUntilMs: startedMs + (isGood ? positiveTtlMs : negativeTtlMs),
      staleUntilMs: startedMs + staleOnErrorMs,
    };
    // Forgotten in the meantime: the row may be from before the change, so only those who asked before get it.
    if (flights.get(digest) === flight) {
      good.delete(digest);
      bad.delete(digest);
      if (result.kind !== 'unknown') (isGood ? good : bad).set(digest, known);
    }
    return answer(known, clock());
  }

  function forget(publicId: string): void {
    for (const known of [good, bad, flights]) {
      const digests = [...known.entries()].filter(([, entry]) => entry.publicId === publicId).map(([digest]) => digest);
      for (const digest of digests) known.delete(digest);
    }
  }
}

/** A key may run out while it is remembered. */
function answer({ result, keyExpiresAtMs }: Pick<Known, 'result' | 'keyExpiresAtMs'>, nowMs: number): AuthResult {
  return result.kind === 'valid' && nowMs >= keyExpiresAtMs ? refusals.expired : result;
}

function principalOf(row: KeyRow, tier: Tier): Principal {
  return Object.freeze({
    accountId: row.accountId,
    keyId: row.id,
    tier,
    keyLimits: Object.freeze({ ...row.limits }),
    keyModels: row.allowedModels === null ? '*' : Object.freeze([...row.allowedModels]),
    authVersion: Object.freeze({ account: row.accountVersion, key: row.keyVersion }),
    ...(row.strict ? { isStrict: true } : {}),
    ...(row.ownCredentials === null ? {} : { ownCredentials: Object.freeze(row.ownCredentials) }),
  });
}

function isSame(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}

function unknown(message: string): AuthResult {
  return { kind: 'unknown', cause: new Error(message) };
}

function refuse(reason: AuthFailure): AuthResult {
  return Object.freeze({ kind: 'invalid', reason });
}
