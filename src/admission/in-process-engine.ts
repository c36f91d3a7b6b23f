/**
 * The admission engine of a single process: the atomic steps of `limiter-state.ts` behind the contract, with the
 * timers that keep its own leases alive and settle those of engines that are gone.
 * Takes a clock, a sink for settled rows and, to share limits with another engine, its state; gives the contract.
 * Must never let a lease of a request that this process still runs expire: see `renewIfLate`.
 * Every change goes through the state's steps with an explicit time, so that a journal can record and replay them.
 */
import type { AdmitRequest, AdmitResult, GovernedEngine, Settlement, UsageSink } from '../contract/admission.ts';
import { assertAuth, assertBounded, assertDelta, clampAmount } from './amount-bounds.ts';
import { everyInterval, type Every, type MonotonicWallClock } from './clock.ts';
import { endlessLease } from './endless-lease.ts';
import { createLimiterState, type LimiterState } from './limiter-state.ts';

export type InProcessEngineOptions = {
  clock: MonotonicWallClock;
  sink: UsageSink;
  leaseMs?: number;
  heartbeatMs?: number;
  reapMs?: number;
  /** How long a finished request is remembered. Nothing re-sends a settlement inside one process, so the time of a lease does. */
  tombstoneMs?: number;
  state?: LimiterState;
  every?: Every;
};

const reapLimit = 100;

export function createInProcessEngine(options: InProcessEngineOptions): GovernedEngine {
  const { clock, sink, leaseMs = 30_000, heartbeatMs = 10_000, reapMs = 5_000, tombstoneMs = 30_000 } = options;
  const { state = createLimiterState({ leaseMs, heartbeatMs, tombstoneMs }), every = everyInterval } = options;
  /** Progress by id of every open request of this process; it reaches the state with the next heartbeat. */
  const ownRequests = new Map<string, number>();
  let renewedAtMicros = clock.nowMicros();
  const stopHeartbeat = every(heartbeatMs, () => renewOwnLeases(clock.nowMicros()));
  const stopReaper = every(reapMs, reap);

  async function admit(request: AdmitRequest): Promise<AdmitResult> {
    assertBounded(request);
    const nowMicros = clock.nowMicros();
    renewIfLate(nowMicros);
    const result = state.admit(request, nowMicros, { hasRoom: sink.hasRoom() });
    if (result.outcome === 'admitted' && !ownRequests.has(request.id)) ownRequests.set(request.id, 0);
    return result;
  }

  async function settle(settlement: Settlement): Promise<void> {
    ownRequests.delete(settlement.id);
    if (state.settle(settlement, clock.nowMicros()) === 'settled') sink.append(settlement.record);
  }

  function reportProgress(id: string, _accountId: string, tokens: number): void {
    const known = ownRequests.get(id);
    if (known !== undefined) ownRequests.set(id, Math.max(known, clampAmount(tokens)));
  }

  function reap(): void {
    const nowMicros = clock.nowMicros();
    renewIfLate(nowMicros);
    for (const record of state.reap(nowMicros, reapLimit)) sink.append(record);
    state.sweep(nowMicros);
  }

  function renewOwnLeases(nowMicros: number): void {
    renewedAtMicros = nowMicros;
    for (const [id, progressTokens] of ownRequests) state.renew(id, progressTokens, nowMicros);
  }

  /** A process that was frozen still runs its requests: they are renewed before their slots can be given away. */
  function renewIfLate(nowMicros: number): void {
    if (nowMicros - renewedAtMicros >= heartbeatMs * 2000) renewOwnLeases(nowMicros);
  }

  return {
    admit,
    /** Only this process reaps, and it renews its own leases first. */
    leaseOf: () => endlessLease,
    settle,
    markDispatched: (id) => state.markDispatched(id),
    reportProgress,
    openLeases: () => ownRequests.size,
    checkAuth: async (accountId, stamp) => {
      assertAuth(accountId, stamp);
      return state.isAuthCurrent(accountId, stamp) ? 'ok' : 'stale_auth';
    },
    raiseAuthVersion: async (accountId, versions) => {
      state.raiseAuthVersion(accountId, versions);
      return true;
    },
    seedBudget: async (_accountId, budget, spentNanoUsd, atMs) => {
      state.seedBudget(budget, { spentNanoUsd, ...(atMs === undefined ? {} : { atMs }) }, clock.nowMicros());
    },
    readBudget: async (_accountId, budget) => state.readBudget(budget, clock.nowMicros()),
    async adjustBudget(_accountId, budget, change) {
      assertDelta(change);
      return state.adjustBudget(budget, change, clock.nowMicros());
    },
    inspect: async (request) => state.inspect(request, clock.nowMicros()),
    close: async () => {
      stopHeartbeat();
      stopReaper();
    },
  };
}
