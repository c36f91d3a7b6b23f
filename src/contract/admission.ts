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

export type AdmitRequest = {
  /** UUIDv7 of the request. */
  id: string;
  accountId: string;
  buckets: readonly BucketCheck[];
  concurrency: readonly ConcurrencyCheck[];
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
  | { outcome: 'admitted'; buckets: readonly BucketState[] }
  | {
      outcome: 'rejected';
      /** The binding check: the one with the longest wait. */
      rule: 'requests' | 'tokens' | 'concurrency';
      scope: string;
      limit: number;
      used: number;
      requested: number;
      /** Max over all failing checks; null when waiting does not help (a limit of 0). */
      waitMs: number | null;
      buckets: readonly BucketState[];
    }
  | { outcome: 'never'; rule: 'requests' | 'tokens'; scope: string; limit: number; requested: number }
  | { outcome: 'finished' }
  | { outcome: 'unavailable'; reason: 'limits_unavailable' | 'store_full' | 'journal_full' };

/** `exact` settles to the truth, `under` never refunds, `void` gives everything back. Spec: reliability 2.4 SETTLE. */
export type SettlementKind = 'exact' | 'under' | 'void';

export type Settlement = {
  id: string;
  accountId: string;
  kind: SettlementKind;
  /** Actual cost by rule; `requests` is 1 unless the request is void. */
  actual: { requests: number; tokens: number };
  record: UsageRecord;
};

export interface AdmissionEngine {
  admit(request: AdmitRequest): Promise<AdmitResult>;
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

/** Where an engine puts settled records. The ledger keeps at most one row per request id and lets higher ranks win. */
export interface UsageSink {
  append(record: UsageRecord): void;
  /** False when the backlog is at its cap: admission must then answer `journal_full`. */
  hasRoom(): boolean;
}
