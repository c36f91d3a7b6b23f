/** One renderer for the OpenAI surface: whatever was thrown becomes the envelope, with nothing in it that is not for the caller. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { gatewayError, GatewayError } from '../contract/errors.ts';
import { publicRequestId } from '../gateway/reply.ts';

/** Fastify's own refusals, by its codes, in our words. */
export function asGatewayError(error: unknown, request: FastifyRequest): GatewayError {
  if (error instanceof GatewayError) return error;
  const { code = '', statusCode } = error as Partial<FastifyError>;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return gatewayError('bodyTooLarge', {
      message: `The body is larger than ${request.routeOptions.bodyLimit} bytes, which is the most that this gateway reads.`,
    });
  }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return mediaTypeError(request.headers['content-type']);
  if (code === 'FST_ERR_CTP_INVALID_CONTENT_LENGTH') {
    return gatewayError('invalidRequest', { message: 'The body is not as long as the Content-Length header says.' });
  }
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
    return gatewayError('invalidRequest', { message: 'The request is not valid HTTP.', cause: error });
  }
  return gatewayError('internal', { message: 'Something went wrong inside the gateway.', cause: error });
}

export function mediaTypeError(contentType: string | undefined): GatewayError {
  const given =
    contentType === undefined ? 'no Content-Type' : `the Content-Type ${JSON.stringify(contentType.slice(0, 100))}`;
  return gatewayError('unsupportedMediaType', {
    message: `The request has ${given}. Send the JSON body with \`Content-Type: application/json\`.`,
  });
}

export function encodingError(encoding: string): GatewayError {
  return gatewayError('unsupportedMediaType', {
    message: `The body comes with the Content-Encoding ${JSON.stringify(encoding.slice(0, 100))}. Send it uncompressed.`,
  });
}

export function sendError(reply: FastifyReply, error: GatewayError): FastifyReply {
  return reply
    .code(error.status)
    .headers({ ...error.headers, 'x-content-type-options': 'nosniff' })
    .type('application/json; charset=utf-8')
    .send(JSON.stringify(error.toBody()));
}

/** A line for what never reached settle, and the stack of what should not have happened. */
export function logRefusal(request: FastifyRequest, error: GatewayError): void {
  const line = {
    request_id: publicRequestId(request.id),
    key: request.principal?.keyId,
    account: request.principal?.accountId,
    endpoint: request.routeOptions.url,
    status: error.status,
    outcome: error.status === 429 ? 'limited' : error.status < 500 ? 'client_error' : 'gateway_error',
    error: error.code ?? error.kind,
  };
  if (error.kind === 'internal') request.log.error({ ...line, err: error.cause }, 'request');
  // A store that fails, a tier that is not configured: only this line tells the operator.
  else if (error.cause instanceof Error && error.status >= 500)
    request.log.warn({ ...line, cause: error.cause.message }, 'request');
  else request.log.info(line, 'request');
}
