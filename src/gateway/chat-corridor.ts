/**
 * The first half of the corridor for chat: understand the body, resolve the model, ask admission, then relay. Between
 * the admission and the relay stands nothing that can throw. Takes who asks and their bytes; resolves when the reply is
 * over; throws the `GatewayError` to be told. Spec: style 4, "the walk".
 */
import type { ServerResponse } from 'node:http';
import { planAdmission } from '../admission/limits.ts';
import { rateLimitHeaders } from '../admission/rate-limit-headers.ts';
import { refusalError } from '../admission/refusal.ts';
import type { AdmissionEngine } from '../contract/admission.ts';
import { GatewayError, gatewayError } from '../contract/errors.ts';
import type { Principal } from '../contract/flow.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Router } from '../routing/router.ts';
import { estimateInputTokens, estimateOutputTokens } from '../usage/estimate.ts';
import { readChatRequest } from './chat-request.ts';
import type { Flow } from './flow.ts';
import type { Relay } from './relay.ts';
import { openRecord } from './settle.ts';

export type ChatCorridorOptions = { router: Router; engine: AdmissionEngine; relay: Relay; metrics: Metrics };

export type ChatCall = {
  requestId: string;
  startedAtMs: number;
  startedMonotonicMs: number;
  principal: Principal;
  rawBody: Buffer;
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
  const { router, engine, relay, metrics } = options;

  return async function serveChat(call) {
    const request = readChatRequest(call.rawBody);
    const route = router.resolve(request.model, call.principal);
    const inputTokens = estimateInputTokens(request.rawBody);
    const outputTokens = estimateOutputTokens(request.body, route.targets[0].model?.maxOutputTokens ?? null);
    const plan = planAdmission(call.principal, { inputTokens, outputTokens });
    const flow: Flow = { ...call, endpoint, request, route, plan, inputTokens, limitHeaders: {} };
    const decision = await engine.admit({
      id: call.requestId,
      accountId: call.principal.accountId,
      buckets: plan.buckets,
      concurrency: plan.concurrency,
      record: openRecord(flow),
    });
    if (decision.outcome !== 'admitted') {
      metrics.rejections.inc({
        reason: decision.outcome === 'rejected' || decision.outcome === 'never' ? decision.rule : 'unavailable',
      });
      throw refusalError(decision);
    }
    flow.limitHeaders = rateLimitHeaders(decision.buckets);
    call.onAdmitted();
    await relayCounted(flow);
  };

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
