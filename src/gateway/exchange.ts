/**
 * One attempt at one target: the upstream's events on one side, the caller's socket on the other, back-pressure between
 * them. Takes a call that was sent and a flow; gives one `AttemptResult`, exactly once, when the last byte has left or
 * nothing more can be done. Must never throw at the pump, and never leave a connection behind: every way out ends both
 * sides. Spec: reliability 2.4 STREAM, fidelity 2.4 and 2.5.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Timeouts } from '../config/types.ts';
import { gatewayError, GatewayError } from '../contract/errors.ts';
import type { Usage } from '../contract/flow.ts';
import type { UpstreamCall, UpstreamFailure, UpstreamHandler } from '../upstream/client.ts';
import type { AttemptResult, ExchangeSteps, FinishedReply } from './attempt.ts';
import { cutError } from './cut-errors.ts';
import type { Ending, Flow } from './flow.ts';
import { LeaseGuard } from './lease-guard.ts';
import type { Pipe } from './pipe.ts';
import {
  beginsLikeEvents,
  errorFrame,
  failureError,
  isEventStream,
  keepAliveComment,
  truncationError,
} from './stream-wire.ts';
import type { Watched, Watchdog } from './watchdog.ts';

export type ExchangeOptions = { flow: Flow; steps: ExchangeSteps; timeouts: Timeouts; watchdog: Watchdog };

const maximumReplyBytes = 64 * 1024 * 1024;
/** How long an upstream may hold a connection open behind its end. */
const lingerMs = 5_000;
const progressMs = 5_000;

export class Exchange implements UpstreamHandler, Watched {
  readonly result: Promise<AttemptResult>;
  readonly flow: Flow;
  readonly #steps: ExchangeSteps;
  readonly #timeouts: Timeouts;
  readonly #watchdog: Watchdog;
  readonly #lease: LeaseGuard;
  readonly #sentAtMs = performance.now();
  #resolve: (result: AttemptResult) => void = () => undefined;
  #call: UpstreamCall | null = null;
  #status = 0;
  #headers: IncomingHttpHeaders = {};
  #pipe: Pipe | null = null;
  #collected: Buffer[] = [];
  #collectedLength = 0;
  #isDispatched = false;
  #isUpstreamOver = false;
  #isPaused = false;
  #hasStarted = false;
  #isEnding = false;
  #isOver = false;
  #received = 0;
  #seenReceived = 0;
  #lastUpstreamAtMs = performance.now();
  #lastClientWriteAtMs = performance.now();
  #progressToldAtMs = performance.now();
  #clientBacklog = 0;
  #clientProgressAtMs = performance.now();
  #firstByteAtMs: number | null = null;
  #unaryUsage: Usage | null = null;

