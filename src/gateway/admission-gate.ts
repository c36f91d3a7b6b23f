/**
 * The one way into the engine. Takes who asks and how to read them again, gives the engine's yes, or throws the
 * `GatewayError` to be told. When the engine knows of a newer key the caller is read again, when it does not know what
 * was spent the rows are summed: once for a request, or twice at midnight, so nobody circles here. Must never let a doubt
 * pass for a yes. Spec: reliability 2.4 ADMIT, CHECK, SEED.
 */
import { limitChecks } from '../admission/limits.ts';
import { refusalError } from '../admission/refusal.ts';
import { askWithout, isRefusedInShadow, toldBuckets, withoutShadow } from '../admission/shadow.ts';
import type {
  AdmitRequest,
  AdmitResult,
  BudgetCheck,
  BudgetName,
  GovernedEngine,
  Lease,
  LimitsView,
} from '../contract/admission.ts';
import { gatewayError, retryAfterHeaders } from '../contract/errors.ts';
import type { Principal } from '../contract/flow.ts';
import type { Metrics } from '../platform/metrics.ts';

export type AdmissionGateOptions = {
  engine: GovernedEngine;
  metrics: Metrics;
  /** What the rows add up to of the period that `atMs` is in. */
  spentNanoUsd: (accountId: string, budget: BudgetName, atMs: number) => Promise<number>;
};

export type Caller = {
  principal: Principal;
  /** From the primary, past every cache; throws what to tell when the key is no longer good or cannot be read. */
  reload(): Promise<Principal>;
};

type Admitted = Extract<AdmitResult, { outcome: 'admitted' }>;

export type AdmissionGate = {
  /** `prepare` is called again with the fresh principal when the first one was old: its limits and models may differ. */
  enter<Prepared extends { ask: AdmitRequest }>(
    caller: Caller,
    prepare: (principal: Principal) => Prepared,
  ): Promise<{ prepared: Prepared; admitted: Admitted; lease: Lease }>;
  /** For routes that admit nothing. `isFresh` decides when the engine cannot be reached. */
  verify(caller: Caller & { isFresh(): boolean }): Promise<Principal>;
  /** What is left of the caller's limits, every budget included; consumes nothing. null: nobody can tell now. */
  look(principal: Principal): Promise<LimitsView | null>;
};

const retryMs = 1000;

