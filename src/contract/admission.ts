/**
 * The contract of the admission engines. Every operation is atomic and idempotent by request id, and a rejection
 * consumes nothing. One test suite runs against every engine. Spec: reliability 2.4 and 2.5.
 */
import type { UsageRecord } from './flow.ts';

/** A token bucket. Capacity and rate travel with the call, so a tier change applies at once and grants no fresh bucket. */
export type BucketCheck = {
  rule: 'requests' | 'tokens';
  /** `account:<id>` or `key:<id>`. */
  scope: string;
  capacity: number;
  refillPerMinute: number;
  /** The same in all checks of one rule, as the settlement's actual cost is. */
  cost: number;
};

export type ConcurrencyCheck = { scope: string; limit: number };

export type BudgetPeriod = 'daily' | 'weekly' | 'monthly' | 'total';

/** Money: what is spent and held in a period (UTC, by the engine's clock) may not pass the limit. Whole nano-USD (1e-9). */
export type BudgetCheck = {
  scope: string;
  period: BudgetPeriod;
  limitNanoUsd: number;
  /** The same in all budgets of one request. */
  costNanoUsd: number;
};

export type BudgetName = Pick<BudgetCheck, 'scope' | 'period'>;

/** What a budget has spent by the engine's own count; `atMs` is its clock, in Unix milliseconds. */
export type BudgetReading =
  /** Never seeded; or requests hold some of it, or rows wait, so that it differs from the rows of the ledger anyway. */
  | { state: 'unknown' | 'in_use'; atMs: number }
  /** `mark` changes with every settlement. */
  | { state: 'at_rest'; atMs: number; spentNanoUsd: number; mark: string };

export type BudgetChange = { mark: string; deltaNanoUsd: number };

export type BudgetState = {
  scope: string;
  period: BudgetPeriod;
  limitNanoUsd: number;
  remainingNanoUsd: number;
  /** Unix milliseconds; null for `total`, which never resets. */
  resetsAtMs: number | null;
};

/** What the caller's snapshot of the key was made from. An engine that knows of a newer one answers `stale_auth`. */
export type AuthStamp = { keyId: string; accountVersion: number; keyVersion: number };

export type AdmitRequest = {
  /** UUIDv7 of the request. */
  id: string;
  accountId: string;
  buckets: readonly BucketCheck[];
  concurrency: readonly ConcurrencyCheck[];
  budgets?: readonly BudgetCheck[];
  auth?: AuthStamp;
  /** What the row says if this process dies: an estimate under rank `orphan`, or void when never dispatched. */
  record: UsageRecord;
  /** Pico-USD of one output token, for the row of a process that died mid-stream. Absent: such output costs nothing. */
  outputPicoUsd?: number;
};

/** The state of one bucket after the decision, for the `x-ratelimit-*` headers. Whole units, never negative. */
export type BucketState = {
  rule: 'requests' | 'tokens';
  scope: string;
  limit: number;
  remaining: number;
  /** How long the empty bucket takes to fill: a minute unless capacity and rate differ. */
  windowMs: number;
};

export type AdmitResult =
  | {
      outcome: 'admitted';
      buckets: readonly BucketState[];
      budgets?: readonly BudgetState[];
      /** The shared limits give no answer: the share of this process decided. */
      degraded?: 'local-share';
    }
  | {
      outcome: 'rejected';
      /** The binding check: the one with the longest wait. */
      rule: 'requests' | 'tokens' | 'concurrency' | 'budget';
      scope: string;
      /** Units of the rule; nano-USD for a budget. */
      limit: number;
      used: number;
      requested: number;
      /** Max over all failing checks; null when waiting does not help (a limit of 0). */
      waitMs: number | null;
      buckets: readonly BucketState[];
    }
  | { outcome: 'never'; rule: 'requests' | 'tokens'; scope: string; limit: number; requested: number }
  /** The key or its account has changed since the snapshot: read it again from the primary, then ask once more. */
  | { outcome: 'stale_auth' }
  /** Nobody has said yet what these budgets have spent: sum it from the rows, `seedBudget`, then ask once more. */
  | { outcome: 'need_seed'; budgets: readonly BudgetCheck[] }
  | { outcome: 'finished' }
  | { outcome: 'unavailable'; reason: 'limits_unavailable' | 'store_full' | 'journal_full' };

