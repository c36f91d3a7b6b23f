/**
 * Counters and histograms of one process, in a registry that is passed in and never global.
 * Labels are bounded: a model is its catalogue id or `other`; never a key, account, path or error text.
 * Spec: operations 10.1.
 */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';

const durationSeconds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800];
const firstTokenSeconds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const overheadSeconds = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];

export type Metrics = ReturnType<typeof createMetrics>;

export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    requests: new Counter({
      name: 'tollgate_requests_total',
      help: 'Requests by how they ended.',
      labelNames: ['endpoint', 'provider', 'model', 'outcome'] as const,
      registers,
    }),
    inflight: new Gauge({
      name: 'tollgate_inflight_requests',
      help: 'Requests running now.',
      labelNames: ['kind'] as const,
      registers,
    }),
    duration: new Histogram({
      name: 'tollgate_request_duration_seconds',
      help: 'From the first byte of the request to the last byte of the reply.',
      labelNames: ['endpoint', 'provider', 'stream'] as const,
      buckets: durationSeconds,
      registers,
    }),
    firstToken: new Histogram({
      name: 'tollgate_time_to_first_token_seconds',
      help: 'From the request to the first byte of a stream.',
      labelNames: ['provider', 'model'] as const,
      buckets: firstTokenSeconds,
      registers,
    }),
    overhead: new Histogram({
      name: 'tollgate_overhead_seconds',
      help: 'Time that the gateway adds before the upstream is asked.',
      labelNames: ['phase'] as const,
      buckets: overheadSeconds,
      registers,
    }),
    attempts: new Counter({
      name: 'tollgate_upstream_attempts_total',
      help: 'Attempts at a provider by result.',
      labelNames: ['provider', 'result'] as const,
      registers,
    }),
    failovers: new Counter({
      name: 'tollgate_failovers_total',
      help: 'Requests handed on to the next target, by the failed provider and the reason.',
      labelNames: ['provider', 'reason'] as const,
      registers,
    }),
    tokens: new Counter({
      name: 'tollgate_tokens_total',
      help: 'Tokens metered.',
      labelNames: ['provider', 'model', 'type'] as const,
      registers,
    }),
    cost: new Counter({
      name: 'tollgate_cost_usd_total',
      help: 'Cost in USD by the price table.',
      labelNames: ['provider', 'model'] as const,
      registers,
    }),
    rejections: new Counter({
      name: 'tollgate_rejections_total',
      help: 'Requests refused before they ran.',
      labelNames: ['reason'] as const,
      registers,
    }),
    decisions: new Counter({
      name: 'tollgate_decisions_total',
      help: 'Questions to admission, by whether the limits could be asked; in mode shadow, what a rule would have refused.',
      labelNames: ['mode', 'rule'] as const,
      registers,
    }),
    degraded: new Gauge({
      name: 'tollgate_degraded',
      help: 'Is 1 while a store that this process depends on does not answer.',
      labelNames: ['dep'] as const,
      registers,
    }),
    authFailures: new Counter({
      name: 'tollgate_auth_failures_total',
      help: 'Keys refused, by what was wrong with them.',
      labelNames: ['reason'] as const,
      registers,
    }),
    disconnects: new Counter({
      name: 'tollgate_client_disconnects_total',
      help: 'Clients that left before their reply was complete.',
      labelNames: ['endpoint'] as const,
      registers,
    }),
    truncations: new Counter({
      name: 'tollgate_stream_truncations_total',
      help: 'Streams that ended with an error event, by cause.',
      labelNames: ['cause'] as const,
      registers,
    }),
    openLeases: new Gauge({
      name: 'tollgate_open_leases',
      help: 'Concurrency leases that this process holds.',
      registers,
    }),
    journalDepth: new Gauge({
      name: 'tollgate_journal_depth',
      help: 'Usage rows that wait for Postgres.',
      registers,
    }),
    jobs: new Counter({
      name: 'tollgate_jobs_total',
      help: 'Runs of background jobs by result.',
      labelNames: ['job', 'result'] as const,
      registers,
    }),
    jobLastSuccess: new Gauge({
      name: 'tollgate_job_last_success_timestamp_seconds',
      help: 'When each background job last succeeded, in Unix seconds.',
      labelNames: ['job'] as const,
      registers,
    }),
    streamDepth: new Gauge({
      name: 'tollgate_usage_stream_depth',
      help: 'Usage rows that wait in the stream, for all replicas together.',
      registers,
    }),
    deadLetters: new Counter({
      name: 'tollgate_usage_dead_letter_total',
      help: 'Usage records that no row could be made of.',
      registers,
    }),
    budgetDrift: new Counter({
      name: 'tollgate_budget_drift_usd_total',
      help: 'What budgets differed from the sum of their rows, by which of the two had more.',
      labelNames: ['more'] as const,
      registers,
    }),
    usageRows: new Counter({
      name: 'tollgate_usage_rows_total',
      help: 'Usage rows written, by rank.',
      labelNames: ['rank'] as const,
      registers,
    }),
  };
}

/** `process_*` and `nodejs_*`; apart, because they start an observer that a test does not want. */
export function collectProcessMetrics(metrics: Metrics): void {
  collectDefaultMetrics({ register: metrics.registry });
}
