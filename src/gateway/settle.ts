/**
 * The one exit of the corridor: frees the slot, corrects the buckets, hands the row to the ledger, counts, and writes
 * the request's one log line. Takes a flow and its outcome; never throws, never waits. Its table is the settlement table
 * of reliability 2.4.
 */
import type { AdmissionEngine, SettlementKind } from '../contract/admission.ts';
import { errorCatalogue } from '../contract/errors.ts';
import { usageRank, type Usage, type UsageRank, type UsageRecord, type UsageStatus } from '../contract/flow.ts';
import type { Logger } from '../platform/logger.ts';
import type { Metrics } from '../platform/metrics.ts';
import { likelyInputTokens } from '../usage/estimate.ts';
import { costPicoUsd, shortUsd } from '../usage/price.ts';
import { cutStatuses, type Flow, type Outcome } from './flow.ts';
import { countRequest, outcomeLabel } from './request-metrics.ts';
import { publicRequestId } from './reply.ts';

export type SettleOptions = { engine: AdmissionEngine; metrics: Metrics; log: Logger };

const picoPerNano = 1000;

type Verdict = {
  kind: SettlementKind;
  rank: UsageRank;
  status: UsageStatus;
  usage: Usage;
  source: UsageRecord['usageSource'];
};

export function createSettle(options: SettleOptions): (flow: Flow, outcome: Outcome) => void {
  const { engine, metrics, log } = options;

  return function settle(flow, outcome) {
    const verdict = judge(flow, outcome);
    const record = recordOf(flow, outcome, verdict);
    const { usage } = verdict;
    const settled = engine.settle({
      id: flow.requestId,
      accountId: flow.principal.accountId,
      kind: verdict.kind,
      actual: {
        requests: verdict.kind === 'void' ? 0 : 1,
        tokens: usage.promptTokens + usage.completionTokens,
        // A budget spends what the row says, whatever the kind.
        costNanoUsd: Math.ceil(record.costPicoUsd / picoPerNano),
      },
      record,
    });
    settled.catch((error: unknown) =>
      log.error({ err: error, request_id: publicRequestId(flow.requestId) }, 'settlement failed'),
    );
    countRequest(metrics, outcome, record);
    log.info(lineOf(flow, outcome, record), 'request');
  };
}

function judge(flow: Flow, outcome: Outcome): Verdict {
  const { usage } = outcome;
  if (!outcome.isDispatched) return verdictOf('void', 'void', 'not_dispatched', nothing);
  const cut = cutStatuses[outcome.ending];
  if (outcome.ending === 'complete') {
    if (usage !== null) return { ...verdictOf('exact', 'final', 'ok', usage), source: 'provider' };
    return verdictOf('under', 'final', 'ok', estimated(flow, outcome));
  }
  if (cut !== undefined) return verdictOf('under', 'partial', cut, estimated(flow, outcome));
  // A reply that broke off while it was gathered was seen by nobody, but the provider had begun to count.
  if (outcome.ttftMs !== null || usage !== null)
    return verdictOf('under', 'partial', 'upstream_error', usage ?? estimated(flow, outcome));
  // No answer came at all: it may have been billed, and nobody can know.
  if (outcome.ending === 'upstream_timeout') return verdictOf('under', 'partial', 'unknown', estimated(flow, outcome));
  return verdictOf('exact', 'final', 'upstream_error', nothing);
}

function verdictOf(kind: SettlementKind, rank: keyof typeof usageRank, status: UsageStatus, usage: Usage): Verdict {
  return { kind, rank: usageRank[rank], status, usage, source: 'estimated' };
}

const nothing: Usage = Object.freeze({
  promptTokens: 0,
  cachedTokens: 0,
  cacheWriteTokens: 0,
  completionTokens: 0,
  reasoningTokens: 0,
});

/** Input and what was delivered. A provider's own figures for a part of the stream are better than ours. */
function estimated(flow: Flow, outcome: Outcome): Usage {
  return (
    outcome.usage ?? {
      ...nothing,
      promptTokens: likelyInputTokens(flow.inputTokens),
      completionTokens: outcome.outputTokens,
    }
  );
}

