/**
 * The corridor. From an admitted flow to its end: for each target until one answers, adapt, send, pipe, meter; then one
 * `finally` that settles once. It awaits the end of the pipe, not the handing over of a stream. Another target is tried
 * only while the caller has seen nothing. Throws the `GatewayError` that the caller must be told, when nothing was sent.
 * Spec: DESIGN 2 "The corridor", reliability 2.4.
 */
import type { Timeouts } from '../config/types.ts';
import { gatewayError, GatewayError } from '../contract/errors.ts';
import type { Target } from '../contract/flow.ts';
import type { JsonObject } from '../contract/json.ts';
import type { Asset, ChatEndpoint, RequestEdit, RequestRewrite } from '../contract/provider.ts';
import type { AssetFetch } from '../upstream/asset-fetch.ts';
import type { RequestHeaders } from '../upstream/credentials.ts';
import type { UpstreamCall, UpstreamClient } from '../upstream/client.ts';
import { playScript } from '../upstream/scripted.ts';
import { upstreamBody } from './body-edit.ts';
import type { AttemptResult } from './attempt.ts';
import { Exchange } from './exchange.ts';
import { newOutcome, type Flow, type Outcome } from './flow.ts';
import type { Provider } from './providers.ts';
import { createReplySteps } from './reply.ts';
import { isWorthAnotherTarget, withRetryAdvice } from './retry.ts';
import type { Watchdog } from './watchdog.ts';

export type RelayOptions = {
  providers: ReadonlyMap<string, Provider>;
  upstream: UpstreamClient;
  assets: AssetFetch;
  timeouts: Timeouts;
  watchdog: Watchdog;
  randomId(): string;
  /** The request has left for an upstream. */
  onDispatched(flow: Flow): void;
  onProgress(flow: Flow, outputTokens: number): void;
  /** Tells what happened to one attempt. */
  onAttempt(target: Target, result: AttemptResult, hasNext: boolean): void;
  /** The one exit: called exactly once for each flow. */
  settle: (flow: Flow, outcome: Outcome) => void;
};

export type Relay = (flow: Flow) => Promise<void>;

