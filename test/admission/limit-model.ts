/**
 * The oracle: what the specification says, in exact whole numbers and with no regard for speed. A bucket counts
 * sixty-thousandths of a unit, so that one millisecond at a rate of r per minute is exactly r of them.
 */
import type {
  AdmitRequest,
  AdmitResult,
  BucketCheck,
  BucketState,
  BudgetCheck,
  BudgetState,
  LimitsView,
  Settlement,
} from '../../src/contract/admission.ts';
import type { UsageRank } from '../../src/contract/flow.ts';
import { suiteTimes } from './engine-world.ts';

type ModelBucket = { balance: number; atMs: number };
type ModelBudget = { endsAtMs: number; spent: number; held: number };
type Share = { check: BudgetCheck; endsAtMs: number; held: number; charged: number };
type Open = {
  request: AdmitRequest;
  held: number[];
  shares: Share[];
  endsAtMs: number;
  isDispatched: boolean;
  progress: number;
};
type Finished = { rank: UsageRank; checks: readonly BucketCheck[]; held: number[]; shares: Share[] };
export type ExpectedRow = { requestId: string; rank: UsageRank; status: string; completionTokens: number };

const fraction = 60_000;
const nameOf = (check: BucketCheck): string => `${check.rule} ${check.scope}`;

export type LimitModel = ReturnType<typeof createLimitModel>;

