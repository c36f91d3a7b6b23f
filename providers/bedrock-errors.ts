/**
 * Errors of Bedrock: `{message}` with the type in `x-amzn-errortype`, or an exception inside the event stream. Its texts
 * name accounts, users and resources of the operator; only what is wrong with the request is handed on, without them.
 * Spec: fidelity 4.7.
 */
import { gatewayError, type GatewayError } from '../src/contract/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import type { ReplyHeaders } from '../src/contract/provider.ts';
import { objectOf, textOf } from './json-values.ts';
import { brokenOff, mapError as mapCommon } from './openai-errors.ts';
import { isErrorFinish } from './openai-finish.ts';

/** By the type without its ending. What is not in here keeps the status that it came with. */
const statusByType: ReadonlyMap<string, number> = new Map([
  ['validation', 400],
  ['serialization', 400],
  ['accessdenied', 403],
  ['unrecognizedclient', 401],
  ['invalidclienttokenid', 401],
  ['invalidsignature', 401],
  ['signaturedoesnotmatch', 401],
  ['incompletesignature', 401],
  ['missingauthenticationtoken', 401],
  ['expiredtoken', 401],
  ['optinrequired', 401],
  ['notauthorized', 401],
  ['resourcenotfound', 404],
  ['throttling', 429],
  ['toomanyrequests', 429],
  ['servicequotaexceeded', 429],
  ['internalserver', 500],
  ['internalfailure', 500],
  ['serviceunavailable', 503],
  ['modelnotready', 503],
  ['modeltimeout', 504],
  ['modelerror', 502],
  ['modelstreamerror', 502],
  ['unknownoperation', 502],
]);

/** `ValidationException:http://…`, `com.amazon.coral#ThrottlingException`, `internalServerException`. */
function typeName(written: string): string {
  const name = written.split(':')[0]?.split('#').at(-1) ?? '';
  return name
    .trim()
    .toLowerCase()
    .replace(/(?:exception|error)$/, '');
}

function typeOf(body: JsonObject, headers: ReplyHeaders): string {
  const header = headers['x-amzn-errortype'];
  return typeName(typeof header === 'string' ? header : textOf(body.__type));
}

function scrub(message: string): string {
  return message.replaceAll(/\barn:aws[\w-]*:[^\s,"']+/gi, '[redacted]').replaceAll(/\b\d{12}\b/g, '[redacted]');
}

const isAboutTheModel = /access to the model|model access|not authorized to (?:use|access) (?:this|the) model/i;

function denied(message: string): GatewayError {
  if (isAboutTheModel.test(message)) return gatewayError('permissionDenied', { message });
  return mapCommon(401, undefined);
}

function mapFault(status: number, body: JsonObject): GatewayError {
  const message = scrub(textOf(body.message) || textOf(body.Message));
  // 403 is also how a bad key or signature is told.
  if (status === 403) return denied(message);
  const error = mapCommon(status, message === '' ? undefined : { message });
  // A 500 of the provider is not one of the gateway.
  return error.kind === 'upstreamServerError' ? gatewayError('upstreamBadReply', { message: error.message }) : error;
}

export function mapError(status: number, body: JsonValue | undefined, headers: ReplyHeaders = {}): GatewayError {
  const fault = objectOf(body);
  return mapFault(statusByType.get(typeOf(fault, headers)) ?? status, fault);
}

const exceptionMark = 'exception:';

/** An event of the stream that says that the rest will not come; null for every other. */
export function findException(eventName: string, body: JsonObject): GatewayError | null {
  if (!eventName.startsWith(exceptionMark)) return null;
  return mapFault(statusByType.get(typeName(eventName.slice(exceptionMark.length))) ?? 502, body);
}

export function findError(body: JsonObject, eventName: string): GatewayError | null {
  const exception = findException(eventName, body);
  if (exception !== null) return exception;
  const message = objectOf(body.output).message;
  // A good reply always has a message, so whatever this is, it is no answer.
  if (!isJsonObject(message)) return mapError(502, body);
  const hasOutput = Array.isArray(message.content) && message.content.length > 0;
  return isErrorFinish(body.stopReason, hasOutput) ? brokenOff() : null;
}