export function createRelay(options: RelayOptions): Relay {
  const { settle } = options;

  return async function relay(flow) {
    const outcome = newOutcome();
    try {
      await deliver(flow, outcome);
    } catch (error) {
      outcome.error =
        error instanceof GatewayError
          ? error
          : gatewayError('internal', { message: 'Something went wrong inside the gateway.', cause: error });
      throw outcome.error;
    } finally {
      settle(flow, outcome);
    }
  };

  async function deliver(flow: Flow, outcome: Outcome): Promise<void> {
    const { targets } = flow.route;
    let lastError: GatewayError | null = null;
    for (const [index, target] of targets.entries()) {
      if (flow.client.destroyed) {
        outcome.ending = 'client_abort';
        outcome.httpStatus = 499;
        return;
      }
      const result = await attempt(flow, target, outcome);
      const hasNext = index + 1 < targets.length && isWorthAnotherTarget(result);
      options.onAttempt(target, result, hasNext);
      if (result.error === null || result.hasStarted || isCut(result)) return;
      lastError = result.error;
      if (!hasNext) break;
    }
    if (lastError !== null) throw lastError;
  }

  async function attempt(flow: Flow, target: Target, outcome: Outcome): Promise<AttemptResult> {
    const provider = options.providers.get(target.providerId);
    const endpoint = provider?.adapter.endpoints.chat;
    if (provider === undefined || endpoint === undefined) {
      throw gatewayError('modelNotFound', { message: `\`${flow.route.publicModel}\` does not serve this endpoint.` });
    }
    const startedMs = performance.now();
    const urls = endpoint.assets?.(flow.request.body, target) ?? [];
    const assets = urls.length === 0 ? undefined : await options.assets.fetch(urls);
    const edit = adapt(flow, { target, endpoint, assets });
    const exchange = send(flow, { target, provider, endpoint, edit }, outcome);
    const raw = await exchange.result;
    const { isDispatched } = raw;
    const result =
      raw.error === null
        ? raw
        : { ...raw, error: withRetryAdvice(raw.error, exchange.upstreamHeaders, { isDispatched }) };
    outcome.attempts.push({
      provider: target.providerId,
      model: target.upstreamModel,
      status: result.upstreamStatus,
      errorCode: result.error === null ? null : (result.error.code ?? result.error.kind),
      durationMs: Math.round(performance.now() - startedMs),
    });
    record(flow, outcome, target, result);
    return result;
  }

  type Adapting = { target: Target; endpoint: ChatEndpoint; assets: ReadonlyMap<string, Asset> | undefined };

  function adapt(flow: Flow, { target, endpoint, assets }: Adapting): RequestEdit | RequestRewrite {
    const edit = endpoint.request(flow.request.body, target, assets);
    const [dropped] = edit.dropped;
    if (dropped === undefined || !flow.isStrict) return edit;
    const param = dropped.replace(/\(.*$/s, '');
    throw gatewayError('unsupportedParameter', {
      message: `The model \`${flow.route.publicModel}\` does not support \`${param}\`, and strict mode was asked for. Leave it out or choose another model.`,
      param,
    });
  }

  type Sending = { target: Target; provider: Provider; endpoint: ChatEndpoint; edit: RequestEdit | RequestRewrite };

  function send(flow: Flow, sending: Sending, outcome: Outcome): Exchange {
    const { target, provider, endpoint, edit } = sending;
    const credentials = provider.credentialsFor(flow.principal);
    const context = {
      publicModel: flow.route.publicModel,
      includeUsage: flow.request.includeUsage || !flow.request.stream,
      created: Math.floor(flow.startedAtMs / 1000),
      randomId: () => options.randomId(),
      request: flow.request.body,
      target,
      ...('body' in edit ? { sent: edit.body } : {}),
    };
    const steps = createReplySteps({
      flow,
      target,
      adapter: provider.adapter,
      endpoint,
      context,
      dropped: edit.dropped,
      attempt: outcome.attempts.length + 1,
      onOverhead: (micros) => {
        outcome.overheadMicros = micros;
      },
      onDispatched: () => options.onDispatched(flow),
      onProgress: (outputTokens) => options.onProgress(flow, outputTokens),
    });
    const exchange = new Exchange({ flow, steps, timeouts: options.timeouts, watchdog: options.watchdog });
    if (flow.client.destroyed) {
      // Left while their files were fetched: nothing may be sent that somebody would have to pay.
      exchange.attach(neverSent);
      return exchange;
    }
    const streamsUpstream = 'body' in edit && edit.streamsUpstream === true;
    const path = endpoint.path(target, flow.request.stream || streamsUpstream);
    const body = upstreamBody(flow.request, edit);
    const extraHeaders = 'body' in edit ? (edit.headers ?? none) : none;
    if (provider.adapter.answer !== undefined) {
      const script = provider.adapter.answer({ path, body: JSON.parse(body.toString()) as JsonObject, context });
      exchange.attach(playScript(script, exchange));
      return exchange;
    }
    const { origin, allowPrivate } = provider;

    const request = { origin, path: provider.basePath + path, body };
    const headers = credentials.headersFor({ ...request, headers: extraHeaders });
    if (headers instanceof Promise) {
      // Whoever left while a token was fetched is not asked for any more.
      headers.then(
        (ready) => {
          if (!exchange.isOver) dispatch(ready);
        },
        (error: unknown) => {
          exchange.onFailure({ kind: 'unauthorised', cause: error });
        },
      );
    } else dispatch(headers);
    return exchange;

    function dispatch(ready: RequestHeaders): void {
      const all = extraHeaders === none ? ready : { ...ready, ...extraHeaders };
      exchange.attach(options.upstream.send({ ...request, allowPrivate, headers: all }, exchange));
    }
  }

  function record(flow: Flow, outcome: Outcome, target: Target, result: AttemptResult): void {
    outcome.ending = result.ending;
    outcome.target = target;
    outcome.isDispatched ||= result.isDispatched;
    outcome.error = result.error;
    outcome.usage = result.usage;
    outcome.outputTokens = result.outputTokens;
    outcome.isLeaseLost ||= result.isLeaseLost;
    outcome.httpStatus = statusOf(result);
    if (result.firstByteAtMs !== null) outcome.ttftMs = result.firstByteAtMs - flow.startedMonotonicMs;
  }
}

const none: RequestHeaders = {};
const nothing = (): void => undefined;
const neverSent: UpstreamCall = { pause: nothing, resume: nothing, abort: nothing };

/** What the caller saw: a stream that broke off had begun with 200, a client that left saw nothing more. */
function statusOf(result: AttemptResult): number {
  if (result.error === null || (result.hasStarted && !isCut(result))) return 200;
  return result.error.status;
}

const isCut = (result: AttemptResult): boolean => result.ending === 'client_abort' || result.ending === 'client_stall';
