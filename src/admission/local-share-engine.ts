/**
 * The shared engine, and in its place each process's own share of the limits while Redis gives no answer: for the tiers
 * that ask for it, for callers without a budget, and for at most five minutes. Takes the engine that it wraps and keeps
 * its contract, so nobody else knows.
 * Before such a request may go upstream a durable intent says so in Postgres, in one statement that also proves the key
 * as it is now; without it the answer is no. The wrapped engine then takes the request for its own: once Redis is back it
 * has the slot and the debit of what still runs, and of what has ended the usage. A share that is used up is no proof of a
 * limit reached, so the answer is never a 429. Spec: reliability 5 and A2.17.
 */
import type {
  AdmitRequest,
  AdmitResult,
  AuthStamp,
  BucketState,
  GovernedEngine,
  Settlement,
} from '../contract/admission.ts';
import { endlessLease } from './endless-lease.ts';
import type { UsageRecord } from '../contract/flow.ts';
import { orphanRecord } from './abandoned-record.ts';
import { createLocalShare } from './local-share.ts';
import type { ReplicaCount } from './replica-count.ts';

export type SharedEngine = GovernedEngine & {
  /** Monotonic ms; null while the limits of this account answer. */
  silentSinceMs(accountId: string): number | null;
  /** Somebody else admitted it: from now on it is held, renewed and settled here. */
  adopt(request: AdmitRequest): void;
};

export type IntentStore = {
  /** `stale_auth`: the key or its account is no longer what the stamp says. */
  write(record: UsageRecord, auth: AuthStamp): Promise<'written' | 'stale_auth'>;
  remove(record: UsageRecord): Promise<void>;
};

export type LocalShareOptions<Engine extends SharedEngine> = {
  inner: Engine;
  /** Ids of the tiers that ask for it. */
  tiers: ReadonlySet<string>;
  replicas: Pick<ReplicaCount, 'at'>;
  intents: IntentStore;
  hasRoom(): boolean;
  log: { warn(details: object, message: string): void; error(details: object, message: string): void };
  nowMs?: () => number;
  /** Silence that is no mere hiccup. */
  silenceMs?: number;
  longestMs?: number;
  /** What the intent may take. */
  boundMs?: number;
};

const unavailable: AdmitResult = { outcome: 'unavailable', reason: 'limits_unavailable' };

export function createLocalShareEngine<Engine extends SharedEngine>(options: LocalShareOptions<Engine>): Engine {
  const { inner, tiers, replicas, intents, log, nowMs = () => performance.now() } = options;
  const { silenceMs = 2_000, longestMs = 300_000, boundMs = 250 } = options;
  const share = createLocalShare(nowMs);
  let saidOf: number | null = null;

  async function admit(request: AdmitRequest): Promise<AdmitResult> {
    if (!tiers.has(request.record.tier)) return inner.admit(request);
    const sinceMs = inner.silentSinceMs(request.accountId);
    const silentMs = sinceMs === null ? 0 : nowMs() - sinceMs;
    if (sinceMs !== null && silentMs >= silenceMs && silentMs < longestMs) return admitShare(request, sinceMs);
    const result = await inner.admit(request);
    if (result.outcome === 'admitted') share.hold(request);
    return result;
  }

  async function admitShare(request: AdmitRequest, sinceMs: number): Promise<AdmitResult> {
    const { auth, budgets = [], id } = request;
    const count = replicas.at(sinceMs);
    if (auth === undefined || budgets.length > 0 || count === null || !options.hasRoom()) return unavailable;
    const buckets = share.admit(request, { replicas: count, sinceMs });
    if (buckets === null) return unavailable;
    say(sinceMs, count);
    const answer = await writeIntent(request, auth);
    if (answer === 'written') return admitted(request, buckets);
    share.settle({ id, kind: 'void', actual: { requests: 0, tokens: 0 } });
    return answer === 'stale_auth' ? { outcome: 'stale_auth' } : unavailable;
  }

  function admitted(request: AdmitRequest, buckets: readonly BucketState[]): AdmitResult {
    inner.adopt(request);
    return { outcome: 'admitted', buckets, degraded: 'local-share' };
  }

  /** An intent that lands behind its time is taken back, or a refused request would become an orphan. */
  async function writeIntent(request: AdmitRequest, auth: AuthStamp): Promise<'written' | 'stale_auth' | 'failed'> {
    const record = orphanRecord(request, 0);
    const { promise: tooLate, resolve } = Promise.withResolvers<'failed'>();
    const timer = setTimeout(() => resolve('failed'), boundMs);
    const writing = intents.write(record, auth);
    try {
      const answer = await Promise.race([writing, tooLate]);
      if (answer === 'failed') void takeBack(writing, record);
      return answer;
    } catch (error) {
      log.warn({ err: error }, 'an intent could not be written, so its request was refused');
      // It may have landed all the same, and only its answer was lost.
      void takeBack(Promise.resolve(), record);
      return 'failed';
    } finally {
      clearTimeout(timer);
    }
  }

  async function takeBack(writing: Promise<unknown>, record: UsageRecord): Promise<void> {
    try {
      await writing;
      await intents.remove(record);
    } catch (error) {
      log.warn({ err: error }, 'an intent of a refused request could not be taken back');
    }
  }

  function say(sinceMs: number, count: number): void {
    if (saidOf === sinceMs) return;
    saidOf = sinceMs;
    log.error({ replicas: count }, 'redis is silent: this process admits its share of the limits by itself');
  }

  function settle(settlement: Settlement): Promise<void> {
    share.settle(settlement);
    return inner.settle(settlement);
  }

  return {
    ...inner,
    admit,
    settle,
    // There is nothing in Redis that could run out.
    leaseOf: (id: string) => (share.isAdmitted(id) ? endlessLease : inner.leaseOf(id)),
  };
}
