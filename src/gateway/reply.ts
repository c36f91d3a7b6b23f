/** From the upstream's reply to the caller's: headers of ours only, the adapter's changes, in-band errors, the cost. */
import type { IncomingHttpHeaders } from 'node:http';
import { gatewayError, type GatewayError } from '../contract/errors.ts';
import type { Target, Usage } from '../contract/flow.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../contract/json.ts';
import type { ChatEndpoint, ProviderAdapter, ReplyContext, SseEvent } from '../contract/provider.ts';
import { AmazonEventStreamReader } from '../upstream/amazon-event-stream.ts';
import { SseReader } from '../upstream/sse.ts';
import { costPicoUsd, shortUsd } from '../usage/price.ts';
import type { CollectedReply, ExchangeSteps, FinishedReply } from './attempt.ts';
import { ChunkSum } from './chunk-sum.ts';
import type { Flow } from './flow.ts';
import { outputCapTokens } from './output-cap.ts';
import { PassthroughPipe } from './passthrough-pipe.ts';
import { TranslatedPipe } from './translated-pipe.ts';

export type ReplyOptions = {
  flow: Flow;
  target: Target;
  adapter: ProviderAdapter;
  endpoint: ChatEndpoint;
  context: ReplyContext;
  /** Parameters that did not go upstream. */
  dropped: readonly string[];
  /** 1 for the first. */
  attempt: number;
  onOverhead(micros: number): void;
  onDispatched(): void;
  onProgress(outputTokens: number): void;
};

export function createReplySteps(options: ReplyOptions): ExchangeSteps {
  const { flow, target, adapter, endpoint, context, dropped } = options;
  const sum = flow.request.stream ? null : new ChunkSum();
  const sentAtMs = performance.now();
  const beforeSendMs = sentAtMs - flow.startedMonotonicMs;

  /** A flat list of names and values: Node writes it as it is, and no object is built only to be taken apart again. */
  function commonHeaders(upstream: IncomingHttpHeaders, answeredAtMs: number): string[] {
    const nowMs = performance.now();
    const overheadMicros = Math.round((beforeSendMs + (nowMs - answeredAtMs)) * 1000);
    options.onOverhead(overheadMicros);
    const headers = [
      'x-request-id',
      publicRequestId(flow.requestId),
      'openai-processing-ms',
      String(Math.round(nowMs - flow.startedMonotonicMs)),
      'openai-version',
      '2020-10-01',
      'x-content-type-options',
      'nosniff',
      'x-tollgate-provider',
      target.providerId,
      'x-tollgate-model',
      headerText(`${target.providerId}/${target.upstreamModel}`),
      'x-tollgate-attempts',
      String(options.attempt),
      'x-tollgate-overhead-us',
      String(overheadMicros),
    ];
    for (const name in flow.limitHeaders) headers.push(name, flow.limitHeaders[name] ?? '');
    const upstreamId = upstream['x-request-id'] ?? upstream['request-id'] ?? upstream['x-amzn-requestid'];
    if (typeof upstreamId === 'string' && /^[\x21-\x7e]{1,200}$/.test(upstreamId)) {
      headers.push('x-tollgate-upstream-request-id', upstreamId);
    }
    if (dropped.length > 0) headers.push('x-tollgate-dropped-params', droppedText(dropped));
    return headers;
  }

  function unaryReply(upstream: IncomingHttpHeaders, { body, usage, answeredAtMs }: UnaryReply): FinishedReply {
    const headers = commonHeaders(upstream, answeredAtMs);
    headers.push('content-type', 'application/json', 'content-length', String(body.length));
    if (usage !== null) {
      headers.push('x-tollgate-cost-usd', shortUsd(costPicoUsd(usage, target.model?.price ?? null)));
    }
    return { headers, body, usage };
  }

  return {
    onDispatched: () => options.onDispatched(),
    onProgress: (outputTokens) => options.onProgress(outputTokens),
    outputCapTokens: outputCapTokens(flow, target),

    openPipe() {
      const translator = endpoint.stream?.(context);
      if (translator !== undefined) {
        const reader = endpoint.framing === 'amazon-event-stream' ? new AmazonEventStreamReader() : new SseReader();
        return new TranslatedPipe({
          translator,
          reader,
          ...(sum === null ? {} : { show: (event) => collect(sum, event) }),
        });
      }
      if (sum !== null) throw badReply('The provider answered with a stream that was not asked for.');
      return new PassthroughPipe({
        cutUsage: !flow.request.includeUsage,
        findError: (body, eventName) => adapter.findError(body, eventName),
        readUsage: (body) => endpoint.usage(body),
      });
    },

    streamHeaders(upstream) {
      const headers = commonHeaders(upstream, performance.now());
      headers.push('content-type', 'text/event-stream; charset=utf-8');
      headers.push('cache-control', 'no-cache, no-transform', 'x-accel-buffering', 'no');
      return headers;
    },

    finishReply(reply) {
      const answeredAtMs = performance.now();
      const json = parseReply(reply.body);
      if (reply.status >= 300) throw failedReply(adapter, reply, json);
      if (!isJsonObject(json)) throw badReply('The provider answered with something that is not JSON.');
      const failure = adapter.findError(json, '');
      if (failure !== null) throw failure;
      const adapted = endpoint.response(json, context);
      const body = adapted.body === null ? reply.body : Buffer.from(JSON.stringify(adapted.body));
      return unaryReply(reply.headers, { body, usage: adapted.usage, answeredAtMs });
    },

    finishStream(upstream, usage) {
      if (sum === null) return null;
      const answeredAtMs = performance.now();
      return unaryReply(upstream, { body: Buffer.from(JSON.stringify(sum.completion())), usage, answeredAtMs });
    },
  };
}

