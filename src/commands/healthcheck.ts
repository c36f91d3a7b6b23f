/** For images without curl: GET /healthz on this machine's own port. */
import { get } from 'node:http';
import { listenPort } from '../config/listen-port.ts';
import type { Command } from './command.ts';

const timeoutMs = 3000;

export const healthcheck: Command = {
  summary: 'Exits with 0 when the gateway on this machine answers at /healthz.',
  usage: 'healthcheck [--port N]',
  examples: ['tollgate healthcheck', 'tollgate healthcheck --port 9000'],
  options: { port: { type: 'string' } },
  run: ({ values, io }) =>
    new Promise((resolve) => {
      const port = typeof values['port'] === 'string' ? values['port'] : String(listenPort());
      const request = get({ host: '127.0.0.1', port, path: '/healthz', timeout: timeoutMs }, (response) => {
        response.resume();
        resolve(response.statusCode === 200 ? 0 : 1);
      });
      request.on('timeout', () => request.destroy(new Error(`no answer within ${timeoutMs} ms`)));
      request.on('error', (error) => {
        io.stderr(`unhealthy: ${error.message}\n`);
        resolve(1);
      });
    }),
};
