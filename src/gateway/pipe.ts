/** What turns an upstream's stream into the caller's: bytes in, bytes out, and what was learnt on the way. */
import type { GatewayError } from '../contract/errors.ts';
import type { Usage } from '../contract/flow.ts';

export interface Pipe {
  /** What the caller may have now: always whole events, or null. Throws a `GatewayError` for what cannot be relayed. */
  push(chunk: Buffer): Buffer | string | null;
  /** The upstream is over; gives what the caller still needs. `isComplete` must be read after it. */
  end(): Buffer | string | null;
  /** An error that the provider reported inside its stream. */
  readonly failure: GatewayError | null;
  /** True when the caller has already seen that error as an event. */
  readonly isFailureShown: boolean;
  /** A finish reason or an end marker was seen, so that an end of the connection is no truncation. */
  readonly isComplete: boolean;
  /** The end marker was seen; the upstream has nothing more to say. */
  readonly isEnded: boolean;
  usage(): Usage | null;
  /** Output that was handed on, for when no usage comes. */
  estimateOutputTokens(): number;
}
