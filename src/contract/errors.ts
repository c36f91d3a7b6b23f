/**
 * The error catalogue: every refusal a caller can see, in one table.
 *
 * `status`, `type` and `code` are what the OpenAI SDKs read to choose an exception class and to decide on a retry.
 * Rooms throw `gatewayError(name, …)`; one handler per protocol renders it. Details that are not for the caller go into
 * `cause`, which only the log sees. Spec: fidelity 3.3, reliability 5 and A7.
 */

export type ErrorType =
  | 'invalid_request_error'
  | 'permission_error'
  | 'requests'
  | 'tokens'
  | 'insufficient_quota'
  | 'server_error';

type CatalogueRow = { status: number; type: ErrorType; code: string | null };

export const errorCatalogue = {
  invalidRequest: { status: 400, type: 'invalid_request_error', code: null },
  malformedJson: { status: 400, type: 'invalid_request_error', code: 'invalid_json' },
  invalidType: { status: 400, type: 'invalid_request_error', code: 'invalid_type' },
  invalidValue: { status: 400, type: 'invalid_request_error', code: 'invalid_value' },
  missingParameter: { status: 400, type: 'invalid_request_error', code: 'missing_required_parameter' },
  duplicateParameter: { status: 400, type: 'invalid_request_error', code: 'duplicate_parameter' },
  unsupportedParameter: { status: 400, type: 'invalid_request_error', code: 'unsupported_parameter' },
  emptyArray: { status: 400, type: 'invalid_request_error', code: 'empty_array' },
  belowMinimum: { status: 400, type: 'invalid_request_error', code: 'integer_below_min_value' },
  aboveMaximum: { status: 400, type: 'invalid_request_error', code: 'integer_above_max_value' },
  decimalBelowMinimum: { status: 400, type: 'invalid_request_error', code: 'decimal_below_min_value' },
  decimalAboveMaximum: { status: 400, type: 'invalid_request_error', code: 'decimal_above_max_value' },
  tooDeep: { status: 400, type: 'invalid_request_error', code: 'nesting_too_deep' },
  contextLengthExceeded: { status: 400, type: 'invalid_request_error', code: 'context_length_exceeded' },
  requestExceedsLimit: { status: 400, type: 'invalid_request_error', code: 'request_exceeds_limit' },
  contentFilter: { status: 400, type: 'invalid_request_error', code: 'content_filter' },
  upstreamRejected: { status: 400, type: 'invalid_request_error', code: null },
  invalidApiKey: { status: 401, type: 'invalid_request_error', code: 'invalid_api_key' },
  permissionDenied: { status: 403, type: 'permission_error', code: 'permission_denied' },
  modelNotFound: { status: 404, type: 'invalid_request_error', code: 'model_not_found' },
  unknownUrl: { status: 404, type: 'invalid_request_error', code: 'unknown_url' },
  methodNotAllowed: { status: 405, type: 'invalid_request_error', code: 'method_not_allowed' },
  requestTimeout: { status: 408, type: 'invalid_request_error', code: 'request_timeout' },
  conflict: { status: 409, type: 'invalid_request_error', code: 'conflict' },
  bodyTooLarge: { status: 413, type: 'invalid_request_error', code: 'request_too_large' },
  unsupportedMediaType: { status: 415, type: 'invalid_request_error', code: 'unsupported_media_type' },
  unprocessable: { status: 422, type: 'invalid_request_error', code: 'unprocessable_entity' },
  requestsLimited: { status: 429, type: 'requests', code: 'rate_limit_exceeded' },
  tokensLimited: { status: 429, type: 'tokens', code: 'rate_limit_exceeded' },
  quotaExceeded: { status: 429, type: 'insufficient_quota', code: 'insufficient_quota' },
  reservationExceeded: { status: 429, type: 'insufficient_quota', code: 'reservation_exceeded' },
  upstreamRateLimited: { status: 429, type: 'requests', code: 'rate_limit_exceeded' },
  clientClosed: { status: 499, type: 'invalid_request_error', code: 'client_closed_request' },
  internal: { status: 500, type: 'server_error', code: null },
  upstreamServerError: { status: 500, type: 'server_error', code: 'upstream_error' },
  upstreamUnreachable: { status: 502, type: 'server_error', code: 'upstream_error' },
  upstreamBadReply: { status: 502, type: 'server_error', code: 'upstream_error' },
  upstreamAuthentication: { status: 502, type: 'server_error', code: 'upstream_authentication' },
  upstreamTruncated: { status: 502, type: 'server_error', code: 'upstream_stream_truncated' },
  upstreamOverloaded: { status: 503, type: 'server_error', code: 'overloaded' },
  authUnavailable: { status: 503, type: 'server_error', code: 'auth_unavailable' },
  limitsUnavailable: { status: 503, type: 'server_error', code: 'limits_unavailable' },
  storeFull: { status: 503, type: 'server_error', code: 'store_full' },
  journalFull: { status: 503, type: 'server_error', code: 'journal_full' },
  leaseLost: { status: 503, type: 'server_error', code: 'lease_lost' },
  draining: { status: 503, type: 'server_error', code: 'gateway_draining' },
  upstreamTimeout: { status: 504, type: 'server_error', code: 'timeout' },
} as const satisfies Record<string, CatalogueRow>;

