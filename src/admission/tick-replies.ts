/** The words of the script: what it answers, as results of the contract. Null for a reply that the script never gives. */
import type {
  AdmitRequest,
  AdmitResult,
  BucketCheck,
  BucketState,
  BudgetCheck,
  BudgetReading,
  BudgetState,
  LimitsView,
} from '../contract/admission.ts';
import type { UsageRecord } from '../contract/flow.ts';
import type { Abandoned } from './abandoned-record.ts';
import { bucketState } from './bucket.ts';
import { budgetState } from './budget.ts';
import type { Progress } from './tick-operations.ts';

type Checks = Pick<AdmitRequest, 'buckets' | 'concurrency' | 'budgets'>;

export function readAdmitReply(request: AdmitRequest, reply: readonly unknown[]): AdmitResult | null {
  switch (reply[0]) {
    case 'OK':
      return readAdmission(request, reply);
    case 'NO':
      return readRejection(request, reply);
    case 'NEVER': {
      const check = requestsFirst(request.buckets)[Number(reply[1]) - 1];
      if (check === undefined) return null;
      const { rule, scope, capacity: limit, cost: requested } = check;
      return { outcome: 'never', rule, scope, limit, requested };
    }
    case 'STALE_AUTH':
      return { outcome: 'stale_auth' };
    case 'NEED_SEED': {
      const budgets = reply.slice(1).flatMap((position) => request.budgets?.[Number(position) - 1] ?? []);
      return { outcome: 'need_seed', budgets };
    }
    case 'FINISHED':
      return { outcome: 'finished' };
    case 'STORE_FULL':
      return { outcome: 'unavailable', reason: 'store_full' };
    case 'JOURNAL_FULL':
      return { outcome: 'unavailable', reason: 'journal_full' };
    default:
      return null;
  }
}

function readAdmission(request: AdmitRequest, reply: readonly unknown[]): AdmitResult {
  const buckets = readBalances(request, reply, 1);
  const { budgets = [] } = request;
  if (budgets.length === 0) return { outcome: 'admitted', buckets };
  return { outcome: 'admitted', buckets, budgets: readBudgets(budgets, reply, 1 + buckets.length) };
}

function readRejection(request: AdmitRequest, reply: readonly unknown[]): AdmitResult | null {
  const [, kind, position, used, wait] = reply;
  const buckets = readBalances(request, reply, 5);
  const common = {
    outcome: 'rejected',
    used: Number(used),
    waitMs: Number(wait) < 0 ? null : Number(wait),
    buckets,
  } as const;
  const index = Number(position) - 1;
  if (kind === 'slot') {
    const slot = request.concurrency[index];
    return slot === undefined
      ? null
      : { ...common, rule: 'concurrency', scope: slot.scope, limit: slot.limit, requested: 1 };
  }
  if (kind === 'budget') {
    const budget = request.budgets?.[index];
    if (budget === undefined) return null;
    const { scope, limitNanoUsd: limit, costNanoUsd: requested } = budget;
    return { ...common, rule: 'budget', scope, limit, requested };
  }
  const check = requestsFirst(request.buckets)[index];
  const state = check === undefined ? undefined : buckets[request.buckets.indexOf(check)];
  if (check === undefined || state === undefined) return null;
  const { rule, scope, capacity: limit, cost: requested } = check;
  return { ...common, rule, scope, limit, used: limit - state.remaining, requested };
}

export function readInspection(request: Checks, reply: readonly unknown[]): LimitsView | null {
  if (reply[0] !== 'OK') return null;
  const buckets = readBalances(request, reply, 1);
  const slotsAt = 1 + buckets.length;
  const concurrency = request.concurrency.map(({ scope, limit }, index) => ({
    scope,
    limit,
    used: Number(reply[slotsAt + index]),
  }));
  const budgets = readBudgets(request.budgets ?? [], reply, slotsAt + concurrency.length);
  return { buckets, concurrency, budgets };
}

export function readBudgetReply(reply: readonly unknown[]): BudgetReading | null {
  const [word, at, spent, mark] = reply;
  const atMs = Number(at);
  switch (word) {
    case 'UNKNOWN':
      return { state: 'unknown', atMs };
    case 'IN_USE':
      return { state: 'in_use', atMs };
    case 'AT_REST':
      return { state: 'at_rest', atMs, spentNanoUsd: Number(spent), mark: String(mark) };
    default:
      return null;
  }
}

/** The script gives the balances rule by rule, from position `start` on; the caller reads them in its own order. */
function readBalances(request: Pick<AdmitRequest, 'buckets'>, reply: readonly unknown[], start: number): BucketState[] {
  let requestsAt = start;
  let tokensAt = start;
  for (const { rule } of request.buckets) if (rule === 'requests') tokensAt += 1;
  return request.buckets.map((check) => {
    const balanceMilli = Number(reply[check.rule === 'requests' ? requestsAt++ : tokensAt++] ?? 0);
    return bucketState(check, { balanceMilli, refilledAtMicros: 0 });
  });
}

/** Period, spent and held of each; a period of -1 is that of a budget nobody has seeded. */
function readBudgets(budgets: readonly BudgetCheck[], reply: readonly unknown[], start: number): BudgetState[] {
  return budgets.flatMap((check, index) => {
    const [period = -1, spentNanoUsd = 0, heldNanoUsd = 0] = reply.slice(start + 3 * index).map(Number);
    return period < 0 ? [] : [budgetState(check, { period, spentNanoUsd, heldNanoUsd })];
  });
}

function requestsFirst(checks: readonly BucketCheck[]): BucketCheck[] {
  return [...checks.filter(({ rule }) => rule === 'requests'), ...checks.filter(({ rule }) => rule === 'tokens')];
}

export type ExpiredRequest = Abandoned & Progress & { id: string };

/** Id, dispatched, progress and stored record of each; a record that cannot be read is left out. */
export function readExpired(reply: readonly unknown[]): ExpiredRequest[] {
  const expired: ExpiredRequest[] = [];
  for (let index = 1; index + 3 < reply.length; index += 4) {
    const [id, isDispatched, progressTokens, stored] = reply.slice(index, index + 4);
    const abandoned = unpackAbandoned(String(stored));
    if (abandoned === null) continue;
    const progress = { isDispatched: Number(isDispatched) === 1, progressTokens: Number(progressTokens) };
    expired.push({ ...abandoned, ...progress, id: String(id) });
  }
  return expired;
}

function unpackAbandoned(text: string): Abandoned | null {
  try {
    const [outputPicoUsd, record] = JSON.parse(text) as [number, UsageRecord];
    return { outputPicoUsd, record };
  } catch {
    // Not ours: the reaper goes on with the others, and the log says that one stays.
    return null;
  }
}
