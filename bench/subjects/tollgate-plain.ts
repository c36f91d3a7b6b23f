/** Ours with governance off: no key, no limits, no row. What is left is the price of the corridor itself. */
import { generateApiKey } from '../../src/auth/api-key.ts';
import { serveHelp, startGateway } from './tollgate.ts';
import type { Subject } from './subject.ts';

const flag = '--plain';

export const tollgatePlain: Subject = {
  id: 'tollgate-plain',
  title: 'Tollgate, plain',
  hasEmbeddedMode: false,
  async start(environment, { upstreamPort }) {
    if (serveHelp()?.includes(flag) !== true) return { unavailable: 'not built yet' };
    const apiKey = generateApiKey().token;
    const gateway = await startGateway(environment, {
      upstreamPort,
      databaseUrl: null,
      redisUrl: null,
      apiKey,
      words: [flag],
    });
    return {
      port: gateway.port,
      headers: { authorization: `Bearer ${apiKey}` },
      pids: [gateway.owner.pid],
      firstReplyMs: gateway.firstReplyMs,
      notes: ['serve --plain: no key, no limits, no row'],
      // In production it drains for ten seconds first; its rows were counted while it ran.
      stop: () => gateway.owner.kill(),
    };
  },
};