export function createAdmissionGate(options: AdmissionGateOptions): AdmissionGate {
  const { engine, metrics, spentNanoUsd } = options;
  const seeds = new Map<string, Promise<void>>();
  const enforced = metrics.decisions.labels({ mode: 'enforced' });
  const unavailable = metrics.decisions.labels({ mode: 'unavailable' });

  const localShare = metrics.decisions.labels({ mode: 'local-share' });

  return { enter, verify, look };

  function countOf(decision: AdmitResult): { inc(): void } {
    if (decision.outcome === 'unavailable') return unavailable;
    return decision.outcome === 'admitted' && decision.degraded !== undefined ? localShare : enforced;
  }

  async function enter<Prepared extends { ask: AdmitRequest }>(
    caller: Caller,
    prepare: (principal: Principal) => Prepared,
  ): Promise<{ prepared: Prepared; admitted: Admitted; lease: Lease }> {
    let { principal } = caller;
    let prepared = prepare(principal);
    let decision = await engine.admit(prepared.ask);
    if (decision.outcome === 'stale_auth') {
      principal = await renew(caller);
      prepared = prepare(principal);
      decision = await engine.admit(prepared.ask);
    }
    // Once more when a period ends between the sum and the question.
    for (let round = 0; decision.outcome === 'need_seed' && round < 2; round += 1) {
      const { accountId } = prepared.ask;
      await Promise.all(decision.budgets.map((budget) => seed(accountId, budget)));
      decision = await engine.admit(prepared.ask);
    }
    if (principal.tier.shadow !== undefined) decision = await passShadow(principal, prepared.ask, decision);
    countOf(decision).inc();
    if (decision.outcome === 'admitted')
      return { prepared, admitted: decision, lease: engine.leaseOf(prepared.ask.id) };
    metrics.rejections.inc({ reason: reasonOf(decision) });
    throw refusalError(decision);
  }

  /** Each round leaves out one rule more. What is refused in the end is no news of a rule in shadow. */
  async function passShadow(principal: Principal, ask: AdmitRequest, first: AdmitResult): Promise<AdmitResult> {
    let decision = first;
    let rest = ask;
    const passed: string[] = [];
    while (isRefusedInShadow(principal, decision) && !passed.includes(decision.rule)) {
      passed.push(decision.rule);
      rest = askWithout(rest, decision);
      decision = await engine.admit(rest);
    }
    if (decision.outcome === 'admitted') for (const rule of passed) metrics.decisions.inc({ mode: 'shadow', rule });
    return 'buckets' in decision ? { ...decision, buckets: toldBuckets(principal, decision.buckets) } : decision;
  }

  async function verify(caller: Caller & { isFresh(): boolean }): Promise<Principal> {
    const { principal } = caller;
    const { accountId } = principal;
    const verdict = await engine.checkAuth(accountId, authStamp(principal));
    if (verdict === 'stale_auth') return renew(caller);
    if (verdict === 'ok' || caller.isFresh()) return principal;
    throw gatewayError('authUnavailable', {
      message: 'The API key cannot be checked right now. Please try again in 1s.',
      headers: retryAfterHeaders(retryMs),
    });
  }

  async function look(principal: Principal): Promise<LimitsView | null> {
    const { accountId } = principal;
    const checks = { accountId, ...limitChecks(withoutShadow(principal), { reservedTokens: 0, costNanoUsd: () => 0 }) };
    const view = await engine.inspect(checks);
    if (view === null || view.budgets.length === checks.budgets.length) return view;
    const isKnown = ({ scope, period }: BudgetCheck): boolean =>
      view.budgets.some((known) => known.scope === scope && known.period === period);
    await Promise.all(checks.budgets.flatMap((budget) => (isKnown(budget) ? [] : [seed(accountId, budget)])));
    return engine.inspect(checks);
  }

  /** What was read is told to the engine before anything is asked again; if that fails, so will the question. */
  async function renew(caller: Caller): Promise<Principal> {
    const principal = await caller.reload();
    const { account, key } = principal.authVersion;
    await engine.raiseAuthVersion(principal.accountId, { account, key: { id: principal.keyId, version: key } });
    return principal;
  }

  /** An account's first requests of a period come together; the rows are summed once for all of them. */
  function seed(accountId: string, budget: BudgetCheck): Promise<void> {
    const name = `${budget.scope} ${budget.period}`;
    const running = seeds.get(name) ?? sumAndSeed(accountId, budget).finally(() => seeds.delete(name));
    seeds.set(name, running);
    return running;
  }

  /** The rows are summed of the period that the engine is in: this process's clock may be in another one. */
  async function sumAndSeed(accountId: string, { scope, period }: BudgetCheck): Promise<void> {
    const budget = { scope, period };
    try {
      const reading = await engine.readBudget(accountId, budget);
      if (reading?.state !== 'unknown') return;
      const spent = await spentNanoUsd(accountId, budget, reading.atMs);
      await engine.seedBudget(accountId, budget, spent, reading.atMs);
    } catch (cause) {
      throw gatewayError('limitsUnavailable', {
        message: 'What this budget has spent cannot be read right now. Please try again in 1s.',
        headers: retryAfterHeaders(retryMs),
        cause,
      });
    }
  }
}

export function authStamp({ keyId, authVersion }: Principal): NonNullable<AdmitRequest['auth']> {
  return { keyId, accountVersion: authVersion.account, keyVersion: authVersion.key };
}

function reasonOf(decision: Exclude<AdmitResult, Admitted>): string {
  if (decision.outcome === 'rejected' || decision.outcome === 'never') return decision.rule;
  return decision.outcome === 'unavailable' && decision.reason === 'journal_full' ? 'journal_full' : 'unavailable';
}
