/**
 * Errors of Google's services: `{error: {code, message, status, details}}`, sometimes in a list. The text of a throttle
 * speaks of quota and billing, and its wait stands in the details. Spec: fidelity 4.7.
 */
import { gatewayError, retryAfterHeaders, type GatewayError } from '../src/contract/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { blockedPrompt, hasFailed } from './google-answer.ts';
import { objectsIn, textOf } from './json-values.ts';
import { brokenOff, mapError as mapCommon } from './openai-errors.ts';

/** The words of a status that has no number beside it. */
const statusCodes: ReadonlyMap<unknown, number> = new Map([
  ['INVALID_ARGUMENT', 400],
  ['FAILED_PRECONDITION', 400],
  ['OUT_OF_RANGE', 400],
  ['UNAUTHENTICATED', 401],
  ['PERMISSION_DENIED', 403],
  ['NOT_FOUND', 404],
  ['RESOURCE_EXHAUSTED', 429],
  ['INTERNAL', 500],
  ['UNKNOWN', 500],
  ['UNAVAILABLE', 503],
  ['DEADLINE_EXCEEDED', 504],
]);

function errorOf(body: JsonValue | undefined): JsonObject | null {
  const first = Array.isArray(body) ? body.find(isJsonObject) : body;
  if (!isJsonObject(first)) return null;
  const { error } = first;
  return isJsonObject(error) ? error : typeof error === 'string' && error !== '' ? { message: error } : null;
}

function ownStatus({ code, status }: JsonObject): number {
  if (typeof code === 'number' && code >= 400 && code < 600) return code;
  return statusCodes.get(status) ?? 502;
}

/** Names of projects, by name or by number, are the operator's. */
const withoutProjects = (message: string): string =>
  message
    .replaceAll(/\bprojects\/[\w:.-]+/g, 'projects/[redacted]')
    .replaceAll(/\bproject[ =:]+["'`]?(?:\d{6,}|[\w-]+-\d+)["'`]?/gi, 'project [redacted]');

/** How long the service asks to be left alone: `retryDelay` is a number of seconds such as `34.4s`. */
function waitHeaders(error: JsonObject): Record<string, string> {
  const delay = objectsIn(error.details).map(({ retryDelay }) => /^(\d+(?:\.\d+)?)s$/.exec(textOf(retryDelay)));
  const seconds = Number(delay.find((match) => match !== null)?.[1]);
  return Number.isNaN(seconds) ? {} : retryAfterHeaders(seconds * 1000);
}

const isKeyFault = ({ details, message }: JsonObject): boolean =>
  objectsIn(details).some(({ reason }) => /^API_KEY_|^ACCESS_TOKEN_/.test(textOf(reason))) ||
  /api key (?:not valid|expired)/i.test(textOf(message));

/** Who lacks a right on a resource is the gateway, even where the resource is a model. */
const isOwnRight = ({ message }: JsonObject): boolean => /\bdenied on resource\b/i.test(textOf(message));

function mapFault(error: JsonObject, status: number): GatewayError {
  if (isKeyFault(error) || (status === 403 && isOwnRight(error))) return mapCommon(401, undefined);
  const { message } = error;
  const known = mapCommon(
    status,
    status === 429 ? undefined : { error: { message: withoutProjects(textOf(message)) } },
  );
  // A 500 of the provider is not one of the gateway.
  const mapped =
    known.kind === 'upstreamServerError' ? gatewayError('upstreamBadReply', { message: known.message }) : known;
  return status === 429 || status === 503 ? mapped.withHeaders(waitHeaders(error)) : mapped;
}

export function mapError(status: number, body: JsonValue | undefined): GatewayError {
  const error = errorOf(body);
  if (error !== null) return mapFault(error, status >= 400 ? status : ownStatus(error));
  return status === 500 ? mapFault({}, status) : mapCommon(status, body);
}

/** An error inside a reply that claims success: named as one, or an answer that ends in a failure or is none at all. */
export function findError(body: JsonObject, eventName: string): GatewayError | null {
  const error = errorOf(body);
  if (error !== null) return mapFault(error, ownStatus(error));
  if (eventName === 'error') return brokenOff();
  const candidates = objectsIn(body.candidates);
  if (candidates.length === 0) return blockedPrompt(body) === null ? brokenOff() : null;
  return candidates.every(hasFailed) ? brokenOff() : null;
}
