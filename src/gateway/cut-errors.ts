/** Why the gateway itself ends a request that runs, as the caller reads it. */
import { gatewayError, type ErrorName, type GatewayError } from '../contract/errors.ts';

const rows = {
  clientDeadline: ['upstreamTimeout', 'The deadline that the client set with X-Stainless-Timeout has passed.'],
  total: ['upstreamTimeout', 'The request took longer than the gateway allows in total.'],
  firstByte: ['upstreamTimeout', 'The provider did not begin to answer in time.'],
  idle: ['upstreamTimeout', 'The provider stopped sending in the middle of its reply.'],
  drain: ['draining', 'The gateway is shutting down. Please try again.'],
  compressed: ['upstreamBadReply', 'The provider compressed its reply although that was not allowed.'],
  tooLarge: ['upstreamBadReply', 'The reply of the provider is too large to relay.'],
  overReservation: [
    'reservationExceeded',
    'The answer is longer than what was reserved for it, and this plan cuts it there. Ask with a larger max_tokens or for less.',
  ],
  leaseLost: ['leaseLost', 'The limits of this key could not be confirmed in time. Please try again.'],
  client: ['clientClosed', 'The client closed the connection.'],
} as const satisfies Record<string, readonly [ErrorName, string]>;

export type CutCause = keyof typeof rows;

export function cutError(cause: CutCause): GatewayError {
  const [kind, message] = rows[cause];
  return gatewayError(kind, { message });
}
