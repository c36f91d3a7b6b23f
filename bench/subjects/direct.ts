/** No gateway: the load goes straight at the mock. The ceiling of the rig, and the witness of its noise. */
import type { Subject } from './subject.ts';

export const direct: Subject = {
  id: 'direct',
  title: 'direct (no gateway)',
  hasEmbeddedMode: false,
  start: (_environment, { upstreamPort }) =>
    Promise.resolve({
      port: upstreamPort,
      headers: {},
      pids: [],
      firstReplyMs: null,
      notes: ['wrk straight at the mock'],
      stop: () => Promise.resolve(),
    }),
};
