/**
 * The atomic steps of admission over plain Maps: what the Redis script does, in the same order and with the same
 * numbers. Synchronous, so each step is an atom by construction; it takes the time and never reads a clock, keeps no
 * timer and writes no row itself. Several engines may share one state, as replicas share a Redis. Spec: reliability 2.4.
 */
import type {
  AdmitRequest,
  AdmitResult,
  AuthStamp,
  BucketCheck,
  BucketState,
  BudgetChange,
  BudgetCheck,
  BudgetName,
  BudgetReading,
  BudgetState,
  ConcurrencyCheck,
  LimitsView,
  Settlement,
} from '../contract/admission.ts';
import { usageRank, type UsageRank, type UsageRecord } from '../contract/flow.ts';
import { notDispatchedRecord, orphanRecord, orphanTokens } from './abandoned-record.ts';
import { clampAmount, clampMoney } from './amount-bounds.ts';
import { createAuthVersions, type RaisedVersions } from './auth-versions.ts';
import { bucketState, credited, memoryMs, refilled, type BucketLevel } from './bucket.ts';
import { budgetState, chargeOf, type BudgetCharge, type BudgetLevel } from './budget.ts';
import { createBudgetBook } from './budget-book.ts';
import { periodNumber } from './budget-period.ts';
import { findRefusal, type FailedCheck } from './decision.ts';

export type LeaseTimes = { leaseMs: number; heartbeatMs: number; tombstoneMs: number };

/** `tombstoned`: the request was unknown; its late admission is now blocked, and there is no row to write. */
export type SettleResult = 'settled' | 'duplicate' | 'tombstoned';

export type LimiterState = ReturnType<typeof createLimiterState>;

type Lease = {
  request: AdmitRequest;
  /** By index of `request.buckets`: the amount debited now. */
  held: readonly number[];
  charges: readonly BudgetCharge[];
  expiresAtMs: number;
  isDispatched: boolean;
  progressTokens: number;
};

type Tombstone = {
  rank: UsageRank;
  forgetAtMs: number;
  buckets: readonly BucketCheck[];
  held: readonly number[];
  charges: readonly BudgetCharge[];
};

type StoredLevel = BucketLevel & { forgetAtMs: number };

const bucketsPerSweep = 1000;