  constructor(options: ExchangeOptions) {
    this.flow = options.flow;
    this.#steps = options.steps;
    this.#timeouts = options.timeouts;
    this.#watchdog = options.watchdog;
    this.#lease = new LeaseGuard({
      lease: options.flow.lease,
      pause: () => this.#call?.pause(),
      resume: () => this.#resume(),
      onLost: () => {
        if (this.flow.principal.tier.strictLeases === true) this.#timeOut(cutError('leaseLost'), 'lease_lost');
      },
    });
    this.result = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.flow.client.on('close', this.#onClientClose);
    this.#watchdog.watch(this);
  }

  /** The call exists only after its handler, so it comes in by a second step. */
  attach(call: UpstreamCall): void {
    this.#call = call;
    if (this.flow.client.destroyed) this.#onClientClose();
    else if (this.#isOver) call.abort();
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get upstreamHeaders(): IncomingHttpHeaders {
    return this.#headers;
  }

  onDispatched(): void {
    this.#isDispatched = true;
    this.#steps.onDispatched();
  }

  onHeaders(status: number, headers: IncomingHttpHeaders): void {
    if (this.#isOver) return;
    this.#status = status;
    this.#headers = headers;
    this.#lastUpstreamAtMs = performance.now();
    const encoding = headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity') {
      this.#fail(cutError('compressed'), 'upstream_failed');
      return;
    }
    if (status < 300 && isEventStream(headers)) this.#guard(() => (this.#pipe = this.#steps.openPipe()));
  }

  onData(chunk: Buffer): void {
    if (this.#isOver || this.#isEnding) return;
    this.#received += chunk.length;
    const nowMs = performance.now();
    if (this.#lease.mustWait(nowMs)) this.#lease.wait(() => this.#forward(chunk, performance.now()));
    else this.#forward(chunk, nowMs);
  }

  #forward(chunk: Buffer, nowMs: number): void {
    if (this.#isOver || this.#isEnding) return;
    if (this.#pipe === null && !this.#startsAsStream(chunk)) {
      this.#collect(chunk);
      return;
    }
    this.#guard(() => {
      const pipe = this.#pipe;
      if (pipe === null) return;
      const out = pipe.push(chunk);
      if (out !== null) this.#write(out, nowMs);
      if (pipe.failure !== null) this.#fail(pipe.failure, 'upstream_failed');
      else if (pipe.estimateOutputTokens() > this.#steps.outputCapTokens && !pipe.isEnded)
        this.#fail(cutError('overReservation'), 'capped');
      // What is gathered for a caller without a stream is held in memory, as a plain reply is.
      else if (!this.flow.request.stream && this.#received > maximumReplyBytes)
        this.#fail(cutError('tooLarge'), 'upstream_failed');
    });
  }

  onEnd(): void {
    this.#finishUpstream(null);
  }

  onFailure(failure: UpstreamFailure): void {
    this.#finishUpstream(failure);
  }

  #finishUpstream(failure: UpstreamFailure | null): void {
    this.#isUpstreamOver = true;
    if (this.#lease.mustWait(performance.now())) this.#lease.wait(() => this.#finishReply(failure));
    else this.#finishReply(failure);
  }

  #finishReply(failure: UpstreamFailure | null): void {
    if (this.#isOver || this.#isEnding) return;
    this.#guard(() => {
      if (this.#pipe !== null) this.#finishStream(this.#pipe, failure);
      else if (failure === null) this.#finishUnary();
      else this.#fail(failureError(failure), 'upstream_failed');
    });
  }

  sweep(nowMs: number): void {
    if (!this.#isOver) this.#guard(() => this.#sweep(nowMs));
  }

  #sweep(nowMs: number): void {
    this.#noteProgress(nowMs);
    this.#tellProgress(nowMs);
    if (!this.#isEnding && !this.#lease.isWaiting && this.#lease.mustWait(nowMs)) this.#lease.wait(() => undefined);
    const { deadlineMs, startedMonotonicMs } = this.flow;
    const ageMs = nowMs - startedMonotonicMs;
    if (deadlineMs !== null && ageMs > deadlineMs) this.#timeOut(cutError('clientDeadline'), 'total_timeout');
    else if (ageMs > this.#timeouts.totalMs) this.#timeOut(cutError('total'), 'total_timeout');
    else if (this.#clientBacklog > 0 && nowMs - this.#clientProgressAtMs > this.#timeouts.clientStallMs)
      this.#cut('client_stall');
    else if (this.#isEnding || this.#isPaused) return;
    else if (this.#status === 0) this.#sweepWaiting(nowMs);
    else if (this.#pipe?.isEnded === true) this.#sweepLingering(this.#pipe, nowMs);
    else if (nowMs - this.#lastUpstreamAtMs > this.#timeouts.idleMs) this.#timeOut(cutError('idle'), 'upstream_failed');
    else this.#keepAlive(nowMs);
  }

  /** Ends the request from outside: a drain that ran out of time. */
  drain(): void {
    if (!this.#isOver) this.#timeOut(cutError('drain'), 'drained');
  }

  /** The key of this request is no longer good. A reply that is complete and only has to leave is not held back. */
  revoke(error: GatewayError): void {
    if (!this.#isOver && !this.#isEnding) this.#timeOut(error, 'revoked');
  }

  /** Without a stream the status line comes when the whole reply is ready, so only the total clock counts. */
  #sweepWaiting(nowMs: number): void {
    const limitMs = this.flow.request.stream ? this.#timeouts.firstByteMs : this.#timeouts.totalMs;
    if (nowMs - this.#sentAtMs > limitMs) this.#timeOut(cutError('firstByte'), 'upstream_timeout');
    else this.#keepAlive(nowMs);
  }

  /** Everything was said, but the upstream keeps the connection. */
  #sweepLingering(pipe: Pipe, nowMs: number): void {
    if (nowMs - this.#lastUpstreamAtMs > lingerMs) this.#guard(() => this.#finishStream(pipe, null));
  }

  #noteProgress(nowMs: number): void {
    if (this.#received !== this.#seenReceived) {
      this.#seenReceived = this.#received;
      this.#lastUpstreamAtMs = nowMs;
    }
    const backlog = this.flow.client.writableLength;
    if (backlog === 0 || backlog < this.#clientBacklog) this.#clientProgressAtMs = nowMs;
    this.#clientBacklog = backlog;
  }

  #tellProgress(nowMs: number): void {
    if (this.#pipe === null || nowMs - this.#progressToldAtMs < progressMs) return;
    this.#progressToldAtMs = nowMs;
    this.#steps.onProgress(this.#pipe.estimateOutputTokens());
  }

  /** Balancers cut a connection that is silent for a minute; a comment keeps it, and both SDKs skip it. */
  #keepAlive(nowMs: number): void {
    const isStream = this.flow.request.stream && (this.#pipe !== null || this.#status === 0);
    if (!isStream || nowMs - this.#lastClientWriteAtMs < this.#timeouts.keepAliveCommentMs) return;
    this.#write(keepAliveComment);
  }

  #startsAsStream(chunk: Buffer): boolean {
    if (!this.flow.request.stream || this.#status >= 300 || this.#collectedLength > 0) return false;
    if (!beginsLikeEvents(chunk)) return false;
    this.#pipe = this.#steps.openPipe();
    return true;
  }

  #collect(chunk: Buffer): void {
    this.#collectedLength += chunk.length;
    this.#collected.push(chunk);
    if (this.#collectedLength > maximumReplyBytes) this.#fail(cutError('tooLarge'), 'upstream_failed');
  }

  #finishUnary(): void {
    const [only] = this.#collected;
    const body = this.#collected.length === 1 && only !== undefined ? only : Buffer.concat(this.#collected);
    this.#collected = [];
    this.#sendReply(this.#steps.finishReply({ status: this.#status, headers: this.#headers, body }));
  }

  #sendReply(reply: FinishedReply): void {
    this.#unaryUsage = reply.usage;
    this.#isEnding = true;
    if (this.#hasStarted) {
      // A comment has already opened an event stream; the late reply can only be told as one event.
      this.flow.client.end(`data: ${reply.body.toString()}\n\ndata: [DONE]\n\n`, () => this.#complete());
      return;
    }
    this.#hasStarted = true;
    this.#firstByteAtMs = performance.now();
    this.flow.takeOver();
    this.flow.client.writeHead(200, reply.headers);
    this.flow.client.end(reply.body, () => this.#complete());
  }

  #finishStream(pipe: Pipe, failure: UpstreamFailure | null): void {
    const tail = pipe.end();
    if (tail !== null) this.#write(tail);
    const collected =
      pipe.failure === null && pipe.isComplete ? this.#steps.finishStream(this.#headers, pipe.usage()) : null;
    if (collected !== null) this.#sendReply(collected);
    else if (pipe.failure !== null) this.#fail(pipe.failure, 'upstream_failed');
    else if (!pipe.isComplete || !this.#hasStarted)
      this.#fail(truncationError(failure, { hasStarted: this.#hasStarted }), 'upstream_failed');
    else {
      this.#isEnding = true;
      this.flow.client.end(() => this.#complete());
    }
  }

  #write(bytes: Buffer | string, nowMs = performance.now()): void {
    const { client } = this.flow;
    if (!this.#hasStarted) {
      this.#hasStarted = true;
      this.flow.takeOver();
      client.writeHead(200, this.#steps.streamHeaders(this.#headers));
    }
    if (this.#firstByteAtMs === null && bytes !== keepAliveComment) this.#firstByteAtMs = nowMs;
    this.#lastClientWriteAtMs = nowMs;
    if (client.write(bytes) || this.#isPaused) return;
    this.#isPaused = true;
    this.#call?.pause();
    client.once('drain', this.#onDrain);
  }

  readonly #onDrain = (): void => {
    this.#isPaused = false;
    this.#lastUpstreamAtMs = performance.now();
    this.#clientProgressAtMs = performance.now();
    this.#resume();
  };

  /** Two may have paused it, the caller's socket and the lease. */
  #resume(): void {
    if (!this.#isPaused && !this.#lease.isWaiting) this.#call?.resume();
  }

  readonly #onClientClose = (): void => {
    if (this.#isOver) return;
    if (this.flow.client.writableFinished) this.#complete();
    else this.#cut('client_abort');
  };

  #complete(): void {
    this.#finish(null, 'complete');
  }

  /** Before the first byte the error is the relay's to handle; after it, it is told in-band and the stream ends. */
  #fail(error: GatewayError, ending: Ending): void {
    if (this.#isOver) return;
    if (this.#hasStarted) this.flow.client.end(this.#pipe?.isFailureShown === true ? '' : errorFrame(error));
    this.#finish(error, ending);
  }

  #timeOut(error: GatewayError, ending: Ending): void {
    const { client } = this.flow;
    // A client that does not read would hold the error frame, and with it the socket, for ever.
    if (client.writableLength > 0 && this.#hasStarted) this.#cut(ending);
    else this.#fail(error, ending);
  }

  #cut(ending: Ending): void {
    if (!this.flow.client.destroyed) {
      this.flow.takeOver();
      this.flow.client.destroy();
    }
    this.#finish(cutError('client'), ending);
  }

  #finish(error: GatewayError | null, ending: Ending): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#watchdog.forget(this);
    this.flow.client.off('close', this.#onClientClose);
    this.flow.client.off('drain', this.#onDrain);
    this.#endUpstream();
    this.#resolve({
      error,
      ending,
      hasStarted: this.#hasStarted,
      upstreamStatus: this.#status,
      isDispatched: this.#isDispatched,
      usage: this.#pipe === null ? this.#unaryUsage : this.#pipe.usage(),
      outputTokens: this.#hasDelivered() ? (this.#pipe?.estimateOutputTokens() ?? 0) : 0,
      firstByteAtMs: this.#firstByteAtMs,
      isLeaseLost: this.#lease.isLost,
    });
  }

  /** What is gathered was produced for the caller, who would only have seen it at the end. */
  #hasDelivered(): boolean {
    return this.#firstByteAtMs !== null || !this.flow.request.stream;
  }

  /** A connection whose reply is over goes back to the pool by itself; any other is closed. */
  #endUpstream(): void {
    if (!this.#isUpstreamOver) this.#call?.abort();
  }

  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      const failure =
        error instanceof GatewayError
          ? error
          : gatewayError('internal', { message: 'The gateway failed to relay the reply.', cause: error });
      this.#fail(failure, 'upstream_failed');
    }
  }
}
