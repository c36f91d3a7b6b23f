/** One request on its way through the corridor: what is fixed before the first attempt, and what becomes of it. */
import type { ServerResponse } from 'node:http';
import type { AdmissionPlan } from '../admission/limits.ts';
import type { Lease } from '../contract/admission.ts';
import type { GatewayError } from '../contract/errors.ts';
import type { Attempt, Principal, Route, Target, Usage, UsageStatus } from '../contract/flow.ts';
import type { ChatRequest } from './chat-request.ts';

export type Flow = {
  /** UUIDv7; callers see it as `req_` and 32 hex digits. */
  requestId: string;
  startedAtMs: number;
  /** `performance.now()` at the first byte of the request. */
  startedMonotonicMs: number;
  endpoint: string;
  principal: Principal;
  /** The principal as the primary knows it now; throws what to tell when there is none. */
  reload(): Promise<Principal>;
  request: ChatRequest;
  route: Route;
  plan: AdmissionPlan;
  lease: Lease;
  inputTokens: number;
  /** The six `x-ratelimit-*` headers of the admission decision. */
  limitHeaders: Readonly<Record<string, string>>;
  /** Refuse what would otherwise be dropped and reported. */
  isStrict: boolean;
  /** The caller's own deadline, from `x-stainless-timeout`; it only ever shortens ours. */
  deadlineMs: number | null;
  client: ServerResponse;
  /** From here on the corridor writes to `client` itself. */
  takeOver(): void;
};

/** Why an admitted request ended. */
export type Ending =
  | 'complete'
  | 'refused'
  | 'upstream_failed'
  | 'upstream_timeout'
  | 'client_abort'
  | 'client_stall'
  | 'total_timeout'
  | 'drained'
  | 'revoked'
  | 'capped'
  | 'lease_lost';

/** Filled in while the request runs; read once, by settle. */
export type Outcome = {
  ending: Ending;
  target: Target | null;
  isDispatched: boolean;
  httpStatus: number;
  error: GatewayError | null;
  usage: Usage | null;
  outputTokens: number;
  ttftMs: number | null;
  /** Its slot may have been somebody else's for a time: the lease ran out and could not be renewed. */
  isLeaseLost: boolean;
  overheadMicros: number;
  attempts: Attempt[];
};

export function newOutcome(): Outcome {
  return {
    ending: 'refused',
    target: null,
    isDispatched: false,
    httpStatus: 0,
    error: null,
    usage: null,
    outputTokens: 0,
    ttftMs: null,
    isLeaseLost: false,
    overheadMicros: 0,
    attempts: [],
  };
}

export const cutStatuses: Partial<Record<Ending, UsageStatus>> = {
  client_abort: 'client_abort',
  client_stall: 'client_stall',
  total_timeout: 'total_timeout',
  drained: 'drained',
  revoked: 'revoked',
  capped: 'capped',
  lease_lost: 'lease_lost',
};