export function createLimitModel(nowMs: () => number) {
  const buckets = new Map<string, ModelBucket>();
  const open = new Map<string, Open>();
  const finished = new Map<string, Finished>();
  const budgets = new Map<string, ModelBudget>();
  const versions = new Map<string, number>();

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

  /** When the period that holds this moment ends, found by walking the calendar. */
  function endOf(period: BudgetCheck['period']): number {
    if (period === 'total') return Infinity;
    const midnight = new Date(nowMs());
    midnight.setUTCHours(24, 0, 0, 0);
    const isEnd = {
      daily: () => true,
      weekly: () => midnight.getUTCDay() === 1,
      monthly: () => midnight.getUTCDate() === 1,
    };
    while (!isEnd[period]()) midnight.setUTCDate(midnight.getUTCDate() + 1);
    return midnight.getTime();
  }

  const budgetName = ({ period, scope }: Pick<BudgetCheck, 'period' | 'scope'>): string => `${period} ${scope}`;

  function budgetOf(check: Pick<BudgetCheck, 'period' | 'scope'>): ModelBudget | undefined {
    const budget = budgets.get(budgetName(check));
    if (budget === undefined || budget.endsAtMs >= endOf(check.period)) return budget;
    const fresh = { endsAtMs: endOf(check.period), spent: 0, held: 0 };
    budgets.set(budgetName(check), fresh);
    return fresh;
  }

  function seed(budget: Pick<BudgetCheck, 'period' | 'scope'>, spent: number): void {
    if (budgetOf(budget) !== undefined) return;
    budgets.set(budgetName(budget), { endsAtMs: endOf(budget.period), spent, held: 0 });
  }

  /** What is at rest, or null. */
  function restOf(budget: Pick<BudgetCheck, 'period' | 'scope'>): number | null {
    const level = budgetOf(budget);
    return level === undefined || level.held > 0 ? null : level.spent;
  }

  function adjust(budget: Pick<BudgetCheck, 'period' | 'scope'>, delta: number): void {
    const level = budgetOf(budget);
    if (level !== undefined) level.spent = Math.max(0, level.spent + delta);
  }

  const budgetStates = (checks: readonly BudgetCheck[]): BudgetState[] =>
    checks.flatMap((check) => {
      const { scope, period, limitNanoUsd } = check;
      const budget = budgetOf(check);
      if (budget === undefined) return [];
      const remainingNanoUsd = Math.max(0, limitNanoUsd - budget.spent - budget.held);
      return [{ scope, period, limitNanoUsd, remainingNanoUsd, resetsAtMs: finite(budget.endsAtMs) }];
    });

  const isStale = ({ accountId, auth }: AdmitRequest): boolean =>
    auth !== undefined &&
    (versions.get(accountId) !== auth.accountVersion || versions.get(`${accountId} ${auth.keyId}`) !== auth.keyVersion);

  function raise(name: string, version: number): void {
    versions.set(name, Math.max(version, versions.get(name) ?? 0));
  }

  function admit(request: AdmitRequest): AdmitResult {
    const states = () => request.buckets.map(stateOf);
    const checks = request.budgets ?? [];
    const admitted = (): AdmitResult => ({ outcome: 'admitted', buckets: states(), budgets: budgetStates(checks) });
    if (open.has(request.id)) return admitted();
    if (finished.has(request.id)) return { outcome: 'finished' };
    if (isStale(request)) return { outcome: 'stale_auth' };
    states();
    const unseeded = checks.filter((check) => budgetOf(check) === undefined);
    if (unseeded.length > 0) return { outcome: 'need_seed', budgets: unseeded };
    const tooMuch = request.buckets.find(({ cost, capacity }) => cost > capacity);
    if (tooMuch !== undefined) {
      const { rule, scope, capacity, cost } = tooMuch;
      return { outcome: 'never', rule, scope, limit: capacity, requested: cost };
    }
    const failures = [
      ...failedSlots(request),
      ...failedBuckets(request.buckets.filter(({ rule }) => rule === 'requests')),
      ...failedBuckets(request.buckets.filter(({ rule }) => rule === 'tokens')),
      ...failedBudgets(checks),
    ];
    const longestMs = Math.max(...failures.map(({ waitMs }) => waitMs));
    const binding = failures.find(({ waitMs }) => waitMs === longestMs);
    if (binding !== undefined) {
      return { outcome: 'rejected', ...binding, waitMs: finite(binding.waitMs), buckets: states() };
    }
    for (const check of request.buckets) add(check, -check.cost);
    const held = request.buckets.map(({ cost }) => cost);
    const endsAtMs = nowMs() + suiteTimes.leaseMs;
    const shares = checks.flatMap((check) => holdShare(check));
    open.set(request.id, { request, held, shares, endsAtMs, isDispatched: false, progress: 0 });
    return admitted();
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

  const failedBudgets = (checks: readonly BudgetCheck[]) =>
    checks.flatMap((check) => {
      const { scope, limitNanoUsd: limit, costNanoUsd: requested } = check;
      const budget = budgetOf(check);
      if (budget === undefined || budget.spent + budget.held + requested <= limit) return [];
      const waitMs = requested > limit ? Infinity : budget.endsAtMs - nowMs();
      return [{ rule: 'budget' as const, scope, limit, used: budget.spent + budget.held, requested, waitMs }];
    });

  function holdShare(check: BudgetCheck): Share[] {
    const budget = budgetOf(check);
    if (budget === undefined) return [];
    budget.held += check.costNanoUsd;
    return [{ check, endsAtMs: budget.endsAtMs, held: check.costNanoUsd, charged: 0 }];
  }

  function chargeShare(share: Share, cost: number): Share {
    const budget = budgets.get(budgetName(share.check));
    if (budget?.endsAtMs === share.endsAtMs) {
      budget.held -= share.held;
      budget.spent += cost - share.charged;
    }
    return { ...share, held: 0, charged: cost };
  }

  function inspect(request: AdmitRequest): LimitsView {
    const live = (scope: string) =>
      [...open.values()].filter(
        (one) => one.endsAtMs > nowMs() && one.request.concurrency.some((check) => check.scope === scope),
      );
    return {
      buckets: request.buckets.map(stateOf),
      concurrency: request.concurrency.map(({ scope, limit }) => ({ scope, limit, used: live(scope).length })),
      budgets: budgetStates(request.budgets ?? []),
    };
  }

  function settle(settlement: Settlement): ExpectedRow[] {
    const { id, record } = settlement;
    const before = open.get(id);
    const earlier = finished.get(id);
    if (earlier !== undefined && earlier.rank >= record.rank) return [];
    const checks = before?.request.buckets ?? earlier?.checks ?? [];
    const heldBefore = before?.held ?? earlier?.held ?? [];
    const held = checks.map((check, index) => correct(check, heldBefore[index] ?? 0, settlement));
    const cost = settlement.actual.costNanoUsd ?? Math.ceil(record.costPicoUsd / 1000);
    const shares = (before?.shares ?? earlier?.shares ?? []).map((share) => chargeShare(share, cost));
    open.delete(id);
    finished.set(id, { rank: record.rank, checks, held, shares });
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
      const outputPicoUsd = completionTokens * (request.outputPicoUsd ?? 0);
      const costPicoUsd = isDispatched ? request.record.costPicoUsd + outputPicoUsd : 0;
      const record = { ...request.record, rank, status, costPicoUsd, usage: { ...usage, completionTokens } } as const;
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

  return { admit, settle, reap, mark, renew, seed, restOf, adjust, raise, inspect };
}

const finite = (milliseconds: number): number | null => (milliseconds === Infinity ? null : milliseconds);
