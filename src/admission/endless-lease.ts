import type { Lease } from '../contract/admission.ts';

/** Of a request whose slot nobody but its own process could give away. */
export const endlessLease: Lease = Object.freeze({ deadlineMs: Infinity, renew: async () => true });