function recordOf(flow: Flow, outcome: Outcome, verdict: Verdict): UsageRecord {
  const target = outcome.target;
  return {
    requestId: flow.requestId,
    startedAtMs: flow.startedAtMs,
    rank: verdict.rank,
    accountId: flow.principal.accountId,
    keyId: flow.principal.keyId,
    tier: flow.principal.tier.id,
    endpoint: flow.endpoint,
    model: flow.route.publicModel,
    provider: target?.providerId ?? null,
    upstreamModel: target?.upstreamModel ?? null,
    stream: flow.request.stream,
    status: verdict.status,
    httpStatus: outcome.httpStatus === 0 ? (outcome.error?.status ?? 499) : outcome.httpStatus,
    errorCode: errorCodeOf(outcome),
    usageSource: verdict.source,
    usage: verdict.usage,
    costPicoUsd: costPicoUsd(verdict.usage, target?.model?.price ?? null),
    priceVersion: target?.model?.priceVersion ?? null,
    ttftMs: outcome.ttftMs === null ? null : Math.round(outcome.ttftMs),
    durationMs: Math.round(performance.now() - flow.startedMonotonicMs),
    attempts: outcome.attempts,
  };
}

/** A reply that came through although its lease was lost says so where an error would stand. */
function errorCodeOf({ error, isLeaseLost }: Outcome): string | null {
  if (error !== null) return error.code ?? error.kind;
  return isLeaseLost ? errorCatalogue.leaseLost.code : null;
}

/** What the ledger shows if this process dies now: the estimate that admission was asked with. */
export function openRecord(flow: Flow): UsageRecord {
  const [target] = flow.route.targets;
  const usage = { ...nothing, promptTokens: likelyInputTokens(flow.inputTokens) };
  return {
    requestId: flow.requestId,
    startedAtMs: flow.startedAtMs,
    rank: usageRank.orphan,
    accountId: flow.principal.accountId,
    keyId: flow.principal.keyId,
    tier: flow.principal.tier.id,
    endpoint: flow.endpoint,
    model: flow.route.publicModel,
    provider: target.providerId,
    upstreamModel: target.upstreamModel,
    stream: flow.request.stream,
    status: 'orphaned',
    httpStatus: 0,
    errorCode: null,
    usageSource: 'estimated',
    usage,
    costPicoUsd: costPicoUsd(usage, target.model?.price ?? null),
    priceVersion: target.model?.priceVersion ?? null,
    ttftMs: null,
    durationMs: 0,
    attempts: [],
  };
}

function lineOf(flow: Flow, outcome: Outcome, record: UsageRecord): Record<string, unknown> {
  return {
    request_id: publicRequestId(flow.requestId),
    key: record.keyId,
    account: record.accountId,
    tier: record.tier,
    endpoint: record.endpoint,
    model: record.model,
    provider: record.provider,
    status: record.httpStatus,
    outcome: outcomeLabel(outcome),
    stream: record.stream,
    ttft_ms: record.ttftMs,
    duration_ms: record.durationMs,
    overhead_us: outcome.overheadMicros,
    prompt_tokens: record.usage.promptTokens,
    completion_tokens: record.usage.completionTokens,
    usage_source: record.usageSource,
    cost_usd: shortUsd(record.costPicoUsd),
    attempts: record.attempts.length,
    ...(outcome.isLeaseLost ? { lease_lost: true } : {}),
    ...(record.errorCode === null ? {} : { error: record.errorCode, cause: causeOf(outcome.error?.cause) }),
  };
}

/** Of a cause only its code or its class is told: its message may quote anything. */
function causeOf(cause: unknown): string | undefined {
  if (typeof cause !== 'object' || cause === null) return undefined;
  if ('code' in cause && typeof cause.code === 'string') return cause.code;
  return cause instanceof Error ? cause.name : undefined;
}
