/**
 * Errors of OpenAI-shaped upstreams, in all the forms seen in the field, mapped to the catalogue. The caller's own
 * mistakes pass with the provider's words; whatever concerns the operator (credentials, bills, hosts) never does.
 * Spec: fidelity 2.4, 3.3, 9.
 */
import { gatewayError, type ErrorName, type GatewayError } from '../src/contract/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../src/contract/json.ts';
import { isErrorFinish } from './openai-finish.ts';

/** What all the forms have in common once they are unwrapped. */
type Fault = { message: string; type: string; code: string; param: string | null; status: number; details: JsonObject };

const overflowPhrases =
  /prompt is too long|input is too long for requested model|exceed context limit|maximum context length is|maximum context limit|is longer than the model's context length|input tokens exceed the configured limit|`inputs` tokens \+ `max_new_tokens` must be|exceeds the available context size|exceeds the maximum number of tokens allowed|current length is .* while limit is/i;
const billingPhrases =
  /credit balance is too low|insufficient[ _](?:quota|balance|credits?|funds)|exceeded your current quota/i;
const overloadPhrases = /overloaded|temporarily unavailable|currently unavailable|at capacity|slow down/i;
const missingModelPhrases =
  /model identifier is invalid|model .*(?:does not exist|not found)|deployment .*does not exist/i;

/** Words in `type` and `code` that stand for a status; the first match wins, so the narrow ones come first. */
const statusWords: readonly (readonly [RegExp, number])[] = [
  [/insufficient_?quota|billing|payment|balance/i, 402],
  [/invalid_?api_?key|authentication|unauthori[sz]ed|unauthenticated/i, 401],
  [/permission|forbidden|access_?denied/i, 403],
  [/not_?found/i, 404],
  [/too_?large/i, 413],
  [/rate_?limit|too_?many|throttl|resource_?exhausted|^requests$|^tokens$/i, 429],
  [/overloaded|unavailable|capacity/i, 503],
  [/time_?out|deadline/i, 504],
  [/context_length|content_filter|content_policy|invalid|bad_?request|unsupported|tool_use_failed|validation/i, 400],
  [/server_?error|internal|api_?error/i, 500],
];

const text = (value: JsonValue | undefined): string => (typeof value === 'string' ? value : '');

/** FastAPI answers `detail` with a sentence or with a list of `{loc, msg}`. */
function detailText(detail: JsonValue | undefined): string {
  if (!Array.isArray(detail)) return text(detail);
  return detail
    .filter(isJsonObject)
    .map(({ loc, msg }) => [Array.isArray(loc) ? loc.map(String).join('.') : '', text(msg)].filter(Boolean).join(': '))
    .join('; ');
}

function statusNumber(...values: (JsonValue | undefined)[]): number {
  for (const value of values) {
    const status = typeof value === 'string' && /^\d{3}$/.test(value) ? Number(value) : value;
    if (typeof status === 'number' && Number.isInteger(status) && status >= 400 && status < 600) return status;
  }
  return 0;
}

function faultOf(error: JsonObject, parent: JsonObject): Fault {
  const fault = isJsonObject(error.fault) ? error.fault : error;
  return {
    message: text(fault.message) || text(fault.faultstring) || text(fault.error) || detailText(error.detail),
    type: text(fault.type) || text(fault.status),
    code: text(fault.code) || text(parent.code),
    param: text(fault.param) || null,
    status: statusNumber(fault.code, fault.status_code, fault.status, parent.code, parent.status),
    details: fault,
  };
}

/** Unwraps every known form; null when the value shows none. */
function findFault(value: JsonValue | undefined): Fault | null {
  const body = Array.isArray(value) ? value.find(isJsonObject) : value;
  if (!isJsonObject(body)) return null;
  const { error } = body;
  if (isJsonObject(error)) return faultOf(error, body);
  if (typeof error === 'string' && error !== '') return faultOf({ ...body, message: error }, body);
  if (error !== undefined && error !== null && error !== false && error !== '') return faultOf({}, body);
  if (body.object === 'error' || body.type === 'error') return faultOf(body, body);
  if (Array.isArray(body.choices)) return null;
  const isFlat = isJsonObject(body.fault) || body.detail !== undefined || typeof body.message === 'string';
  return isFlat ? faultOf(body, body) : null;
}

