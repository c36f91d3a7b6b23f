/** Metrics of one ended request. Labels come from the catalogue; whatever a caller wrote becomes `other`. */
import type { UsageRecord } from '../contract/flow.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Outcome } from './flow.ts';

export function outcomeLabel(outcome: Outcome): string {
  switch (outcome.ending) {
    case 'complete':
      return 'ok';
    case 'client_abort':
    case 'client_stall':
      return 'client_abort';
    case 'drained':
      return 'drained';
    case 'revoked':
    case 'capped':
      return 'client_error';
    case 'lease_lost':
      return 'gateway_error';
    case 'upstream_failed':
      return isCallersMistake(outcome) ? 'client_error' : 'upstream_error';
    case 'upstream_timeout':
    case 'total_timeout':
      return 'upstream_error';
    case 'refused':
      return outcome.error !== null && outcome.error.status < 500 ? 'client_error' : 'gateway_error';
  }
}

/** A provider that refuses a bad request works well: callers' mistakes must not look like its failure. */
function isCallersMistake({ error }: Outcome): boolean {
  return error !== null && error.status < 500 && error.kind !== 'upstreamRateLimited';
}

const picoPerUsd = 1e12;

export function countRequest(metrics: Metrics, outcome: Outcome, record: UsageRecord): void {
  const provider = record.provider ?? 'none';
  const model = outcome.target?.model?.id ?? 'other';
  const label = outcomeLabel(outcome);
  metrics.requests.inc({ endpoint: record.endpoint, provider, model, outcome: label });
  metrics.duration.observe(
    { endpoint: record.endpoint, provider, stream: String(record.stream) },
    record.durationMs / 1000,
  );
  metrics.overhead.observe({ phase: 'total' }, outcome.overheadMicros / 1e6);
  if (record.stream && outcome.ttftMs !== null) metrics.firstToken.observe({ provider, model }, outcome.ttftMs / 1000);
  if (label === 'client_abort') metrics.disconnects.inc({ endpoint: record.endpoint });
  if (record.stream && outcome.error !== null && outcome.ttftMs !== null)
    metrics.truncations.inc({ cause: outcome.ending });
  if (record.usage.promptTokens > 0) metrics.tokens.inc({ provider, model, type: 'input' }, record.usage.promptTokens);
  if (record.usage.completionTokens > 0)
    metrics.tokens.inc({ provider, model, type: 'output' }, record.usage.completionTokens);
  if (record.costPicoUsd > 0) metrics.cost.inc({ provider, model }, record.costPicoUsd / picoPerUsd);
}
