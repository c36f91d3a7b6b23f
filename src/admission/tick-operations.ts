/** The words of the script: what the engine asks, as operations and their arguments. The other half is `tick-v1-*.lua`. */
import type {
  AdmitRequest,
  AuthStamp,
  BucketCheck,
  BudgetChange,
  BudgetCheck,
  BudgetName,
  Settlement,
} from '../contract/admission.ts';
import type { UsageRecord } from '../contract/flow.ts';
import type { Abandoned } from './abandoned-record.ts';
import type { RaisedVersions } from './auth-versions.ts';
import { clampAmount, clampMoney } from './amount-bounds.ts';
import { capacityMilli, memoryMs, refillStep } from './bucket.ts';
import { chargeOf } from './budget.ts';
import { periodNumber } from './budget-period.ts';

/** Settlements go first: the slots they free serve the admissions of the same call. */
export const urgency = { settle: 0, mark: 1, admit: 2 } as const;

export type TickOperation = { urgency: 0 | 1 | 2; args: readonly string[] };

/**
 * The checks of a request as the script stores them, so that whoever settles it later needs to know nothing. By rule,
 * because a settlement mostly changes the tokens alone and need not look at the rest.
 */
export type PackedPlan = {
  /** The buckets of requests, those of tokens, and the concurrency limits. */
  limits: string;
  budgets: string;
  /** The budgets as a settlement reads them when the server has lost the record of the request. */
  charges: string;
};

export const emptyPlan: PackedPlan = { limits: '\r\r', budgets: '', charges: '' };

type Checks = Pick<AdmitRequest, 'buckets' | 'concurrency'> & {
  budgets?: readonly Omit<BudgetCheck, 'costNanoUsd'>[] | undefined;
};

/** `startedAtMs` says which period of each budget the request belongs to. */
export function packPlan(request: Checks, startedAtMs: number): PackedPlan {
  const buckets = { requests: '', tokens: '' };
  for (const check of request.buckets) {
    const { milli, micros } = refillStep(check.refillPerMinute);
    buckets[check.rule] += `${check.scope} ${capacityMilli(check)} ${milli} ${micros} ${memoryMs(check)}\n`;
  }
  let slots = '';
  for (const { scope, limit } of request.concurrency) slots += `${scope} ${limit}\n`;
  let budgets = '';
  let charges = '';
  for (const { period, scope, limitNanoUsd } of request.budgets ?? []) {
    budgets += `${period} ${scope} ${limitNanoUsd}\n`;
    charges += `${period} ${scope} ${periodNumber(period, startedAtMs)} 0 0\n`;
  }
  return { limits: `${buckets.requests}\r${buckets.tokens}\r${slots}`, budgets, charges };
}

function costOf({ buckets }: AdmitRequest, rule: BucketCheck['rule']): string {
  for (const check of buckets) if (check.rule === rule) return String(check.cost);
  return '0';
}

const moneyOf = (request: AdmitRequest): string => String(request.budgets?.[0]?.costNanoUsd ?? 0);

export const admitOperation = (request: AdmitRequest, plan: PackedPlan): TickOperation => ({
  urgency: urgency.admit,
  args: [
    'A',
    request.id,
    costOf(request, 'requests'),
    costOf(request, 'tokens'),
    plan.limits,
    packOpen(request, plan),
    moneyOf(request),
    plan.budgets,
    request.auth === undefined ? '' : packStamp(request.accountId, request.auth),
  ],
});

const packStamp = (accountId: string, { keyId, accountVersion, keyVersion }: AuthStamp): string =>
  `${accountId} ${keyId} ${accountVersion} ${keyVersion}`;

export const settleOperation = (settlement: Settlement, plan: PackedPlan): TickOperation => ({
  urgency: urgency.settle,
  args: [
    'S',
    settlement.id,
    settlement.kind,
    String(settlement.record.rank),
    String(clampAmount(settlement.actual.requests)),
    String(clampAmount(settlement.actual.tokens)),
    plan.limits,
    String(chargeOf(settlement)),
    plan.charges,
    JSON.stringify(settlement.record),
  ],
});

export const markOperation = (id: string): TickOperation => ({ urgency: urgency.mark, args: ['M', id] });

export type Progress = { progressTokens: number; isDispatched: boolean };

const packProgress = ({ progressTokens, isDispatched }: Progress): [string, string] => [
  String(progressTokens),
  isDispatched ? '1' : '0',
];

export const renewOperation = (id: string, progress: Progress): TickOperation => ({
  urgency: urgency.mark,
  args: ['H', id, ...packProgress(progress)],
});

/** Everything that the server must know again of a request whose record is gone. */
export const reassertOperation = (request: AdmitRequest, plan: PackedPlan, progress: Progress): TickOperation => ({
  urgency: urgency.mark,
  args: [
    'E',
    request.id,
    costOf(request, 'requests'),
    costOf(request, 'tokens'),
    plan.limits,
    packOpen(request, plan),
    moneyOf(request),
    plan.charges,
    ...packProgress(progress),
  ],
});

export const listExpiredOperation = (limit: number): TickOperation => ({
  urgency: urgency.admit,
  args: ['L', String(limit)],
});

export type ReapOrder = Progress & { id: string; estimatedTokens: number; record: UsageRecord };

export const reapOperation = (order: ReapOrder): TickOperation => {
  const [progress, dispatched] = packProgress(order);
  const { id, record } = order;
  const cost = clampMoney(record.costPicoUsd / 1000);
  return {
    urgency: urgency.settle,
    args: [
      'R',
      id,
      String(clampAmount(order.estimatedTokens)),
      dispatched,
      progress,
      String(cost),
      JSON.stringify(record),
    ],
  };
};

export const checkAuthOperation = (accountId: string, stamp: AuthStamp): TickOperation => ({
  urgency: urgency.mark,
  args: ['C', packStamp(accountId, stamp)],
});

/** Ahead of the admissions of the same call. */
export const raiseAuthOperation = (accountId: string, { account, key }: RaisedVersions): TickOperation => ({
  urgency: urgency.settle,
  args: ['V', accountId, account === undefined ? '' : String(account), key?.id ?? '', String(key?.version ?? '')],
});

export const seedOperation = (
  { scope, period }: BudgetName,
  spentNanoUsd: number,
  atMs: number | undefined,
): TickOperation => ({
  urgency: urgency.mark,
  args: [
    'B',
    period,
    scope,
    String(clampMoney(spentNanoUsd)),
    atMs === undefined ? '' : String(periodNumber(period, atMs)),
  ],
});

/** Without a mark it only looks. */
export const adjustOperation = (
  { scope, period }: BudgetName,
  { mark, deltaNanoUsd }: BudgetChange,
): TickOperation => ({
  urgency: urgency.mark,
  args: ['J', period, scope, mark, String(deltaNanoUsd)],
});

export const inspectOperation = (plan: PackedPlan): TickOperation => ({
  urgency: urgency.admit,
  args: ['I', plan.limits, plan.budgets],
});

/** What is stored of a running request, but for its budgets' charges: see `tick-v1-records.lua`. */
function packOpen(request: AdmitRequest, plan: PackedPlan): string {
  const held = `${costOf(request, 'requests')}\t${costOf(request, 'tokens')}`;
  return `${openHead}\t${held}\t${plan.limits}\t${packAbandoned(request)}\t`;
}

/** Open, no rank, neither reaped nor dispatched, and no progress. */
const openHead = `O000${'0'.repeat(13)}`;

const packAbandoned = ({ record, outputPicoUsd = 0 }: Abandoned): string => JSON.stringify([outputPicoUsd, record]);
