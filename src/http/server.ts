/**
 * The HTTP server without a route: clocks, caps, request ids, and answers to what is not even HTTP, in the envelope that
 * clients can read. Spec: reliability 6 and 10, fidelity 3.3.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import { gatewayError, type GatewayError } from '../contract/errors.ts';
import { publicRequestId } from '../gateway/reply.ts';
import { asGatewayError, logRefusal, sendError } from './errors.ts';
import './request-context.ts';

export type ServerOptions = {
  log: FastifyBaseLogger;
  bodyLimitBytes: number;
  trustProxy: readonly string[];
  /** UUIDv7 of the given time. */
  createRequestId(nowMs: number): string;
};

export function createServer(options: ServerOptions): FastifyInstance {
  const app = Fastify({
    loggerInstance: options.log,
    // One logger for all: a child per request costs more than the request's whole log line.
    childLoggerFactory: (logger) => logger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => options.createRequestId(Date.now()),
    bodyLimit: options.bodyLimitBytes,
    trustProxy: options.trustProxy.length === 0 ? false : [...options.trustProxy],
    exposeHeadRoutes: false,
    keepAliveTimeout: 72_000,
    requestTimeout: 120_000,
    http: {
      headersTimeout: 10_000,
      connectionsCheckingInterval: 5_000,
      maxHeaderSize: 16_384,
      // Node would answer without a body; the hook below does it in words.
      requireHostHeader: false,
    },
    routerOptions: { maxParamLength: 500 },
    clientErrorHandler: (error, socket) => {
      const requestId = publicRequestId(options.createRequestId(Date.now()));
      const status = answerBrokenHttp(error, socket, requestId);
      if (status !== null) {
        options.log.info({ request_id: requestId, status, outcome: 'client_error', error: error.code }, 'request');
      }
    },
    // Outside of every hook: an address that cannot even be decoded.
    frameworkErrors: (thrown, request, reply) => {
      const error = asGatewayError(thrown, request);
      logRefusal(request, error);
      void sendError(reply.header('x-request-id', publicRequestId(request.id)), error);
    },
  });
  app.server.maxHeadersCount = 64;
  // An unknown expectation may be ignored, and Node's own refusal has no body.
  app.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    app.server.emit('request', request, response);
  });
  app.decorateRequest('principal', null);
  app.decorateRequest('isAdmitted', false);
  app.decorateRequest('startedAtMs', 0);
  app.decorateRequest('startedMonotonicMs', 0);
  app.addHook('onRequest', (request, reply, next) => {
    request.startedMonotonicMs = performance.now();
    request.startedAtMs = millisecondsOf(request.id);
    void reply.header('x-request-id', publicRequestId(request.id));
    if (request.headers.host === undefined && request.raw.httpVersion === '1.1') {
      next(gatewayError('invalidRequest', { message: 'The request has no Host header, which HTTP/1.1 demands.' }));
    } else next();
  });
  app.setErrorHandler((thrown, request, reply) => {
    const error = asGatewayError(thrown, request);
    logRefusal(request, error);
    return sendError(reply, error);
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0] ?? '';
    return sendError(
      reply,
      gatewayError('unknownUrl', {
        message: `Invalid URL (${request.method} ${path.slice(0, 200)}). The API of this gateway is below /v1.`,
      }),
    );
  });
  return app;
}

/** The row's time is the millisecond inside its id, so that every record of one request meets the same key. */
function millisecondsOf(requestId: string): number {
  return Number.parseInt(requestId.slice(0, 8) + requestId.slice(9, 13), 16);
}

const reasons: Record<number, string> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
};

/** The status that was sent, or null when nothing could be. */
function answerBrokenHttp(error: Error & { code?: string }, socket: AnsweringSocket, requestId: string): number | null {
  // What a refused client goes on to send is read away for a moment: a reset would come before it has read why.
  if (socket.writableEnded) return null;
  const hasLeft = error.code === 'ECONNRESET' || error.code === 'HPE_INVALID_EOF_STATE';
  // Behind the start of another reply our words would land inside it.
  if (!socket.writable || hasLeft || socket._httpMessage?.headersSent === true) {
    socket.destroy();
    return null;
  }
  const { status, body } = brokenHttpReply(error.code);
  const text = JSON.stringify(body.toBody());
  socket.end(
    `HTTP/1.1 ${status} ${reasons[status] ?? ''}\r\ncontent-type: application/json; charset=utf-8\r\n` +
      `x-request-id: ${requestId}\r\ncontent-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
  );
  setTimeout(() => socket.destroy(), lingerMs).unref();
  return status;
}

const lingerMs = 1000;

/** Node keeps the reply that a socket carries in this member, and nowhere else. */
type AnsweringSocket = Socket & { _httpMessage?: ServerResponse | null };

function brokenHttpReply(code: string | undefined): { status: number; body: GatewayError } {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return { status: 408, body: gatewayError('requestTimeout', { message: 'The request did not arrive in time.' }) };
  }
  if (code === 'HPE_HEADER_OVERFLOW') {
    return {
      status: 431,
      body: gatewayError('invalidRequest', {
        message: 'The request has more than 64 headers, or more than 16 KiB of them.',
      }),
    };
  }
  return { status: 400, body: gatewayError('invalidRequest', { message: 'The request is not valid HTTP/1.1.' }) };
}
