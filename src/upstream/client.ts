/**
 * Talks to one upstream over pooled HTTP/1.1 connections, through undici's dispatch: no streams, no promises per chunk.
 * Takes a finished request and a handler; gives status, headers and bytes as they come, or one failure.
 * Must never retry, follow a redirect, decompress, or decide anything about time but the connect clock: the corridor's
 * watchdog holds the others, outside the pump, because a paused body never times out by itself.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { Pool, type Dispatcher } from 'undici';
import { createEgress } from './egress.ts';

export type UpstreamRequest = {
  /** An origin from the operator's configuration, never from a caller. */
  origin: string;
  path: string;
  headers: Readonly<Record<string, string>>;
  body: Buffer;
  /** Loopback and private addresses are refused unless this is set. */
  allowPrivate: boolean;
};

export type UpstreamFailure = {
  kind: 'unreachable' | 'connect_timeout' | 'reset' | 'private_address' | 'aborted' | 'unauthorised';
  cause: unknown;
};

/** Exactly one of `onEnd` and `onFailure` is called, once, and nothing after it. */
export interface UpstreamHandler {
  /** The request is being written to a connection. */
  onDispatched(): void;
  onHeaders(status: number, headers: IncomingHttpHeaders): void;
  onData(chunk: Buffer): void;
  onEnd(): void;
  onFailure(failure: UpstreamFailure): void;
}

export interface UpstreamCall {
  pause(): void;
  resume(): void;
  /** Closes the connection; `onFailure` follows with kind `aborted` unless the reply was over. */
  abort(): void;
}

export interface UpstreamClient {
  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall;
  /** Waits for running calls. */
  close(): Promise<void>;
  destroy(): Promise<void>;
}

export type UpstreamClientOptions = { connectMs: number; connections?: number };

/** Only backstops: the watchdog's clocks are shorter. */
const backstopMs = 45 * 60_000;
const keepAliveMs = 60_000;

class CallAborted extends Error {
  readonly code = 'ERR_CALL_ABORTED';
}

export function createUpstreamClient(options: UpstreamClientOptions): UpstreamClient {
  const egress = createEgress();
  const pools = new Map<string, Pool>();

  function poolFor(origin: string, allowPrivate: boolean): Pool {
    const key = allowPrivate ? `private ${origin}` : origin;
    let pool = pools.get(key);
    if (pool === undefined) {
      pool = new Pool(origin, {
        connections: options.connections ?? 1024,
        pipelining: 1,
        allowH2: false,
        keepAliveTimeout: keepAliveMs,
        keepAliveMaxTimeout: keepAliveMs * 5,
        headersTimeout: backstopMs,
        bodyTimeout: backstopMs,
        connect: {
          timeout: options.connectMs,
          keepAlive: true,
          ...(allowPrivate ? {} : { lookup: egress.lookup }),
        },
      });
      pools.set(key, pool);
    }
    return pool;
  }

  function send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall {
    const call = new Call(handler);
    try {
      if (!request.allowPrivate) egress.assertHostname(new URL(request.origin).hostname);
      poolFor(request.origin, request.allowPrivate).dispatch(
        { path: request.path, method: 'POST', headers: request.headers, body: request.body },
        call,
      );
    } catch (error) {
      queueMicrotask(() => call.fail(error));
    }
    return call;
  }

  return {
    send,
    close: async () => {
      await Promise.all([...pools.values()].map((pool) => pool.close()));
    },
    destroy: async () => {
      await Promise.all([...pools.values()].map((pool) => pool.destroy()));
    },
  };
}

class Call implements Dispatcher.DispatchHandler, UpstreamCall {
  readonly #handler: UpstreamHandler;
  #controller: Dispatcher.DispatchController | null = null;
  #isAborted = false;
  #isOver = false;

  constructor(handler: UpstreamHandler) {
    this.#handler = handler;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // Thrown, not aborted: that would take a healthy connection from the calls that wait behind this one.
    if (this.#isAborted) throw new CallAborted();
    this.#controller = controller;
    this.#handler.onDispatched();
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status >= 200) this.#handler.onHeaders(status, headers);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#isAborted) this.#handler.onData(chunk);
  }

  onResponseEnd(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#handler.onEnd();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.fail(error);
  }

  fail(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#handler.onFailure({ kind: this.#isAborted ? 'aborted' : failureKind(error), cause: error });
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  abort(): void {
    if (this.#isAborted || this.#isOver) return;
    this.#isAborted = true;
    if (this.#controller !== null) this.#controller.abort(new CallAborted());
    // Still waiting for a connection: nobody may be kept waiting with it. The request is dropped when its turn comes.
    else queueMicrotask(() => this.fail(new CallAborted()));
  }
}

function failureKind(error: unknown): UpstreamFailure['kind'] {
  const code = codeOf(error);
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') return 'connect_timeout';
  if (code === 'ERR_PRIVATE_ADDRESS') return 'private_address';
  const unreachable = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'EPROTO'];
  const isUntrusted = /^(?:CERT_|UNABLE_TO_|ERR_TLS_|ERR_SSL_)|SELF_SIGNED/.test(code);
  return unreachable.includes(code) || isUntrusted ? 'unreachable' : 'reset';
}

function codeOf(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string')
    return error.code;
  return error instanceof AggregateError && error.errors.length > 0 ? codeOf(error.errors[0]) : '';
}
