/** nginx as a reverse proxy with kept-alive connections on both sides: the physical floor, with no idea of a request's meaning. */
import { freePort } from '../network.ts';
import { startNginx } from '../mock/unary.ts';
import { firstReply } from './first-reply.ts';
import type { Subject } from './subject.ts';

export const nginx: Subject = {
  id: 'nginx',
  title: 'nginx proxy_pass',
  hasEmbeddedMode: false,
  async start({ processes, core, scratchDirectory }, { upstreamPort }) {
    const port = await freePort();
    const server = `
  upstream mock { server 127.0.0.1:${upstreamPort}; keepalive 512; keepalive_requests 1000000000; keepalive_timeout 1h; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 1h;
    }
  }`;
    const startedAtMs = performance.now();
    const owner = startNginx(processes, server, { name: `proxy-${port}`, directory: scratchDirectory, core });
    const firstReplyMs = await firstReply({ port, headers: {}, owner, startedAtMs });
    return {
      port,
      headers: {},
      pids: [owner.pid],
      firstReplyMs,
      notes: ['keep-alive upstream, no access log, proxy_buffering off'],
      stop: () => owner.stop(),
    };
  },
};
