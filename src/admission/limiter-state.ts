/**
 * The atomic steps of admission over plain Maps: what the Redis script does, in the same order and with the same
 * numbers. Synchronous, so each step is an atom by construction; it takes the time and never reads a clock, keeps no
 * timer and writes no row itself. Several engines may share one state, as replicas share a Redis. Spec: reliability 2.4.
 */
import type {
  AdmitRequest,
  AdmitResult,
  BucketCheck,
  BucketState,
  ConcurrencyCheck,
  Settlement,
} from '../contract/admission.ts';
import { usageRank, type UsageRank, type UsageRecord } from '../contract/flow.ts';
import { notDispatchedRecord, orphanRecord, orphanTokens } from './abandoned-record.ts';
import { clampAmount } from './amount-bounds.ts';
import { bucketState, credited, memoryMs, refilled, type BucketLevel } from './bucket.ts';
import { findRefusal, type FailedCheck } from './decision.ts';

export type LeaseTimes = { leaseMs: number; heartbeatMs: number; tombstoneMs: number };

/** `tombstoned`: the request was unknown; its late admission is now blocked, and there is no row to write. */
export type SettleResult = 'settled' | 'duplicate' | 'tombstoned';

export type LimiterState = ReturnType<typeof createLimiterState>;

type Lease = {
  request: AdmitRequest;
  /** By index of `request.buckets`: the amount debited now. */
  held: readonly number[];
  expiresAtMs: number;
  isDispatched: boolean;
  progressTokens: number;
};

type Tombstone = {
  rank: UsageRank;
  forgetAtMs: number;
  buckets: readonly BucketCheck[];
  held: readonly number[];
};

type StoredLevel = BucketLevel & { forgetAtMs: number };

const bucketsPerSweep = 1000;

