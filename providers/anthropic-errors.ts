/** Errors of the Messages API. Its words are known to the common reader; only an internal error has a status of its own. Spec: fidelity 4.7. */
import { gatewayError, type GatewayError } from '../src/contract/errors.ts';
import type { JsonObject, JsonValue } from '../src/contract/json.ts';
import { findError as findCommon, mapError as mapCommon } from './openai-errors.ts';

/** A 500 of the provider is not one of the gateway. */
function translated(error: GatewayError): GatewayError {
  return error.kind === 'upstreamServerError' ? gatewayError('upstreamBadReply', { message: error.message }) : error;
}

export const mapError = (status: number, body: JsonValue | undefined): GatewayError =>
  translated(mapCommon(status, body));

export function findError(body: JsonObject, eventName: string): GatewayError | null {
  const error = findCommon(body, eventName);
  return error === null ? null : translated(error);
}