/** `exact` settles to the truth, `under` never refunds, `void` gives everything back. Spec: reliability 2.4 SETTLE. */
export type SettlementKind = 'exact' | 'under' | 'void';

export type Settlement = {
  id: string;
  accountId: string;
  kind: SettlementKind;
  /** Actual cost by rule; `requests` is 1 unless the request is void. */
  actual: { requests: number; tokens: number; costNanoUsd?: number };
  record: UsageRecord;
};

/** What a running request holds its slots by. */
export interface Lease {
  /** `performance.now()` behind which somebody else may have been given the slot. Infinity: nobody could. */
  readonly deadlineMs: number;
  /** At once; a lease that was taken away is asserted again. False: there was no answer in time. */
  renew(): Promise<boolean>;
}

export interface AdmissionEngine {
  admit(request: AdmitRequest): Promise<AdmitResult>;
  /** Of a request that was admitted and is not settled. */
  leaseOf(id: string): Lease;
  /** The request has gone upstream: from here on an expired lease is billed. Not awaited by the corridor. */
  markDispatched(id: string, accountId: string): void;
  /** Stores the tokens so far, input plus delivered output, that a reaped row would show; the corridor throttles it. */
  reportProgress(id: string, accountId: string, tokens: number): void;
  /** Frees the slot, corrects the buckets, hands the record to the ledger: one atom. Resolves when it is done or safely queued. */
  settle(settlement: Settlement): Promise<void>;
  /** Requests that hold a lease now. */
  openLeases(): number;
  /** Stops timers and flushes; open leases stay for the reaper of another process. */
  close(): Promise<void>;
}

/** What the limits of a caller look like now; nothing is consumed. */
export type LimitsView = {
  buckets: readonly BucketState[];
  concurrency: readonly { scope: string; limit: number; used: number }[];
  /** Without those that were never seeded. */
  budgets: readonly BudgetState[];
};

/** The rest of the contract: authorisation versions and money. Spec: reliability 2.4 CHECK, SEED / ADJUST, REVOKE. */
export interface GovernedEngine extends AdmissionEngine {
  /** For routes that admit nothing. */
  checkAuth(accountId: string, stamp: AuthStamp): Promise<'ok' | 'stale_auth' | 'unavailable'>;
  /** Versions are only ever raised. False: the engine could not be reached, try again later. */
  raiseAuthVersion(
    accountId: string,
    versions: { account?: number; key?: { id: string; version: number } },
  ): Promise<boolean>;
  /** Set if absent: what the rows add up to of the period that `atMs` is in. Ignored when that is no longer the engine's. */
  seedBudget(accountId: string, budget: BudgetName, spentNanoUsd: number, atMs?: number): Promise<void>;
  /** null: the engine could not be reached. */
  readBudget(accountId: string, budget: BudgetName): Promise<BudgetReading | null>;
  /** Adds to what was spent, never below 0. False, and nothing changed, unless the budget is still as it was at `mark`. */
  adjustBudget(accountId: string, budget: BudgetName, change: BudgetChange): Promise<boolean>;
  /** null: the engine could not be reached. */
  inspect(request: Pick<AdmitRequest, 'accountId' | 'buckets' | 'concurrency' | 'budgets'>): Promise<LimitsView | null>;
}

/** Where an engine puts settled records. The ledger keeps at most one row per request id and lets higher ranks win. */
export interface UsageSink {
  append(record: UsageRecord): void;
  /** False when the backlog is at its cap: admission must then answer `journal_full`. */
  hasRoom(): boolean;
}
