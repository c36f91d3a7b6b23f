/** The words of the script: operations to arguments, replies to results. The other half is `tick-v1.lua`. */
import type { AdmitRequest, AdmitResult, BucketCheck, BucketState, Settlement } from '../contract/admission.ts';
import type { UsageRecord } from '../contract/flow.ts';
import type { Abandoned } from './abandoned-record.ts';
import { clampAmount } from './amount-bounds.ts';
import { bucketState, capacityMilli, memoryMs, refillStep } from './bucket.ts';

/** Settlements go first: the slots they free serve the admissions of the same call. */
export const urgency = { settle: 0, mark: 1, admit: 2 } as const;

export type TickOperation = { urgency: 0 | 1 | 2; args: readonly string[] };

/**
 * The checks of a request as the script stores them, so that whoever settles it later needs to know nothing. By rule,
 * because a settlement mostly changes the tokens alone and need not look at the rest.
 */
export type PackedPlan = { requests: string; tokens: string; slots: string };

export const emptyPlan: PackedPlan = { requests: '', tokens: '', slots: '' };

export function packPlan(request: Pick<AdmitRequest, 'buckets' | 'concurrency'>): PackedPlan {
  const plan = { ...emptyPlan };
  for (const check of request.buckets) {
    const { milli, micros } = refillStep(check.refillPerMinute);
    plan[check.rule] += `${check.scope} ${capacityMilli(check)} ${milli} ${micros} ${memoryMs(check)}\n`;
  }
  for (const { scope, limit } of request.concurrency) plan.slots += `${scope} ${limit}\n`;
  return plan;
}

const costOf = (request: AdmitRequest, rule: BucketCheck['rule']): string =>
  String(request.buckets.find((check) => check.rule === rule)?.cost ?? 0);

export const admitOperation = (request: AdmitRequest, plan: PackedPlan): TickOperation => ({
  urgency: urgency.admit,
  args: [
    'A',
    request.id,
    costOf(request, 'requests'),
    costOf(request, 'tokens'),
    plan.requests,
    plan.tokens,
    plan.slots,
    packAbandoned(request),
  ],
});

export const settleOperation = (settlement: Settlement, plan: PackedPlan): TickOperation => ({
  urgency: urgency.settle,
  args: [
    'S',
    settlement.id,
    settlement.kind,
    String(settlement.record.rank),
    String(clampAmount(settlement.actual.requests)),
    String(clampAmount(settlement.actual.tokens)),
    plan.requests,
    plan.tokens,
    plan.slots,
  ],
});

export const markOperation = (id: string): TickOperation => ({ urgency: urgency.mark, args: ['M', id] });

export type Progress = { progressTokens: number; isDispatched: boolean };

export const renewOperation = (id: string, { progressTokens, isDispatched }: Progress): TickOperation => ({
  urgency: urgency.mark,
  args: ['H', id, String(progressTokens), isDispatched ? '1' : '0'],
});

export const listExpiredOperation = (limit: number): TickOperation => ({
  urgency: urgency.admit,
  args: ['L', String(limit)],
});

export const reapOperation = (id: string, estimatedTokens: number): TickOperation => ({
  urgency: urgency.settle,
  args: ['R', id, String(clampAmount(estimatedTokens))],
});

/** Null for a reply that the script never gives. */
export function readAdmitReply(request: AdmitRequest, reply: readonly unknown[]): AdmitResult | null {
  switch (reply[0]) {
    case 'OK':
      return { outcome: 'admitted', buckets: readBalances(request, reply, 1) };
    case 'NO':
      return readRejection(request, reply);
    case 'NEVER': {
      const check = requestsFirst(request.buckets)[Number(reply[1]) - 1];
      if (check === undefined) return null;
      const { rule, scope, capacity: limit, cost: requested } = check;
      return { outcome: 'never', rule, scope, limit, requested };
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

function readRejection(request: AdmitRequest, reply: readonly unknown[]): AdmitResult | null {
  const [, kind, position, live, wait] = reply;
  const waitMs = Number(wait) < 0 ? null : Number(wait);
  const buckets = readBalances(request, reply, 5);
  const index = Number(position) - 1;
  if (kind === 'slot') {
    const slot = request.concurrency[index];
    if (slot === undefined) return null;
    const { scope, limit } = slot;
    return {
      outcome: 'rejected',
      rule: 'concurrency',
      scope,
      limit,
      used: Number(live),
      requested: 1,
      waitMs,
      buckets,
    };
  }
  const check = requestsFirst(request.buckets)[index];
  const state = check === undefined ? undefined : buckets[request.buckets.indexOf(check)];
  if (check === undefined || state === undefined) return null;
  const { rule, scope, capacity: limit, cost: requested } = check;
  return { outcome: 'rejected', rule, scope, limit, used: limit - state.remaining, requested, waitMs, buckets };
}

/** The script gives the balances rule by rule, from position `start` on; the caller reads them in its own order. */
function readBalances(request: AdmitRequest, reply: readonly unknown[], start: number): BucketState[] {
  let requestsAt = start;
  let tokensAt = start;
  for (const { rule } of request.buckets) if (rule === 'requests') tokensAt += 1;
  return request.buckets.map((check) => {
    const balanceMilli = Number(reply[check.rule === 'requests' ? requestsAt++ : tokensAt++] ?? 0);
    return bucketState(check, { balanceMilli, refilledAtMicros: 0 });
  });
}

function requestsFirst(checks: readonly BucketCheck[]): BucketCheck[] {
  return [...checks.filter(({ rule }) => rule === 'requests'), ...checks.filter(({ rule }) => rule === 'tokens')];
}

export function readReap(reply: readonly unknown[]): Progress {
  return { isDispatched: Number(reply[1]) === 1, progressTokens: Number(reply[2]) };
}

export type ExpiredRequest = Abandoned & { id: string };

/** Pairs of id and stored record; a record that cannot be read is left out. */
export function readExpired(reply: readonly unknown[]): ExpiredRequest[] {
  const expired: ExpiredRequest[] = [];
  for (let index = 1; index + 1 < reply.length; index += 2) {
    const abandoned = unpackAbandoned(String(reply[index + 1]));
    if (abandoned !== null) expired.push({ ...abandoned, id: String(reply[index]) });
  }
  return expired;
}

const packAbandoned = ({ record, outputPicoUsd = 0 }: Abandoned): string => JSON.stringify([outputPicoUsd, record]);

function unpackAbandoned(text: string): Abandoned | null {
  try {
    const [outputPicoUsd, record] = JSON.parse(text) as [number, UsageRecord];
    return { outputPicoUsd, record };
  } catch {
    // Not ours: the reaper goes on with the others, and the log says that one stays.
    return null;
  }
}
