/**
 * One process's share of the limits: what it may admit alone so that all of them together stay within the limit. Slots,
 * requests and tokens, each at the limit divided by the number of processes and rounded down; a share of nothing admits
 * nothing. A bucket starts empty at the moment when the shared one fell silent, so that what was admitted before and what
 * is admitted now add up to no more than one bucket. Requests that run already count against the slots. Synchronous.
 */
import type { AdmitRequest, BucketCheck, BucketState, Settlement } from '../contract/admission.ts';
import { clampAmount } from './amount-bounds.ts';
import { bucketState, credited, refilled, type BucketLevel } from './bucket.ts';

export type ShareTerms = {
  replicas: number;
  /** When the shared limits fell silent: each silence has buckets of its own. */
  sinceMs: number;
};

export interface LocalShare {
  /** A request that somebody else admitted runs in this process. */
  hold(request: AdmitRequest): void;
  /** The buckets after it, or null: no share is left. */
  admit(request: AdmitRequest, terms: ShareTerms): readonly BucketState[] | null;
  isAdmitted(id: string): boolean;
  /** It has ended; only what this share admitted is charged to it. */
  settle(settlement: Pick<Settlement, 'id' | 'kind' | 'actual'>): void;
}

type Charge = { check: BucketCheck; level: StoredLevel };
type StoredLevel = { level: BucketLevel; sinceMs: number };
type Running = { request: AdmitRequest; charges: readonly Charge[] | null };

export function createLocalShare(nowMs: () => number): LocalShare {
  const running = new Map<string, Running>();
  const used = new Map<string, number>();
  let levels = new Map<string, StoredLevel>();
  let levelsSinceMs = -Infinity;

  function hold(request: AdmitRequest): void {
    start(request, null);
  }

  function start(request: AdmitRequest, charges: readonly Charge[] | null): void {
    if (running.has(request.id)) return;
    running.set(request.id, { request, charges });
    for (const { scope } of request.concurrency) used.set(scope, (used.get(scope) ?? 0) + 1);
  }

  function admit(request: AdmitRequest, { replicas, sinceMs }: ShareTerms): readonly BucketState[] | null {
    const isSlotFree = request.concurrency.every(
      ({ scope, limit }) => (used.get(scope) ?? 0) < Math.floor(limit / replicas),
    );
    if (!isSlotFree || running.has(request.id)) return null;
    const nowMicros = Math.floor(nowMs() * 1000);
    const charges = request.buckets.map((whole) => {
      const check = shareOf(whole, replicas);
      const stored = levelOf(check, sinceMs);
      stored.level = refilled(stored.level, check, nowMicros);
      return { check, level: stored };
    });
    if (charges.some(({ check, level }) => level.level.balanceMilli < check.cost * 1000 || check.capacity === 0))
      return null;
    for (const { check, level } of charges) level.level = credited(level.level, check, -check.cost);
    start(request, charges);
    return charges.map(({ check, level }) => bucketState(check, level.level));
  }

  function levelOf({ rule, scope }: BucketCheck, sinceMs: number): StoredLevel {
    // Those of an earlier silence are worth nothing; a later one begins when the shards have all answered again.
    if (sinceMs > levelsSinceMs + forgetMs) levels = new Map();
    levelsSinceMs = Math.max(levelsSinceMs, sinceMs);
    const name = `${rule}:${scope}`;
    const known = levels.get(name);
    if (known !== undefined && known.sinceMs === sinceMs) return known;
    const empty = { level: { balanceMilli: 0, refilledAtMicros: Math.ceil(sinceMs * 1000) }, sinceMs };
    levels.set(name, empty);
    return empty;
  }

  function settle({ id, kind, actual }: Pick<Settlement, 'id' | 'kind' | 'actual'>): void {
    const known = running.get(id);
    if (known === undefined) return;
    running.delete(id);
    for (const { scope } of known.request.concurrency) {
      const left = (used.get(scope) ?? 1) - 1;
      if (left > 0) used.set(scope, left);
      else used.delete(scope);
    }
    for (const { check, level } of known.charges ?? []) {
      const paid = clampAmount(actual[check.rule]);
      const due = kind === 'void' ? 0 : kind === 'under' ? Math.max(check.cost, paid) : paid;
      level.level = credited(level.level, check, check.cost - due);
    }
  }

  return {
    hold,
    admit,
    isAdmitted: (id) => (running.get(id)?.charges ?? null) !== null,
    settle,
  };
}

const forgetMs = 600_000;

const shareOf = (check: BucketCheck, replicas: number): BucketCheck => ({
  ...check,
  capacity: Math.floor(check.capacity / replicas),
  refillPerMinute: Math.floor(check.refillPerMinute / replicas),
});
