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

export type TickOperation = {
  urgency: 0 | 1 | 2;
  args: readonly string[];
  /** What limits the request. A call carries each scope once; the operation names its own in one more argument. */
  scopes?: readonly string[];
};

/** The checks of a request as the script stores them, so that whoever settles it later needs to know nothing. */
export type PackedPlan = {
  /** One line for each scope, without its end: see `tick-v1-plans.lua`. */
  scopes: readonly string[];
  budgets: string;
  /** The budgets as a settlement reads them when the server has lost the record of the request. */
  charges: string;
};

export const emptyPlan: PackedPlan = { scopes: [], budgets: '', charges: '' };

type Checks = Pick<AdmitRequest, 'buckets' | 'concurrency'> & {
  budgets?: readonly Omit<BudgetCheck, 'costNanoUsd'>[] | undefined;
};

/** `startedAtMs` says which period of each budget the request belongs to. */
export function packPlan(request: Checks, startedAtMs: number): PackedPlan {
  let budgets = '';
  let charges = '';
  for (const { period, scope, limitNanoUsd } of request.budgets ?? []) {
    budgets += `${period} ${scope} ${limitNanoUsd}\n`;
    charges += `${period} ${scope} ${periodNumber(period, startedAtMs)} 0 0\n`;
  }
  return { scopes: packScopes(request), budgets, charges };
}

type ScopeLimits = { scope: string; limit: string; memoryMs: number; requests: string; tokens: string };

function packScopes({ buckets, concurrency }: Checks): string[] {
  const scopes: ScopeLimits[] = [];
  const last = { requests: -1, tokens: -1, concurrency: -1 };
  for (const check of buckets) {
    const { milli, micros } = refillStep(check.refillPerMinute);
    const scope = nextScope(scopes, last, check);
    scope[check.rule] = `${capacityMilli(check)} ${milli} ${micros}`;
    scope.memoryMs = Math.max(scope.memoryMs, memoryMs(check));
  }
  for (const { scope, limit } of concurrency)
    nextScope(scopes, last, { rule: 'concurrency', scope }).limit = String(limit);
  return scopes.map(
    ({ scope, limit, memoryMs: rememberedMs, requests, tokens }) =>
      `${scope} ${limit} ${rememberedMs} ${requests} ${tokens}`,
  );
}

/** The script answers each rule in the order of the scopes; one that would come out of order gets a second line. */
function nextScope(
  scopes: ScopeLimits[],
  last: Record<LimitedRule, number>,
  { rule, scope }: { rule: LimitedRule; scope: string },
): ScopeLimits {
  for (let index = last[rule] + 1; index < scopes.length; index += 1) {
    const known = scopes[index];
    if (known?.scope !== scope) continue;
    last[rule] = index;
    return known;
  }
  const added = { scope, limit: '-', memoryMs: 0, requests: noBucket, tokens: noBucket };
  last[rule] = scopes.push(added) - 1;
  return added;
}

type LimitedRule = BucketCheck['rule'] | 'concurrency';

const noBucket = '- - -';

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
    packOpen(request, plan),
    moneyOf(request),
    plan.budgets,
    request.auth === undefined ? '' : packStamp(request.accountId, request.auth),
  ],
  scopes: plan.scopes,
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
    String(chargeOf(settlement)),
    plan.charges,
    JSON.stringify(settlement.record),
  ],
  scopes: plan.scopes,
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
    packOpen(request, plan),
    moneyOf(request),
    plan.charges,
    ...packProgress(progress),
  ],
  scopes: plan.scopes,
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
  args: ['I', plan.budgets],
  scopes: plan.scopes,
});

/** What is stored of a running request, but for its budgets' charges: see `tick-v1-records.lua`. */
function packOpen(request: AdmitRequest, plan: PackedPlan): string {
  const held = `${costOf(request, 'requests')}\t${costOf(request, 'tokens')}`;
  const scopes = plan.scopes.map((line) => `${line}\n`).join('');
  return `${openHead}\t${held}\t${scopes}\t${packAbandoned(request)}\t`;
}

/** Open, no rank, not reaped, and no progress. */
const openHead = `O00${'0'.repeat(13)}`;

const packAbandoned = ({ record, outputPicoUsd = 0 }: Abandoned): string => JSON.stringify([outputPicoUsd, record]);
