/**
 * The oracle: what the specification says, in exact whole numbers and with no regard for speed. A bucket counts
 * sixty-thousandths of a unit, so that one millisecond at a rate of r per minute is exactly r of them.
 */
import type { AdmitRequest, AdmitResult, BucketCheck, BucketState, Settlement } from '../../src/contract/admission.ts';
import type { UsageRank } from '../../src/contract/flow.ts';
import { suiteTimes } from './engine-world.ts';

type ModelBucket = { balance: number; atMs: number };
type Open = { request: AdmitRequest; held: number[]; endsAtMs: number; isDispatched: boolean; progress: number };
type Finished = { rank: UsageRank; checks: readonly BucketCheck[]; held: number[] };
export type ExpectedRow = { requestId: string; rank: UsageRank; status: string; completionTokens: number };

const fraction = 60_000;
const nameOf = (check: BucketCheck): string => `${check.rule} ${check.scope}`;

export type LimitModel = ReturnType<typeof createLimitModel>;

export function createLimitModel(nowMs: () => number) {
  const buckets = new Map<string, ModelBucket>();
  const open = new Map<string, Open>();
  const finished = new Map<string, Finished>();

  /** The bucket now. Looking changes nothing, except that a time which a clock took back counts from now on. */
  function bucketOf(check: BucketCheck): ModelBucket {
    const full = check.capacity * fraction;
    const bucket = buckets.get(nameOf(check)) ?? { balance: full, atMs: nowMs() };
    bucket.atMs = Math.min(bucket.atMs, nowMs());
    const refill = (nowMs() - bucket.atMs) * check.refillPerMinute;
    return { balance: Math.min(full, bucket.balance + refill), atMs: nowMs() };
  }

  function add(check: BucketCheck, units: number): void {
    const full = check.capacity * fraction;
    const bucket = bucketOf(check);
    const balance = Math.min(full, Math.max(-full, bucket.balance + units * fraction));
    buckets.set(nameOf(check), { ...bucket, balance });
  }

  const stateOf = (check: BucketCheck): BucketState => ({
    rule: check.rule,
    scope: check.scope,
    limit: check.capacity,
    remaining: Math.max(0, Math.floor(bucketOf(check).balance / fraction)),
    windowMs: Math.ceil((check.capacity * 60_000) / check.refillPerMinute),
  });

  function admit(request: AdmitRequest): AdmitResult {
    const states = () => request.buckets.map(stateOf);
    if (open.has(request.id)) return { outcome: 'admitted', buckets: states() };
    if (finished.has(request.id)) return { outcome: 'finished' };
    states();
    const tooMuch = request.buckets.find(({ cost, capacity }) => cost > capacity);
    if (tooMuch !== undefined) {
      const { rule, scope, capacity, cost } = tooMuch;
      return { outcome: 'never', rule, scope, limit: capacity, requested: cost };
    }
    const failures = [
      ...failedSlots(request),
      ...failedBuckets(request.buckets.filter(({ rule }) => rule === 'requests')),
      ...failedBuckets(request.buckets.filter(({ rule }) => rule === 'tokens')),
    ];
    const longestMs = Math.max(...failures.map(({ waitMs }) => waitMs));
    const binding = failures.find(({ waitMs }) => waitMs === longestMs);
    if (binding !== undefined) return { outcome: 'rejected', ...binding, buckets: states() };
    for (const check of request.buckets) add(check, -check.cost);
    const held = request.buckets.map(({ cost }) => cost);
    const endsAtMs = nowMs() + suiteTimes.leaseMs;
    open.set(request.id, { request, held, endsAtMs, isDispatched: false, progress: 0 });
    return { outcome: 'admitted', buckets: states() };
  }

  const failedSlots = (request: AdmitRequest) =>
    request.concurrency.flatMap(({ scope, limit }) => {
      const holders = [...open.values()].filter((one) =>
        one.request.concurrency.some((check) => check.scope === scope),
      );
      const leftMs = holders.map(({ endsAtMs }) => endsAtMs - nowMs()).filter((left) => left > 0);
      if (leftMs.length < limit) return [];
      const waitMs = leftMs.sort((a, b) => a - b)[leftMs.length - limit] ?? 0;
      const isAlive = waitMs >= suiteTimes.leaseMs - suiteTimes.heartbeatMs - 2000;
      return [
        {
          rule: 'concurrency' as const,
          scope,
          limit,
          used: leftMs.length,
          requested: 1,
          waitMs: isAlive ? 1000 : waitMs,
        },
      ];
    });

  const failedBuckets = (checks: readonly BucketCheck[]) =>
    checks.flatMap((check) => {
      const { rule, scope, capacity: limit, cost: requested } = check;
      const missing = requested * fraction - bucketOf(check).balance;
      const waitMs = Math.ceil(missing / check.refillPerMinute);
      return missing <= 0 ? [] : [{ rule, scope, limit, used: limit - stateOf(check).remaining, requested, waitMs }];
    });

  function settle(settlement: Settlement): ExpectedRow[] {
    const { id, record } = settlement;
    const before = open.get(id);
    const earlier = finished.get(id);
    if (earlier !== undefined && earlier.rank >= record.rank) return [];
    const checks = before?.request.buckets ?? earlier?.checks ?? [];
    const heldBefore = before?.held ?? earlier?.held ?? [];
    const held = checks.map((check, index) => correct(check, heldBefore[index] ?? 0, settlement));
    open.delete(id);
    finished.set(id, { rank: record.rank, checks, held });
    if (before === undefined && earlier === undefined && settlement.kind === 'void') return [];
    const { rank, status, usage } = record;
    return [{ requestId: id, rank, status, completionTokens: usage.completionTokens }];
  }

  function correct(check: BucketCheck, held: number, settlement: Settlement): number {
    const actual = settlement.actual[check.rule];
    const due = { exact: actual, under: Math.max(held, actual), void: 0 }[settlement.kind];
    if (due !== held) add(check, held - due);
    return due;
  }

  function reap(): ExpectedRow[] {
    const byEnd = (one: Open, other: Open): number =>
      one.endsAtMs - other.endsAtMs || (one.request.id < other.request.id ? -1 : 1);
    const expired = [...open.values()].filter(({ endsAtMs }) => endsAtMs <= nowMs());
    return expired.sort(byEnd).flatMap((one) => {
      const { request, isDispatched, progress } = one;
      const { usage } = request.record;
      const rank = isDispatched ? 1 : 0;
      const completionTokens = isDispatched ? Math.max(0, progress - usage.promptTokens) : 0;
      const status = isDispatched ? 'orphaned' : 'not_dispatched';
      const record = { ...request.record, rank, status, usage: { ...usage, completionTokens } } as const;
      const actual = { requests: 1, tokens: Math.max(progress, usage.promptTokens) };
      return settle({ id: request.id, accountId: 'a1', kind: isDispatched ? 'under' : 'void', actual, record });
    });
  }

  function mark(id: string): void {
    const one = open.get(id);
    if (one !== undefined) one.isDispatched = true;
  }

  function renew(id: string, progress: number): void {
    const one = open.get(id);
    if (one !== undefined) Object.assign(one, { endsAtMs: nowMs() + suiteTimes.leaseMs, progress });
  }

  return { admit, settle, reap, mark, renew, isOpen: (id: string) => open.has(id) };
}