/** The status that the fault itself names: by number, else by the words of its code and type, else by its text. */
function ownStatus(fault: Fault): number {
  if (fault.status > 0) return fault.status;
  for (const [pattern, status] of statusWords) {
    if (pattern.test(fault.code) || pattern.test(fault.type)) return status;
  }
  return overloadPhrases.test(`${fault.code} ${fault.message}`) ? 503 : 0;
}

/** Organisation ids, keys, addresses and hosts belong to the operator. */
export function scrub(message: string): string {
  return message
    .replaceAll(/\b(?:sk|pk|rk|gsk|key)[-_][\w*.-]{3,}/gi, '[redacted]')
    .replaceAll(/\b(?:org|proj)[-_][A-Za-z0-9]{3,}/g, '[redacted]')
    .replaceAll(/\bbearer\s+\S+/gi, '[redacted]')
    .replaceAll(/\bhttps?:\/\/\S+/gi, '[redacted]')
    .replaceAll(/\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b/g, '[redacted]')
    .replaceAll(/\b[a-z0-9-]+(?:\.[a-z0-9-]+)*:\d{2,5}\b/gi, (host) => (/[a-z]/i.test(host) ? '[redacted]' : host))
    .slice(0, 4000);
}

function scrubDeep(value: JsonValue | undefined): JsonValue | undefined {
  if (typeof value === 'string') return scrub(value);
  if (Array.isArray(value)) return value.map((item) => scrubDeep(item) ?? null);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, scrubDeep(item)]));
}

/** Members beside the usual four that callers of one vendor read. */
function vendorDetails(details: JsonObject): JsonObject {
  const kept: JsonObject = {};
  for (const key of ['failed_generation', 'innererror']) {
    if (details[key] !== undefined) kept[key] = scrubDeep(details[key]);
  }
  const raw = isJsonObject(details.metadata) ? details.metadata.raw : undefined;
  if (raw !== undefined) kept.metadata = { raw: scrubDeep(raw) };
  return kept;
}

const noRetry = { 'x-should-retry': 'false' };

/** The operator's troubles: a fixed sentence, nothing of the upstream's. */
const operatorFault = (kind: ErrorName, message: string, code?: string): GatewayError =>
  gatewayError(kind, { message, headers: noRetry, ...(code === undefined ? {} : { code }) });

const billing = (): GatewayError =>
  operatorFault(
    'upstreamAuthentication',
    "The gateway's account at the provider is out of credit.",
    'upstream_billing',
  );

const credentials = (): GatewayError =>
  operatorFault('upstreamAuthentication', "The provider refused the gateway's credentials.");

function callerFault(kind: ErrorName, fault: Fault, code?: string | null): GatewayError {
  const details = vendorDetails(fault.details);
  return gatewayError(kind, {
    message: scrub(fault.message) || 'The provider refused the request.',
    param: fault.param,
    ...(code === undefined ? {} : { code }),
    ...(Object.keys(details).length > 0 ? { extra: details } : {}),
  });
}

/** A status in words is not a code that callers branch on. */
const callerCode = (fault: Fault): string | null => (/^[a-z][a-z0-9_.]*$/.test(fault.code) ? fault.code : null);

function isContentFilter(fault: Fault): boolean {
  const inner = fault.details.innererror;
  return fault.code === 'content_filter' || (isJsonObject(inner) && inner.code === 'ResponsibleAIPolicyViolation');
}

