/**
 * Plays the reply of a provider that answers by itself, through the same handler as a real connection, with its delays,
 * pauses and breaks: the corridor cannot tell the difference.
 */
import type { ScriptedReply } from '../contract/provider.ts';
import type { UpstreamCall, UpstreamHandler } from './client.ts';

export function playScript(reply: ScriptedReply, handler: UpstreamHandler): UpstreamCall {
  return new ScriptedCall(reply, handler);
}

class ScriptedCall implements UpstreamCall {
  readonly #reply: ScriptedReply;
  readonly #handler: UpstreamHandler;
  readonly #chunks: Iterator<{ afterMs: number; data: string }>;
  #timer: NodeJS.Timeout | null = null;
  #waiting: (() => void) | null = null;
  #isPaused = false;
  #isOver = false;

  constructor(reply: ScriptedReply, handler: UpstreamHandler) {
    this.#reply = reply;
    this.#handler = handler;
    this.#chunks = reply.chunks[Symbol.iterator]();
    setImmediate(() => this.#start());
  }

  #start(): void {
    if (this.#isOver) return;
    this.#handler.onDispatched();
    this.#handler.onHeaders(this.#reply.status, { ...this.#reply.headers });
    this.#whenResumed(() => this.#next());
  }

  #next(): void {
    while (!this.#isOver) {
      const { done, value } = this.#chunks.next();
      if (done === true) {
        this.#finish();
        return;
      }
      if (value.afterMs > 0) {
        this.#timer = setTimeout(() => this.#whenResumed(() => this.#give(value.data)), value.afterMs);
        return;
      }
      this.#handler.onData(Buffer.from(value.data));
      if (this.#isPaused) {
        this.#waiting = () => this.#next();
        return;
      }
    }
  }

  #give(data: string): void {
    if (this.#isOver) return;
    this.#handler.onData(Buffer.from(data));
    this.#whenResumed(() => this.#next());
  }

  #whenResumed(work: () => void): void {
    if (this.#isPaused) this.#waiting = work;
    else work();
  }

  #finish(): void {
    this.#isOver = true;
    if (this.#reply.breaks) this.#handler.onFailure({ kind: 'reset', cause: new Error('the script breaks here') });
    else this.#handler.onEnd();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    const work = this.#waiting;
    this.#waiting = null;
    work?.();
  }

  abort(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#waiting = null;
    this.#chunks.return?.();
    queueMicrotask(() => this.#handler.onFailure({ kind: 'aborted', cause: new Error('aborted') }));
  }
}
