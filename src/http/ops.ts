/** Is it alive, is it ready, how does it do. Public, and touches nothing that could hang. */
import type { FastifyInstance } from 'fastify';
import type { Metrics } from '../platform/metrics.ts';

export type OpsOptions = {
  metrics: Metrics;
  /** null when ready, otherwise what is missing. */
  readiness(): string | null;
  /** Sets the gauges that are read on demand. */
  observe(): void;
};

export function opsScope(app: FastifyInstance, options: OpsOptions, done: () => void): void {
  for (const path of ['/healthz', '/health']) app.get(path, async () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    const missing = options.readiness();
    if (missing === null) return { status: 'ready' };
    void reply.code(503).header('retry-after', '1');
    return { status: 'not ready', reason: missing };
  });
  app.get('/metrics', async (_request, reply) => {
    options.observe();
    void reply.type(options.metrics.registry.contentType);
    return options.metrics.registry.metrics();
  });
  done();
}