function rejectedRequest(fault: Fault, status: number): GatewayError {
  if (overflowPhrases.test(fault.message) || fault.code === 'context_length_exceeded') {
    return callerFault('contextLengthExceeded', fault);
  }
  if (billingPhrases.test(fault.message)) return billing();
  if (isContentFilter(fault)) return callerFault('contentFilter', fault);
  if (fault.code === 'model_not_found' || missingModelPhrases.test(fault.message)) {
    return callerFault('modelNotFound', fault);
  }
  if (status === 413) return callerFault('bodyTooLarge', fault);
  if (status === 422) return callerFault('unprocessable', fault, callerCode(fault) ?? 'unprocessable_entity');
  if (status === 409) return callerFault('conflict', fault, callerCode(fault) ?? 'conflict');
  return callerFault('upstreamRejected', fault, callerCode(fault));
}

function mapFault(fault: Fault, status: number): GatewayError {
  switch (status) {
    case 401:
    case 407:
      return credentials();
    case 402:
      return billing();
    case 403:
      if (billingPhrases.test(fault.message)) return billing();
      if (/model/i.test(`${fault.code} ${fault.message}`)) {
        return callerFault('permissionDenied', fault, callerCode(fault) ?? 'permission_denied');
      }
      return credentials();
    case 404:
      return callerFault('modelNotFound', fault);
    case 400:
    case 409:
    case 413:
    case 415:
    case 422:
      return rejectedRequest(fault, status);
    case 429:
      if (billingPhrases.test(`${fault.code} ${fault.type} ${fault.message}`)) return billing();
      return gatewayError('upstreamRateLimited', { message: 'The provider is limiting requests to this model.' });
    default:
      return mapStatus(status, overloadPhrases.test(fault.message));
  }
}

/** By status alone, for a body that says nothing and for faults on the provider's side. */
function mapStatus(status: number, soundsOverloaded = false): GatewayError {
  if (status === 401 || status === 403 || status === 407) return credentials();
  if (status === 402) return billing();
  if (status === 429) {
    return gatewayError('upstreamRateLimited', { message: 'The provider is limiting requests to this model.' });
  }
  if (status === 413) return gatewayError('bodyTooLarge', { message: 'The provider refused a request of this size.' });
  if (status === 408 || status === 504 || status === 524) {
    return gatewayError('upstreamTimeout', { message: 'The provider did not answer in time.' });
  }
  if (status === 503 || status === 529 || status === 498 || soundsOverloaded) {
    return gatewayError('upstreamOverloaded', { message: 'The provider is overloaded. Please try again later.' });
  }
  if (status === 500) return gatewayError('upstreamServerError', { message: 'The provider had an internal error.' });
  return gatewayError('upstreamBadReply', { message: 'The provider answered with an error that it did not explain.' });
}

export function mapError(status: number, body: JsonValue | undefined): GatewayError {
  const fault = findFault(body);
  if (fault === null) return mapStatus(status);
  // An error inside a reply that claims success has only its own words; without any it is trouble on the other side.
  return mapFault(fault, status >= 400 ? status : ownStatus(fault) || 502);
}

/** An error inside a reply that claims success: in the whole body, in a stream event, or as a finish reason. */
export function findError(body: JsonObject, eventName: string): GatewayError | null {
  const fault = findFault(body);
  if (fault !== null) {
    // `{code, error: "text"}` without a known word is how one vendor reports that it cannot serve right now.
    const isBareText = typeof body.error === 'string' && typeof body.code === 'string';
    return mapFault(fault, ownStatus(fault) || (isBareText ? 503 : 502));
  }
  if (eventName === 'error') return mapStatus(502);
  const choices = Array.isArray(body.choices) ? body.choices.filter(isJsonObject) : [];
  const hasFailed = choices.some((choice) => isErrorFinish(choice.finish_reason, hasOutput(choice)));
  return hasFailed ? brokenOff() : null;
}

/** In a stream the output came before the finish: there the translator asks this question with what it has seen. */
function hasOutput(choice: JsonObject): boolean {
  if (!isJsonObject(choice.message)) return true;
  const { content, tool_calls: toolCalls } = choice.message;
  return (typeof content === 'string' && content !== '') || (Array.isArray(toolCalls) && toolCalls.length > 0);
}

export function brokenOff(): GatewayError {
  return gatewayError('upstreamBadReply', { message: 'The provider broke off the answer with an error.' });
}
