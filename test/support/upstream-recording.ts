/** A handler that writes down what an upstream call tells, in order. */
import type { IncomingHttpHeaders } from 'node:http';
import type { UpstreamFailure, UpstreamHandler } from '../../src/upstream/client.ts';

export type UpstreamRecording = UpstreamHandler & {
  /** Names of the calls, with neighbouring `data` as one. */
  readonly events: string[];
  status: number;
  headers: IncomingHttpHeaders;
  readonly chunks: Buffer[];
  text: () => string;
  failure: UpstreamFailure | null;
  /** Resolves at each first call of that name. */
  dispatched: Promise<void>;
  answered: Promise<void>;
  begun: Promise<void>;
  over: Promise<void>;
};

export function recordUpstream(hooks: Partial<UpstreamHandler> = {}): UpstreamRecording {
  const moments = { dispatched: moment(), answered: moment(), begun: moment(), over: moment() };
  const recording: UpstreamRecording = {
    events: [],
    status: 0,
    headers: {},
    chunks: [],
    text: () => Buffer.concat(recording.chunks).toString(),
    failure: null,
    dispatched: moments.dispatched.promise,
    answered: moments.answered.promise,
    begun: moments.begun.promise,
    over: moments.over.promise,
    onDispatched() {
      recording.events.push('dispatched');
      hooks.onDispatched?.();
      moments.dispatched.resolve();
    },
    onHeaders(status, headers) {
      recording.events.push('headers');
      recording.status = status;
      recording.headers = headers;
      hooks.onHeaders?.(status, headers);
      moments.answered.resolve();
    },
    onData(chunk) {
      if (recording.events.at(-1) !== 'data') recording.events.push('data');
      recording.chunks.push(chunk);
      hooks.onData?.(chunk);
      moments.begun.resolve();
    },
    onEnd() {
      recording.events.push('end');
      hooks.onEnd?.();
      moments.over.resolve();
    },
    onFailure(failure) {
      recording.events.push(failure.kind);
      recording.failure = failure;
      hooks.onFailure?.(failure);
      moments.over.resolve();
    },
  };
  return recording;
}

const moment = () => Promise.withResolvers<void>();
