/**
 * Answers browsers of other origins, where the operator named them. Headers are set on the raw reply, so that one which
 * the corridor writes by itself has them too; a preflight is answered before anybody is asked who he is, as it carries no
 * key. Off by default. Spec: fidelity 3.1, DESIGN 4.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';

export type CorsOptions = {
  /** Origins such as `https://app.example.com`, or `*`. */
  origins: readonly string[];
};

const exposed = [
  'x-request-id',
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
  'openai-processing-ms',
  'openai-version',
  ...['limit', 'remaining', 'reset'].flatMap((what) => [`x-ratelimit-${what}-requests`, `x-ratelimit-${what}-tokens`]),
  ...[
    'provider',
    'model',
    'attempts',
    'overhead-us',
    'cost-usd',
    'upstream-request-id',
    'dropped-params',
    'degraded',
  ].map((name) => `x-tollgate-${name}`),
].join(', ');
const methods = 'GET, POST, DELETE';
const preflightSeconds = 600;
/** What a browser may ask to send; anything else it would not get past the server's own checks with. */
const headerList = /^[\w\-, ]{0,2000}$/;

export function createCorsHook({ origins }: CorsOptions) {
  const isOpen = origins.includes('*');
  const allowed = new Set(origins);
  return function answerOrigin(request: FastifyRequest, reply: FastifyReply, next: () => void): void {
    const { origin } = request.headers;
    if (!isOpen) reply.raw.setHeader('vary', 'origin');
    if (origin === undefined || !(isOpen || allowed.has(origin))) {
      next();
      return;
    }
    reply.raw.setHeader('access-control-allow-origin', isOpen ? '*' : origin);
    reply.raw.setHeader('access-control-expose-headers', exposed);
    const wanted = request.headers['access-control-request-method'];
    if (request.method !== 'OPTIONS' || wanted === undefined) {
      next();
      return;
    }
    const headers = request.headers['access-control-request-headers'] ?? '';
    if (headers !== '' && headerList.test(headers)) reply.raw.setHeader('access-control-allow-headers', headers);
    reply.raw.setHeader('access-control-allow-methods', methods);
    reply.raw.setHeader('access-control-max-age', String(preflightSeconds));
    void reply.code(204).send();
  };
}
