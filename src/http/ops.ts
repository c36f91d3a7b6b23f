/** Is it alive, is it ready, how does it do. Public, and touches nothing that could hang. */
import type { FastifyInstance } from 'fastify';
import type { Metrics } from '../platform/metrics.ts';

export type OpsOptions = {
  metrics: Metrics;
  /** null when ready, otherwise what is missing. */
  readiness(): string | null;
  /** How each store does. A degraded one takes no replica out: the others depend on the same one. */
  dependencies(): Readonly<Record<string, 'ok' | 'degraded' | 'embedded'>>;
  /** Sets the gauges that are read on demand. */
  observe(): void;
};

export function opsScope(app: FastifyInstance, options: OpsOptions, done: () => void): void {
  for (const path of ['/healthz', '/health']) app.get(path, async () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    const missing = options.readiness();
    const dependencies = options.dependencies();
    const degraded = Object.values(dependencies).includes('degraded');
    if (missing === null) return { status: 'ready', degraded, dependencies };
    void reply.code(503).header('retry-after', '1');
    return { status: 'not ready', reason: missing, degraded, dependencies };
  });
  app.get('/metrics', async (_request, reply) => {
    options.observe();
    void reply.type(options.metrics.registry.contentType);
    return options.metrics.registry.metrics();
  });
  done();
}