type UnaryReply = { body: Buffer; usage: Usage | null; answeredAtMs: number };

function collect(sum: ChunkSum, { data }: SseEvent): string {
  if (data !== '[DONE]') sum.add(JSON.parse(data) as JsonObject);
  return '';
}

/** As OpenAI's own look: `req_` and 32 hex digits. */
export const publicRequestId = (requestId: string): string =>
  `req_${requestId.slice(0, 8)}${requestId.slice(9, 13)}${requestId.slice(14, 18)}${requestId.slice(19, 23)}${requestId.slice(24)}`;

/** A model's name comes from a catalogue that an operator wrote; Node refuses what does not fit into a header. */
function headerText(text: string): string {
  return isPrintable.test(text) ? text : text.replace(/[^\x20-\x7e]/g, '?');
}

/** Clients refuse a reply whose headers are long (Node's at 16 KiB in all), and one request may drop thousands of paths. */
const longestDroppedText = 2_000;

function droppedText(dropped: readonly string[]): string {
  const shown: string[] = [];
  let length = 0;
  for (const path of dropped) {
    length += path.length + 2;
    if (length > longestDroppedText) break;
    shown.push(path);
  }
  const more = dropped.length - shown.length;
  return headerText([...shown, ...(more > 0 ? [`... (${more} more)`] : [])].join(', '));
}

const isPrintable = /^[\x20-\x7e]*$/;

function parseReply(body: Buffer): JsonValue | undefined {
  try {
    return JSON.parse(body.toString()) as JsonValue;
  } catch {
    // HTML of a proxy, an empty body, half a document: told by its absence, and never shown to a caller.
    return undefined;
  }
}

function failedReply(adapter: ProviderAdapter, reply: CollectedReply, json: JsonValue | undefined): GatewayError {
  // A redirect is never followed: it could lead the provider's key anywhere.
  if (reply.status < 400) return badReply('The provider answered with a redirect.');
  return adapter.mapError(reply.status, json, reply.headers);
}

const badReply = (message: string): GatewayError => gatewayError('upstreamBadReply', { message });
