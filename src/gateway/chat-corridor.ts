/**
 * The first half of the corridor for chat: understand the body, resolve the model, ask admission, then relay. Between
 * the admission and the relay stands nothing that can throw. Takes who asks and their bytes; resolves when the reply is
 * over; throws the `GatewayError` to be told. Spec: style 4, "the walk".
 */
import type { ServerResponse } from 'node:http';
import { endlessLease } from '../admission/endless-lease.ts';
import { chargeableRoute, planAdmission } from '../admission/limits.ts';
import { rateLimitHeaders } from '../admission/rate-limit-headers.ts';
import type { AdmitRequest } from '../contract/admission.ts';
import { GatewayError, gatewayError } from '../contract/errors.ts';
import type { Principal, Route, Target } from '../contract/flow.ts';
import type { JsonObject } from '../contract/json.ts';
import { ratesFor } from '../contract/price.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Router } from '../routing/router.ts';
import { estimateInputTokens, estimateOutputTokens } from '../usage/estimate.ts';
import { type AdmissionGate, authStamp } from './admission-gate.ts';
import { type ChatRequest, readChatRequest } from './chat-request.ts';
import type { Flow } from './flow.ts';
import type { Relay } from './relay.ts';
import { openRecord } from './settle.ts';

export type ChatCorridorOptions = {
  /** For every request: refuse what would be dropped. */
  isStrict: boolean;
  /** Output tokens beyond what the caller asks for that the target's adapter would allow. */
  outputAllowance: (target: Target, body: JsonObject) => number;
  router: Router;
  gate: AdmissionGate;
  relay: Relay;
  metrics: Metrics;
};

export type ChatCall = {
  requestId: string;
  startedAtMs: number;
  startedMonotonicMs: number;
  principal: Principal;
  /** The principal as the primary knows it now; throws what to tell when there is none. */
  reload(): Promise<Principal>;
  rawBody: Buffer;
  /** Asked for by the request itself. */
  isStrict: boolean;
  deadlineMs: number | null;
  client: ServerResponse;
  /** From here on settle tells what became of the request. */
  onAdmitted(): void;
  takeOver(): void;
};

const endpoint = 'chat.completions';

export type ChatCorridor = (call: ChatCall) => Promise<void>;

export function createChatCorridor(options: ChatCorridorOptions): ChatCorridor {
  const { router, gate, relay, metrics } = options;

  return async function serveChat(call) {
    const request = readChatRequest(call.rawBody);
    const inputTokens = estimateInputTokens(request.rawBody);
    const { prepared, admitted, lease } = await gate.enter(call, prepare);
    const { flow } = prepared;
    flow.lease = lease;
    flow.limitHeaders = {
      ...rateLimitHeaders(admitted.buckets),
      ...(admitted.degraded === undefined ? {} : { 'x-tollgate-degraded': admitted.degraded }),
    };
    call.onAdmitted();
    await relayCounted(flow);

    function prepare(principal: Principal): { flow: Flow; ask: AdmitRequest } {
      const route = chargeableRoute(router.resolve(request.model, principal), principal);
      const prices = route.targets.map(({ model }) => model?.price ?? null);
      const plan = planAdmission(principal, { inputTokens, outputTokens: mostOutputTokens(request, route), prices });
      const isStrict = call.isStrict || options.isStrict || principal.isStrict === true;
      const flow: Flow = {
        ...call,
        isStrict,
        principal,
        endpoint,
        request,
        route,
        plan,
        inputTokens,
        lease: endlessLease,
        limitHeaders: {},
      };
      return { flow, ask: askOf(flow) };
    }
  };

  /** Of any target: what the caller asks for, and what the adapter allows beyond it. */
  function mostOutputTokens({ body }: ChatRequest, { targets }: Route): number {
    const each = targets.map((target) => {
      const asked = estimateOutputTokens(body, target.model?.maxOutputTokens ?? null);
      return asked + options.outputAllowance(target, body);
    });
    return Math.max(...each);
  }

  async function relayCounted(flow: Flow): Promise<void> {
    const labels = { kind: flow.request.stream ? 'stream' : 'unary' };
    metrics.inflight.inc(labels);
    try {
      await relay(flow);
    } catch (error) {
      // The caller's limits are told with a failed reply as well: it has cost a request.
      throw error instanceof GatewayError
        ? error.withHeaders(flow.limitHeaders)
        : gatewayError('internal', { message: 'Something went wrong inside the gateway.', cause: error });
    } finally {
      metrics.inflight.dec(labels);
    }
  }
}

/** Which target answers is not known yet. */

function askOf(flow: Flow): AdmitRequest {
  const { plan, principal } = flow;
  const price = flow.route.targets[0].model?.price ?? null;
  const record = openRecord(flow);
  return {
    id: flow.requestId,
    accountId: principal.accountId,
    buckets: plan.buckets,
    concurrency: plan.concurrency,
    budgets: plan.budgets,
    auth: authStamp(principal),
    record,
    ...(price === null ? {} : { outputPicoUsd: ratesFor(price, record.usage.promptTokens).output }),
  };
}