export function createLimiterState(times: LeaseTimes) {
  const levels = new Map<string, StoredLevel>();
  const leases = new Map<string, Lease>();
  const scopes = new Map<string, Map<string, Lease>>();
  const tombstones = new Map<string, Tombstone>();
  let sweepPosition = levels.entries();

  function admit(request: AdmitRequest, nowMicros: number, gate: { hasRoom: boolean }): AdmitResult {
    const nowMs = Math.floor(nowMicros / 1000);
    if (findTombstone(request.id, nowMs) !== undefined) return { outcome: 'finished' };
    const current = request.buckets.map((check) => readLevel(check, nowMicros));
    if (leases.has(request.id)) return { outcome: 'admitted', buckets: describe(request, current) };
    if (!gate.hasRoom) return { outcome: 'unavailable', reason: 'journal_full' };
    const failedSlots = request.concurrency.flatMap((check) => failedSlot(check, nowMs));
    const refusal = findRefusal(request, { failedSlots, levels: current, nowMicros });
    if (refusal !== null) return refusal;
    const debited = request.buckets.map((check) => {
      const level = credited(readLevel(check, nowMicros), check, -check.cost);
      writeLevel(check, level, nowMs);
      return level;
    });
    openLease(request, nowMs);
    return { outcome: 'admitted', buckets: describe(request, debited) };
  }

  function openLease(request: AdmitRequest, nowMs: number): void {
    const lease: Lease = {
      request,
      held: request.buckets.map(({ cost }) => cost),
      expiresAtMs: nowMs + times.leaseMs,
      isDispatched: false,
      progressTokens: 0,
    };
    leases.set(request.id, lease);
    for (const { scope } of request.concurrency) {
      const holders = scopes.get(scope);
      if (holders === undefined) scopes.set(scope, new Map([[request.id, lease]]));
      else holders.set(request.id, lease);
    }
  }

  function markDispatched(id: string): void {
    const lease = leases.get(id);
    if (lease !== undefined) lease.isDispatched = true;
  }

  /** False when the lease is gone: reaped, or never there. */
  function renew(id: string, progressTokens: number, nowMicros: number): boolean {
    const lease = leases.get(id);
    if (lease === undefined) return false;
    lease.expiresAtMs = Math.floor(nowMicros / 1000) + times.leaseMs;
    lease.progressTokens = progressTokens;
    return true;
  }

  function applySettlement(settlement: Settlement, nowMicros: number): SettleResult {
    const { id, kind, record } = settlement;
    const nowMs = Math.floor(nowMicros / 1000);
    const lease = leases.get(id);
    const tombstone = findTombstone(id, nowMs);
    if (tombstone !== undefined && tombstone.rank >= record.rank) return 'duplicate';
    const buckets = lease?.request.buckets ?? tombstone?.buckets ?? [];
    const held = lease?.held ?? tombstone?.held ?? [];
    const charged = buckets.map((check, index) => correct(check, held[index] ?? 0, { settlement, nowMicros }));
    if (lease !== undefined) release(lease);
    tombstones.delete(id);
    const isFinal = record.rank === usageRank.final;
    tombstones.set(id, {
      rank: record.rank,
      forgetAtMs: nowMs + times.tombstoneMs,
      buckets: isFinal ? [] : buckets,
      held: isFinal ? [] : charged,
    });
    return lease === undefined && tombstone === undefined && kind === 'void' ? 'tombstoned' : 'settled';
  }

  /** Moves the debit of one bucket from what is held to what is due, and says what is held then. */
  function correct(check: BucketCheck, held: number, change: { settlement: Settlement; nowMicros: number }): number {
    const { kind, actual } = change.settlement;
    const used = clampAmount(actual[check.rule]);
    const due = kind === 'void' ? 0 : kind === 'under' ? Math.max(held, used) : used;
    if (due !== held) {
      const level = credited(readLevel(check, change.nowMicros), check, held - due);
      writeLevel(check, level, Math.floor(change.nowMicros / 1000));
    }
    return due;
  }

  function release(lease: Lease): void {
    const { id, concurrency } = lease.request;
    leases.delete(id);
    for (const { scope } of concurrency) {
      const holders = scopes.get(scope);
      holders?.delete(id);
      if (holders?.size === 0) scopes.delete(scope);
    }
  }

  /** Settles expired leases, the longest expired first, and returns their rows. */
  function reap(nowMicros: number, limit: number): UsageRecord[] {
    const nowMs = Math.floor(nowMicros / 1000);
    const expired = [...leases.values()].filter(({ expiresAtMs }) => expiresAtMs <= nowMs).sort(byExpiry);
    return expired.slice(0, limit).map(({ request, isDispatched, progressTokens }) => {
      const record = isDispatched ? orphanRecord(request, progressTokens) : notDispatchedRecord(request.record);
      const actual = { requests: 1, tokens: orphanTokens(request.record, progressTokens) };
      const kind = isDispatched ? 'under' : 'void';
      applySettlement({ id: request.id, accountId: request.accountId, kind, actual, record }, nowMicros);
      return record;
    });
  }

  /** Forgets old tombstones and a bounded number of buckets that have long been full. */
  function sweep(nowMicros: number): void {
    const nowMs = Math.floor(nowMicros / 1000);
    for (const [id, tombstone] of tombstones) {
      if (tombstone.forgetAtMs > nowMs) break;
      tombstones.delete(id);
    }
    for (let visited = 0; visited < bucketsPerSweep; visited += 1) {
      const next = sweepPosition.next();
      if (next.done === true) {
        sweepPosition = levels.entries();
        break;
      }
      const [name, level] = next.value;
      if (level.forgetAtMs <= nowMs) levels.delete(name);
    }
  }

  /**
   * A holder that missed a beat is probably dead, and its slot comes free when its lease ends. One that did not may end
   * at any time, so a second is as true as anything.
   */
  function failedSlot(check: ConcurrencyCheck, nowMs: number): FailedCheck[] {
    const { scope, limit } = check;
    const holders = scopes.get(scope);
    if (limit > 0 && (holders === undefined || holders.size < limit)) return [];
    const ends: number[] = [];
    for (const { expiresAtMs } of holders?.values() ?? []) if (expiresAtMs > nowMs) ends.push(expiresAtMs);
    if (limit > 0 && ends.length < limit) return [];
    const remainingMs = (ends.sort((a, b) => a - b)[ends.length - limit] ?? nowMs) - nowMs;
    const missedBeat = remainingMs < times.leaseMs - times.heartbeatMs - 2000;
    const waitMs = limit === 0 ? null : missedBeat ? remainingMs : 1000;
    return [{ rule: 'concurrency', scope, limit, used: ends.length, requested: 1, waitMs }];
  }

  function findTombstone(id: string, nowMs: number): Tombstone | undefined {
    const tombstone = tombstones.get(id);
    return tombstone === undefined || tombstone.forgetAtMs <= nowMs ? undefined : tombstone;
  }

  function readLevel(check: BucketCheck, nowMicros: number): BucketLevel {
    const stored = levels.get(`${check.rule}:${check.scope}`);
    // A clock that went back must not stop the refill until it has caught up.
    if (stored !== undefined && stored.refilledAtMicros > nowMicros) stored.refilledAtMicros = nowMicros;
    return refilled(stored, check, nowMicros);
  }

  function writeLevel(check: BucketCheck, level: BucketLevel, nowMs: number): void {
    levels.set(`${check.rule}:${check.scope}`, { ...level, forgetAtMs: nowMs + memoryMs(check) });
  }

  const describe = (request: AdmitRequest, current: readonly BucketLevel[]): BucketState[] =>
    current.flatMap((level, index) => {
      const check = request.buckets[index];
      return check === undefined ? [] : [bucketState(check, level)];
    });

  const sizes = () => ({ buckets: levels.size, leases: leases.size, scopes: scopes.size, tombstones: tombstones.size });

  return { admit, markDispatched, renew, settle: applySettlement, reap, sweep, sizes };
}

const byExpiry = (one: Lease, other: Lease): number =>
  one.expiresAtMs - other.expiresAtMs || (one.request.id < other.request.id ? -1 : 1);
