/**
 * Keeps a process that was frozen from forwarding bytes on a slot that another may have been given meanwhile. While the
 * lease is good it costs one comparison. Past its end the reply waits, its upstream paused, until the lease is renewed
 * or nobody could be asked; then it goes on, marked, or is cut where the tier wants that. Spec: reliability 2.4
 * "Frozen-process guard".
 */
import type { Lease } from '../contract/admission.ts';

export type LeaseGuardOptions = {
  lease: Lease;
  pause(): void;
  resume(): void;
  /** The lease is over and cannot be renewed; what waits is then handed on, unless the exchange was ended. */
  onLost(): void;
};

/** A lease that could not be renewed is the heartbeat's business; the reply need not ask at every chunk. */
const askAgainMs = 10_000;

export class LeaseGuard {
  readonly #options: LeaseGuardOptions;
  readonly #lease: Lease;
  #waiting: (() => void)[] | null = null;
  #asksAgainAtMs = 0;
  /** The lease was over for a time that nobody can vouch for. */
  isLost = false;

  constructor(options: LeaseGuardOptions) {
    this.#options = options;
    this.#lease = options.lease;
  }

  get isWaiting(): boolean {
    return this.#waiting !== null;
  }

  mustWait(nowMs: number): boolean {
    return this.#waiting !== null || (nowMs > this.#lease.deadlineMs && nowMs > this.#asksAgainAtMs);
  }

  /** Steps run in their order, when the lease is known to hold or known to be lost. */
  wait(step: () => void): void {
    if (this.#waiting !== null) {
      this.#waiting.push(step);
      return;
    }
    this.#waiting = [step];
    this.#options.pause();
    void this.#renew();
  }

  async #renew(): Promise<void> {
    const isHeld = await this.#lease.renew();
    const steps = this.#waiting ?? [];
    this.#waiting = null;
    if (!isHeld) {
      this.isLost = true;
      this.#asksAgainAtMs = performance.now() + askAgainMs;
      this.#options.onLost();
    }
    for (const step of steps) step();
    if (this.#waiting === null) this.#options.resume();
  }
}
