import t from 'tap';
import { collectProcessMetrics, createMetrics } from '../../src/platform/metrics.ts';

t.test('names every metric once, with its unit, a sentence, and labels that stay few', async (t) => {
  const { registry } = createMetrics();
  const bounded = ['endpoint', 'provider', 'model', 'outcome', 'kind', 'stream', 'phase', 'result', 'reason', 'type'];
  const metrics = await registry.getMetricsAsJSON();
  t.ok(metrics.length > 10);
  for (const { name, help } of metrics) {
    t.match(name, /^tollgate_[a-z_]+$/);
    t.match(help, /^[A-Z].*\.$/, name);
  }
  t.equal(new Set(metrics.map(({ name }) => name)).size, metrics.length);
  const labels = Object.values(createMetrics()).flatMap((metric) =>
    'labelNames' in metric && Array.isArray(metric.labelNames) ? metric.labelNames.map(String) : [],
  );
  t.ok(labels.length > 10);
  t.same(
    labels.filter((label) => ![...bounded, 'cause', 'rank', 'mode', 'rule', 'dep', 'job', 'more'].includes(label)),
    [],
    'never a key, an account or a path',
  );
});

t.test('two sets of metrics know nothing of each other', async (t) => {
  const [one, other] = [createMetrics(), createMetrics()];
  one.rejections.inc({ reason: 'tokens' });
  one.openLeases.set(3);
  t.match(await one.registry.metrics(), 'tollgate_rejections_total{reason="tokens"} 1');
  t.match(await one.registry.metrics(), 'tollgate_open_leases 3');
  t.notMatch(await other.registry.metrics(), 'reason="tokens"');
});

t.test('buckets go from what is usual to what is bearable', async (t) => {
  const { registry, duration, firstToken, overhead } = createMetrics();
  duration.observe({ endpoint: 'chat', provider: 'p', stream: 'true' }, 1900);
  firstToken.observe({ provider: 'p', model: 'm' }, 0.2);
  overhead.observe({ phase: 'total' }, 0.0002);
  const text = await registry.metrics();
  t.match(text, 'tollgate_request_duration_seconds_bucket{le="1800",endpoint="chat",provider="p",stream="true"} 0');
  t.match(text, 'tollgate_time_to_first_token_seconds_bucket{le="0.25",provider="p",model="m"} 1');
  t.match(text, 'tollgate_overhead_seconds_bucket{le="0.00025",phase="total"} 1');
});

t.test('process metrics come only when asked for', async (t) => {
  const metrics = createMetrics();
  t.notMatch(await metrics.registry.metrics(), 'process_cpu');
  collectProcessMetrics(metrics);
  const text = await metrics.registry.metrics();
  t.match(text, 'process_cpu_seconds_total');
  t.match(text, 'nodejs_eventloop_lag_seconds');
});
