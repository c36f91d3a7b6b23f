/** What one attempt at one target needs to know of dialects and prices, and what becomes of it. */
import type { IncomingHttpHeaders } from 'node:http';
import type { GatewayError } from '../contract/errors.ts';
import type { Usage } from '../contract/flow.ts';
import type { Ending } from './flow.ts';
import type { Pipe } from './pipe.ts';

export type AttemptResult = {
  /** null: the caller has the whole reply. */
  error: GatewayError | null;
  ending: Ending;
  /** The caller has seen a status line: no other target may answer now, and an error was told in-band. */
  hasStarted: boolean;
  upstreamStatus: number;
  isDispatched: boolean;
  usage: Usage | null;
  outputTokens: number;
  firstByteAtMs: number | null;
  isLeaseLost: boolean;
};

export type CollectedReply = { status: number; headers: IncomingHttpHeaders; body: Buffer };

export type FinishedReply = { headers: string[]; body: Buffer; usage: Usage | null };

/** What the relay decides and the exchange must not know: dialects, headers, prices. */
export type ExchangeSteps = {
  onDispatched(): void;
  /** Output so far, every few seconds: what a row would say if this process died. */
  onProgress(outputTokens: number): void;
  /** A stream that writes more is cut. */
  outputCapTokens: number;
  openPipe(): Pipe;
  /** Names and values in turn. */
  streamHeaders(upstream: IncomingHttpHeaders): string[];
  /** Turns a complete reply into what the caller gets. Throws a `GatewayError` for a failed one. */
  finishReply(reply: CollectedReply): FinishedReply;
  /** The reply made of a stream whose caller asked for none; null for a caller who did. */
  finishStream(upstream: IncomingHttpHeaders, usage: Usage | null): FinishedReply | null;
};