export type ErrorName = keyof typeof errorCatalogue;

export type ErrorDetails = {
  message: string;
  param?: string | null;
  /** Overrides the catalogue's code, for an upstream's own code that callers branch on. */
  code?: string | null;
  /** Reply headers, in lower case: `retry-after`, `x-should-retry`, … */
  headers?: Readonly<Record<string, string>>;
  /** Further members of the error object that callers read, such as `failed_generation`. */
  extra?: Readonly<Record<string, unknown>>;
  cause?: unknown;
};

export class GatewayError extends Error {
  readonly kind: ErrorName;
  readonly status: number;
  readonly type: ErrorType;
  readonly code: string | null;
  readonly param: string | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly extra: Readonly<Record<string, unknown>> | undefined;

  constructor(kind: ErrorName, details: ErrorDetails) {
    super(details.message, details.cause === undefined ? undefined : { cause: details.cause });
    const row: CatalogueRow = errorCatalogue[kind];
    this.name = 'GatewayError';
    this.kind = kind;
    this.status = row.status;
    this.type = row.type;
    this.code = details.code === undefined ? row.code : details.code;
    this.param = details.param ?? null;
    this.headers = details.headers ?? {};
    this.extra = details.extra;
  }

  /** The same error with further reply headers; its own win. */
  withHeaders(headers: Readonly<Record<string, string>>): GatewayError {
    return new GatewayError(this.kind, {
      message: this.message,
      param: this.param,
      code: this.code,
      headers: { ...headers, ...this.headers },
      cause: this.cause,
      ...(this.extra === undefined ? {} : { extra: this.extra }),
    });
  }

  /** The OpenAI envelope; all four members are always present. */
  toBody(): { error: Record<string, unknown> } {
    return {
      error: { message: this.message, type: this.type, param: this.param, code: this.code, ...this.extra },
    };
  }
}

export function gatewayError(kind: ErrorName, details: ErrorDetails): GatewayError {
  return new GatewayError(kind, details);
}

/** `retry-after` (whole seconds, rounded up, at least 1) with its exact twin; over 60 s the SDKs must not retry by themselves. */
export function retryAfterHeaders(waitMs: number): Record<string, string> {
  const exactMs = Math.max(1, Math.ceil(waitMs));
  const headers: Record<string, string> = {
    'retry-after': String(Math.max(1, Math.ceil(exactMs / 1000))),
    'retry-after-ms': String(exactMs),
  };
  if (exactMs > 60_000) headers['x-should-retry'] = 'false';
  return headers;
}