export function createLimiterState(times: LeaseTimes) {
  const levels = new Map<string, StoredLevel>();
  const leases = new Map<string, Lease>();
  const scopes = new Map<string, Map<string, Lease>>();
  const tombstones = new Map<string, Tombstone>();
  const book = createBudgetBook();
  const versions = createAuthVersions();
  let settlements = 0;
  let sweepPosition = levels.entries();

  function admit(request: AdmitRequest, nowMicros: number, gate: { hasRoom: boolean }): AdmitResult {
    const nowMs = Math.floor(nowMicros / 1000);
    if (findTombstone(request.id, nowMs) !== undefined) return { outcome: 'finished' };
    const { auth, budgets = [] } = request;
    if (!leases.has(request.id)) {
      if (auth !== undefined && !versions.isCurrent(request.accountId, auth)) return { outcome: 'stale_auth' };
      if (!gate.hasRoom) return { outcome: 'unavailable', reason: 'journal_full' };
    }
    const current = request.buckets.map((check) => readLevel(check, nowMicros));
    if (leases.has(request.id)) return admitted(request, current, nowMs);
    const unknown = budgets.filter((check) => book.read(check, nowMs) === undefined);
    if (unknown.length > 0) return { outcome: 'need_seed', budgets: unknown };
    const failedSlots = request.concurrency.flatMap((check) => failedSlot(check, nowMs));
    const budgetLevels = budgets.flatMap((check) => book.read(check, nowMs) ?? []);
    const refusal = findRefusal(request, { failedSlots, levels: current, budgets: budgetLevels, nowMicros });
    if (refusal !== null) return refusal;
    const debited = request.buckets.map((check) => {
      const level = credited(readLevel(check, nowMicros), check, -check.cost);
      writeLevel(check, level, nowMs);
      return level;
    });
    openLease(request, nowMs);
    return admitted(request, debited, nowMs);
  }

  function admitted(request: AdmitRequest, current: readonly BucketLevel[], nowMs: number): AdmitResult {
    const buckets = describe(request.buckets, current);
    if (request.budgets === undefined || request.budgets.length === 0) return { outcome: 'admitted', buckets };
    return { outcome: 'admitted', buckets, budgets: describeBudgets(request.budgets, nowMs) };
  }

  function openLease(request: AdmitRequest, nowMs: number): void {
    const lease: Lease = {
      request,
      held: request.buckets.map(({ cost }) => cost),
      charges: (request.budgets ?? []).flatMap((check) => book.hold(check, nowMs)),
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
    settlements += 1;
    const buckets = lease?.request.buckets ?? tombstone?.buckets ?? [];
    const held = lease?.held ?? tombstone?.held ?? [];
    const charges = lease?.charges ?? tombstone?.charges ?? [];
    const cost = chargeOf(settlement);
    const settledCharges = charges.map((charge) => book.charge(charge, cost));
    const charged = buckets.map((check, index) => correct(check, held[index] ?? 0, { settlement, nowMicros }));
    if (lease !== undefined) release(lease);
    tombstones.delete(id);
    const isFinal = record.rank === usageRank.final;
    tombstones.set(id, {
      rank: record.rank,
      forgetAtMs: nowMs + times.tombstoneMs,
      buckets: isFinal ? [] : buckets,
      held: isFinal ? [] : charged,
      charges: isFinal ? [] : settledCharges,
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
    const ends = liveEnds(scope, nowMs);
    if (limit > 0 && ends.length < limit) return [];
    const remainingMs = (ends.sort((a, b) => a - b)[ends.length - limit] ?? nowMs) - nowMs;
    const missedBeat = remainingMs < times.leaseMs - times.heartbeatMs - 2000;
    const waitMs = limit === 0 ? null : missedBeat ? remainingMs : 1000;
    return [{ rule: 'concurrency', scope, limit, used: ends.length, requested: 1, waitMs }];
  }

  function liveEnds(scope: string, nowMs: number): number[] {
    const ends: number[] = [];
    for (const { expiresAtMs } of scopes.get(scope)?.values() ?? []) if (expiresAtMs > nowMs) ends.push(expiresAtMs);
    return ends;
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

  const describe = (checks: readonly BucketCheck[], current: readonly BucketLevel[]): BucketState[] =>
    current.flatMap((level, index) => {
      const check = checks[index];
      return check === undefined ? [] : [bucketState(check, level)];
    });

  const describeBudgets = (checks: readonly BudgetCheck[], nowMs: number): BudgetState[] =>
    checks.flatMap((check) => {
      const level: BudgetLevel | undefined = book.read(check, nowMs);
      return level === undefined ? [] : [budgetState(check, level)];
    });

  /** Looks at the limits and takes nothing. */
  function inspect(request: Pick<AdmitRequest, 'buckets' | 'concurrency' | 'budgets'>, nowMicros: number): LimitsView {
    const { buckets, concurrency, budgets = [] } = request;
    const nowMs = Math.floor(nowMicros / 1000);
    return {
      buckets: describe(
        buckets,
        buckets.map((check) => readLevel(check, nowMicros)),
      ),
      concurrency: concurrency.map(({ scope, limit }) => ({ scope, limit, used: liveEnds(scope, nowMs).length })),
      budgets: describeBudgets(budgets, nowMs),
    };
  }

  /** The buckets as JSON, for a journal. Budgets are not in it: their rows say what was spent. */
  const snapshot = (): unknown =>
    Array.from(levels, ([name, { balanceMilli, refilledAtMicros, forgetAtMs }]) => [
      name,
      balanceMilli,
      refilledAtMicros,
      forgetAtMs,
    ]);

  /** Takes what `snapshot` gave, over what is there already; anything else is left out. */
  function restore(saved: unknown): void {
    for (const entry of Array.isArray(saved) ? saved : []) {
      const [name, ...numbers]: unknown[] = Array.isArray(entry) ? entry : [];
      const [balanceMilli, refilledAtMicros, forgetAtMs] = numbers
        .filter((one) => Number.isSafeInteger(one))
        .map(Number);
      if (typeof name !== 'string' || balanceMilli === undefined) continue;
      if (refilledAtMicros === undefined || forgetAtMs === undefined) continue;
      levels.set(name, { balanceMilli, refilledAtMicros, forgetAtMs });
    }
  }

  function seedBudget(budget: BudgetName, seed: { spentNanoUsd: number; atMs?: number }, nowMicros: number): void {
    const nowMs = Math.floor(nowMicros / 1000);
    const { spentNanoUsd, atMs = nowMs } = seed;
    if (periodNumber(budget.period, atMs) !== periodNumber(budget.period, nowMs)) return;
    book.seed(budget, clampMoney(spentNanoUsd), nowMs);
  }

  function readBudget(budget: BudgetName, nowMicros: number): BudgetReading {
    const atMs = Math.floor(nowMicros / 1000);
    const level = book.read(budget, atMs);
    if (level === undefined) return { state: 'unknown', atMs };
    if (level.heldNanoUsd > 0) return { state: 'in_use', atMs };
    const { period, spentNanoUsd } = level;
    return { state: 'at_rest', atMs, spentNanoUsd, mark: `${period} ${spentNanoUsd} ${settlements}` };
  }

  function adjustBudget(budget: BudgetName, { mark, deltaNanoUsd }: BudgetChange, nowMicros: number): boolean {
    const reading = readBudget(budget, nowMicros);
    if (reading.state !== 'at_rest' || reading.mark !== mark) return false;
    book.adjust(budget, deltaNanoUsd, reading.atMs);
    return true;
  }

  return {
    admit,
    markDispatched,
    renew,
    settle: applySettlement,
    reap,
    sweep,
    inspect,
    snapshot,
    restore,
    seedBudget,
    readBudget,
    adjustBudget,
    raiseAuthVersion: (accountId: string, raised: RaisedVersions) => versions.raise(accountId, raised),
    isAuthCurrent: (accountId: string, stamp: AuthStamp) => versions.isCurrent(accountId, stamp),
    sizes: () => ({ buckets: levels.size, leases: leases.size, scopes: scopes.size, tombstones: tombstones.size }),
  };
}

const byExpiry = (one: Lease, other: Lease): number =>
  one.expiresAtMs - other.expiresAtMs || (one.request.id < other.request.id ? -1 : 1);
