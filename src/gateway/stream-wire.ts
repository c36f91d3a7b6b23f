/** What the gateway itself says on a stream, and how it tells a stream from a reply. */
import type { IncomingHttpHeaders } from 'node:http';
import { gatewayError, type GatewayError } from '../contract/errors.ts';
import { amazonEventStreamType } from '../upstream/amazon-event-stream.ts';
import type { UpstreamFailure } from '../upstream/client.ts';

export const keepAliveComment = ': ping\n\n';

/** The blank line is what makes the SDKs raise it; no end marker follows an error. */
export function errorFrame(error: GatewayError): string {
  return `data: ${JSON.stringify(error.toBody())}\n\n`;
}

export function isEventStream(headers: IncomingHttpHeaders): boolean {
  const type = headers['content-type']?.toLowerCase() ?? '';
  return type.startsWith('text/event-stream') || type.startsWith(amazonEventStreamType);
}

/** Some proxies lose the content type; the first bytes tell. */
export function beginsLikeEvents(chunk: Buffer): boolean {
  return /^(?:\uFEFF)?\s*(?:data:|event:|id:|retry:|:)/.test(chunk.toString('utf8', 0, 32));
}

export function failureError(failure: UpstreamFailure): GatewayError {
  switch (failure.kind) {
    case 'connect_timeout':
      return gatewayError('upstreamTimeout', {
        message: 'The provider could not be reached in time.',
        cause: failure.cause,
      });
    case 'unauthorised':
      return gatewayError('upstreamAuthentication', {
        message: 'The gateway has no valid credential for this provider. Its operator must mend that.',
        cause: failure.cause,
      });
    case 'unreachable':
    case 'private_address':
      return gatewayError('upstreamUnreachable', {
        message: 'The provider could not be reached.',
        cause: failure.cause,
      });
    case 'reset':
    case 'aborted':
      return gatewayError('upstreamUnreachable', {
        message: 'The provider closed the connection before it answered.',
        cause: failure.cause,
      });
  }
}

/** The end of a stream that was not complete. Before the first byte it is as if there had been no answer. */
export function truncationError(
  failure: UpstreamFailure | null,
  { hasStarted }: { hasStarted: boolean },
): GatewayError {
  if (failure !== null && !hasStarted) return failureError(failure);
  return gatewayError('upstreamTruncated', {
    message: 'The stream of the provider broke off before it was complete.',
    cause: failure?.cause,
  });
}
