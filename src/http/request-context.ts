/** What the gateway hangs on a Fastify request; declared once, with placeholders, so that its shape is stable. */
import type { Principal } from '../contract/flow.ts';

declare module 'fastify' {
  interface FastifyRequest {
    principal: Principal | null;
    /** Settle writes the log line of an admitted request; nobody else does. */
    isAdmitted: boolean;
    startedAtMs: number;
    startedMonotonicMs: number;
  }
}
