/**
 * The `/v1` scope: API key, OpenAI's envelope. The order of registration is the order of the walk: authenticate before
 * the body is read, then the body as one buffer, then the route. Spec: style 5.3.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { gatewayError, type GatewayError } from '../../contract/errors.ts';
import type { AdmissionGate } from '../../gateway/admission-gate.ts';
import type { ChatCorridor } from '../../gateway/chat-corridor.ts';
import type { Metrics } from '../../platform/metrics.ts';
import type { Router } from '../../routing/router.ts';
import { createCorsHook } from '../cors.ts';
import { asGatewayError, encodingError, logRefusal, mediaTypeError, sendError } from '../errors.ts';
import { type Authenticator, createCallers } from './caller.ts';
import { registerChatCompletions } from './chat-completions.ts';
import { type KeyRouteOptions, registerKey } from './key.ts';
import { registerModels } from './models.ts';

export type V1Options = {
  authenticator: Authenticator;
  gate: AdmissionGate;
  serveChat: ChatCorridor;
  router: Router;
  findSpending: KeyRouteOptions['findSpending'];
  metrics: Metrics;
  /** A request that was turned away before it ran. */
  onRefusal(refusal: { accountId: string | null; keyId: string | null; reason: string; status: number }): void;
  isDraining(): boolean;
  /** Origins whose pages may call this scope; empty is none. */
  corsOrigins: readonly string[];
};

export function v1Scope(app: FastifyInstance, options: V1Options, done: () => void): void {
  const callers = createCallers(options);
  if (options.corsOrigins.length > 0) app.addHook('onRequest', createCorsHook({ origins: options.corsOrigins }));
  app.addHook('onRequest', (request, reply, next) => {
    // On the raw reply, so that one which the corridor writes by itself says it too.
    if (options.isDraining()) reply.raw.shouldKeepAlive = false;
    callers.authenticate(request, next);
  });
  acceptJsonAsBuffer(app);
  app.setErrorHandler((thrown, request, reply) => {
    const error = asGatewayError(thrown, request);
    if (!request.isAdmitted) refuse(request, error);
    // Fastify closes the connection of a body that it refused. A client that is still writing would be reset and never
    // read why; left open, Node reads the rest away.
    void reply.header('connection', reply.raw.shouldKeepAlive ? 'keep-alive' : 'close');
    return sendError(reply, error);
  });
  app.setNotFoundHandler((request, reply) => {
    const error = notFound(app, request);
    refuse(request, error);
    return sendError(reply, error);
  });
  registerChatCompletions(app, { serveChat: options.serveChat, callers });
  registerModels(app, { router: options.router, callers });
  registerKey(app, { callers, gate: options.gate, findSpending: options.findSpending });
  done();

  function refuse(request: FastifyRequest, error: GatewayError): void {
    logRefusal(request, error);
    const { principal } = request;
    options.onRefusal({
      accountId: principal?.accountId ?? null,
      keyId: principal?.keyId ?? null,
      reason: error.kind,
      status: error.status,
    });
  }
}

/**
 * Validation must not hang on the spelling of a header: one parser takes every JSON type as bytes, and what is no JSON
 * type is refused by name. Spec: reliability 10, Fastify.
 */
function acceptJsonAsBuffer(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body, parsed) => {
    const { 'content-type': contentType = '', 'content-encoding': encoding } = request.headers;
    const isJson = contentType === 'application/json' || jsonType.test(contentType);
    if (!isJson) parsed(mediaTypeError(request.headers['content-type']));
    else if (encoding !== undefined && encoding !== 'identity') parsed(encodingError(encoding));
    else parsed(null, body);
  });
}

const jsonType = /^application\/(?:json|[\w.+-]+\+json)[ \t]*(?:;|$)/i;

function notFound(app: FastifyInstance, request: FastifyRequest): GatewayError {
  const path = request.url.split('?', 1)[0] ?? '';
  const allowed = (['GET', 'POST', 'DELETE'] as const).filter(
    (method) => app.findRoute({ url: path, method }) !== null,
  );
  if (allowed.length === 0) {
    return gatewayError('unknownUrl', { message: `Invalid URL (${request.method} ${path.slice(0, 200)}).` });
  }
  return gatewayError('methodNotAllowed', {
    message: `${request.method} is not allowed on ${path.slice(0, 200)}; use ${allowed.join(' or ')}.`,
    headers: { allow: allowed.join(', ') },
  });
}
