/**
 * The `/v1` scope: API key, OpenAI's envelope. The order of registration is the order of the walk: authenticate before
 * the body is read, then the body as one buffer, then the route. Spec: style 5.3.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { gatewayError, type GatewayError } from '../../contract/errors.ts';
import type { AuthFailure, AuthResult } from '../../contract/flow.ts';
import type { ChatCorridor } from '../../gateway/chat-corridor.ts';
import type { Metrics } from '../../platform/metrics.ts';
import type { Router } from '../../routing/router.ts';
import { asGatewayError, encodingError, logRefusal, mediaTypeError, sendError } from '../errors.ts';
import { registerChatCompletions } from './chat-completions.ts';
import { registerModels } from './models.ts';

export type V1Options = {
  authenticate(token: string | undefined): AuthResult | Promise<AuthResult>;
  serveChat: ChatCorridor;
  router: Router;
  metrics: Metrics;
  isDraining(): boolean;
};

export function v1Scope(app: FastifyInstance, options: V1Options, done: () => void): void {
  app.addHook('onRequest', (request, reply, next) => {
    authenticate(request, reply, next);
  });
  acceptJsonAsBuffer(app);
  app.setErrorHandler((thrown, request, reply) => {
    const error = asGatewayError(thrown, request);
    if (!request.isAdmitted) logRefusal(request, error);
    // Fastify closes the connection of a body that it refused. A client that is still writing would be reset and never
    // read why; left open, Node reads the rest away.
    void reply.header('connection', reply.raw.shouldKeepAlive ? 'keep-alive' : 'close');
    return sendError(reply, error);
  });
  app.setNotFoundHandler((request, reply) => {
    const error = notFound(app, request);
    logRefusal(request, error);
    return sendError(reply, error);
  });
  registerChatCompletions(app, { serveChat: options.serveChat });
  registerModels(app, { router: options.router });
  done();

  function authenticate(request: FastifyRequest, reply: FastifyReply, next: (error?: Error) => void): void {
    // On the raw reply, so that one which the corridor writes by itself says it too.
    if (options.isDraining()) reply.raw.shouldKeepAlive = false;
    const result = options.authenticate(readToken(request));
    if (!('then' in result)) {
      accept(request, result, next);
      return;
    }
    result.then(
      (settled) => accept(request, settled, next),
      (cause: unknown) => accept(request, { kind: 'unknown', cause }, next),
    );
  }

  function accept(request: FastifyRequest, result: AuthResult, next: (error?: Error) => void): void {
    switch (result.kind) {
      case 'valid':
        request.principal = result.principal;
        next();
        return;
      case 'invalid':
        options.metrics.authFailures.inc({ reason: result.reason });
        next(invalidKey(result.reason));
        return;
      case 'unknown':
        options.metrics.authFailures.inc({ reason: 'unavailable' });
        next(
          gatewayError('authUnavailable', {
            message: 'The API key cannot be checked right now. Please try again in 1s.',
            headers: { 'retry-after': '1', 'retry-after-ms': '1000' },
            cause: result.cause,
          }),
        );
    }
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

/** `Authorization: Bearer` or `x-api-key`; never the query, which ends up in the logs of every proxy. */
function readToken(request: FastifyRequest): string | undefined {
  const { authorization } = request.headers;
  if (authorization !== undefined) {
    if (authorization.startsWith('Bearer sk-') && !authorization.includes(' ', 7)) return authorization.slice(7);
    return /^Bearer[ ]+(\S+)[ ]*$/i.exec(authorization)?.[1] ?? '';
  }
  const apiKey = request.headers['x-api-key'];
  return typeof apiKey === 'string' ? apiKey : undefined;
}

const keyMistakes: Record<AuthFailure, string> = {
  missing: 'You did not provide an API key. Send it in the header `Authorization: Bearer sk-tg-...`.',
  malformed:
    'The API key is not one of this gateway: those begin with `sk-tg-`. Send it in the header `Authorization: Bearer sk-tg-...`.',
  checksum: 'The API key has a typing mistake: its checksum does not fit. Copy it again.',
  unknown: 'The API key is not known here. It may belong to another gateway, or it was deleted.',
  expired: 'The API key has expired. Create a new one.',
  disabled: 'The API key, or its account, is disabled.',
  revoked: 'The API key was revoked. Create a new one.',
};

function invalidKey(reason: AuthFailure): GatewayError {
  return gatewayError('invalidApiKey', { message: keyMistakes[reason], headers: { 'www-authenticate': 'Bearer' } });
}

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
