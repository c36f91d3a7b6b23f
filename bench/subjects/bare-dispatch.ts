/** P: bare-server.ts as a subject. Every ratio of the report is against it. */
import { join } from 'node:path';
import { freePort } from '../network.ts';
import { firstReply } from './first-reply.ts';
import type { Subject } from './subject.ts';

export const bareDispatch: Subject = {
  id: 'bare-dispatch',
  title: 'P: bare Node (http + undici dispatch)',
  hasEmbeddedMode: false,
  async start({ processes, core, scratchDirectory }, { upstreamPort }) {
    const port = await freePort();
    const startedAtMs = performance.now();
    const owner = processes.start(
      process.execPath,
      [join(import.meta.dirname, 'bare-server.ts'), String(port), `http://127.0.0.1:${upstreamPort}`],
      { core, environment: { NODE_ENV: 'production' }, logFile: join(scratchDirectory, `bare-${port}.log`) },
    );
    const firstReplyMs = await firstReply({ port, headers: {}, owner, startedAtMs });
    return {
      port,
      headers: {},
      pids: [owner.pid],
      firstReplyMs,
      notes: ['body buffered and parsed once; no key, no limits, no log'],
      stop: () => owner.stop(),
    };
  },
};
