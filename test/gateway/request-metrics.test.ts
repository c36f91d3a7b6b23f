import t from 'tap';
import { gatewayError } from '../../src/contract/errors.ts';
import type { ModelSpec, Target, UsageRecord } from '../../src/contract/flow.ts';
import { newOutcome, type Ending, type Outcome } from '../../src/gateway/flow.ts';
import { countRequest, outcomeLabel } from '../../src/gateway/request-metrics.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { usageRecord } from '../support/usage-record.ts';

const model: ModelSpec = {
  id: 'acme/acme-large-1',
  providerId: 'acme',
  upstreamModel: 'acme-large-1',
  name: 'Large',
  contextTokens: 1000,
  maxOutputTokens: 100,
  inputModalities: [],
  outputModalities: [],
  supportedParameters: [],
  price: null,
  created: 0,
};
const target: Target = { providerId: 'acme', upstreamModel: 'acme-large-1', model };

async function samplesOf(outcome: Partial<Outcome>, record: Partial<UsageRecord>): Promise<string[]> {
  const metrics = createMetrics();
  countRequest(metrics, { ...newOutcome(), ...outcome }, usageRecord(record));
  const text = await metrics.registry.metrics();
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('#') && !line.includes('_bucket'));
}

t.test('each way to end has one label', (t) => {
  const labels: Record<Ending, string> = {
    complete: 'ok',
    client_abort: 'client_abort',
    client_stall: 'client_abort',
    drained: 'drained',
    revoked: 'client_error',
    capped: 'client_error',
    lease_lost: 'gateway_error',
    upstream_failed: 'upstream_error',
    upstream_timeout: 'upstream_error',
    total_timeout: 'upstream_error',
    refused: 'gateway_error',
  };
  for (const [ending, label] of Object.entries(labels)) {
    t.equal(outcomeLabel({ ...newOutcome(), ending: ending as Ending }), label, ending);
  }
  const refused = (kind: 'unsupportedParameter' | 'internal') =>
    outcomeLabel({ ...newOutcome(), error: gatewayError(kind, { message: 'no' }) });
  t.equal(refused('unsupportedParameter'), 'client_error');
  t.equal(refused('internal'), 'gateway_error');
  t.end();
});

t.test('counts a stream with its time, tokens and cost', async (t) => {
  const samples = await samplesOf(
    { ending: 'complete', target, ttftMs: 180, overheadMicros: 250 },
    { durationMs: 2100, costPicoUsd: 2_000_000_000_000 },
  );
  const labels = 'provider="acme",model="acme/acme-large-1"';
  for (const sample of [
    `tollgate_requests_total{endpoint="chat",${labels},outcome="ok"} 1`,
    'tollgate_request_duration_seconds_sum{endpoint="chat",provider="acme",stream="true"} 2.1',
    `tollgate_time_to_first_token_seconds_sum{${labels}} 0.18`,
    'tollgate_overhead_seconds_sum{phase="total"} 0.00025',
    `tollgate_tokens_total{${labels},type="input"} 100`,
    `tollgate_tokens_total{${labels},type="output"} 20`,
    `tollgate_cost_usd_total{${labels}} 2`,
  ]) {
    t.ok(samples.includes(sample), sample);
  }
  t.notMatch(samples.join('\n'), /disconnects_total\{|truncations_total\{/);
});

t.test('what a caller wrote is never a label', async (t) => {
  const unknown: Target = { providerId: 'acme', upstreamModel: 'sk-secret-looking', model: null };
  const samples = await samplesOf(
    { ending: 'complete', target: unknown, ttftMs: 1 },
    { model: 'acme/sk-secret-looking' },
  );
  t.notMatch(samples.join('\n'), 'sk-secret-looking');
  t.match(samples.join('\n'), 'model="other"');
  const nowhere = await samplesOf({}, { provider: null, model: 'x' });
  t.match(nowhere.join('\n'), 'provider="none",model="other",outcome="gateway_error"');
});

t.test('counts clients that left and streams that broke off', async (t) => {
  const left = await samplesOf({ ending: 'client_abort', target, ttftMs: 5 }, {});
  t.ok(left.includes('tollgate_client_disconnects_total{endpoint="chat"} 1'));
  const error = gatewayError('upstreamTruncated', { message: 'no' });
  const broken = await samplesOf({ ending: 'upstream_failed', target, ttftMs: 5, error }, {});
  t.ok(broken.includes('tollgate_stream_truncations_total{cause="upstream_failed"} 1'));
  const before = await samplesOf({ ending: 'upstream_failed', target, ttftMs: null, error }, {});
  t.notMatch(before.join('\n'), /truncations_total\{/, 'nothing had begun');
});

t.test('a reply in one piece has no time to its first token, and nothing costs nothing', async (t) => {
  const usage = { promptTokens: 0, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 0, reasoningTokens: 0 };
  const samples = await samplesOf({ ending: 'complete', target, ttftMs: 5 }, { stream: false, usage, costPicoUsd: 0 });
  t.notMatch(samples.join('\n'), /first_token_seconds_count|tokens_total\{|cost_usd_total\{/);
});
