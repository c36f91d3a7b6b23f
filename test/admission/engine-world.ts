/** What the engine suite needs of an engine: replicas that share their limits, and a clock that stands still. */
import type { Test } from 'tap';
import type {
  AdmitRequest,
  BudgetCheck,
  GovernedEngine,
  Settlement,
  SettlementKind,
} from '../../src/contract/admission.ts';
import { usageRank, type UsageRank, type UsageRecord } from '../../src/contract/flow.ts';

export type Replica = {
  engine: GovernedEngine;
  /** What this replica handed to its ledger. */
  rows: UsageRecord[];
  setRoom: (hasRoom: boolean) => void;
  /** The engine's own timers, run by hand; they do nothing once the engine is closed. */
  heartbeat: () => Promise<void>;
  reap: () => Promise<void>;
};

export type EngineWorld = {
  createReplica: () => Promise<Replica>;
  moveClock: (milliseconds: number) => Promise<void>;
  /** Waits until everything that is not awaited by its caller has been carried out. */
  quiet: () => Promise<void>;
  close: () => Promise<void>;
};

export type OpenWorld = () => Promise<EngineWorld>;

/** One test in a world of its own. */
export type Scenario = (name: string, body: (t: Test, world: EngineWorld) => Promise<void>) => void;

export function createScenario(t: Test, openWorld: OpenWorld): Scenario {
  return (name, body) => {
    void t.test(name, async (t) => {
      const world = await openWorld();
      t.teardown(() => world.close());
      await body(t, world);
    });
  };
}

export const range = (length: number): number[] => Array.from({ length }, (_, index) => index);

export const suiteTimes = { leaseMs: 30_000, heartbeatMs: 10_000, reapMs: 5_000, tombstoneMs: 8_640_000_000 } as const;

export const startMs = 1_790_000_000_000;

const inputTokens = 40;

export function requestId(serial: number): string {
  return `01890000-0000-7000-8000-${serial.toString(16).padStart(12, '0')}`;
}

export function usageRecord(id: string, rank: UsageRank, completionTokens = 0): UsageRecord {
  return {
    requestId: id,
    startedAtMs: startMs,
    rank,
    accountId: 'a1',
    keyId: 'k1',
    tier: 'pro',
    endpoint: 'chat',
    model: 'small',
    provider: null,
    upstreamModel: null,
    stream: true,
    status: rank === usageRank.final ? 'ok' : 'unknown',
    httpStatus: 200,
    errorCode: null,
    usageSource: rank === usageRank.final ? 'provider' : 'estimated',
    usage: { promptTokens: inputTokens, cachedTokens: 0, cacheWriteTokens: 0, completionTokens, reasoningTokens: 0 },
    costPicoUsd: 1000,
    ttftMs: null,
    durationMs: 0,
    attempts: [],
  };
}

export type RequestLimits = {
  requestsPerMinute?: number;
  tokensPerMinute?: number;
  tokens?: number;
  concurrency?: number;
  scope?: string;
  budgets?: readonly BudgetCheck[];
};

export function admitRequest(id: string, limits: RequestLimits): AdmitRequest {
  const { requestsPerMinute, tokensPerMinute, tokens = 100, concurrency, scope = 'account:a1' } = limits;
  const buckets: AdmitRequest['buckets'] = [
    ...bucketOf('requests', scope, { perMinute: requestsPerMinute, cost: 1 }),
    ...bucketOf('tokens', scope, { perMinute: tokensPerMinute, cost: tokens }),
  ];
  return {
    id,
    accountId: 'a1',
    buckets,
    concurrency: concurrency === undefined ? [] : [{ scope, limit: concurrency }],
    record: usageRecord(id, usageRank.orphan),
    outputPicoUsd: 7,
    ...(limits.budgets === undefined ? {} : { budgets: limits.budgets }),
  };
}

function bucketOf(
  rule: 'requests' | 'tokens',
  scope: string,
  size: { perMinute: number | undefined; cost: number },
): AdmitRequest['buckets'] {
  const { perMinute, cost } = size;
  return perMinute === undefined ? [] : [{ rule, scope, capacity: perMinute, refillPerMinute: perMinute, cost }];
}

const rankOfKind = { exact: usageRank.final, under: usageRank.partial, void: usageRank.void } as const;

export function settlement(
  id: string,
  kind: SettlementKind,
  tokens = 0,
  rank: UsageRank = rankOfKind[kind],
): Settlement {
  return {
    id,
    accountId: 'a1',
    kind,
    actual: { requests: kind === 'void' ? 0 : 1, tokens },
    record: usageRecord(id, rank),
  };
}
