/** The unary upstream: nginx with one static reply, so that the mock's own cost is as near to nothing as a server gets. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitForPort } from '../network.ts';
import type { Processes, RunningProcess } from '../processes.ts';
import { unaryReply } from './replies.ts';

export type NginxOptions = { name: string; directory: string; core: number | null };

/** Bodies stay in memory and connections live as long as the run: neither a disk nor a handshake is measured. */
function configuration(directory: string, server: string): string {
  return `
${process.getuid?.() === 0 ? 'user root;' : ''}
daemon off;
worker_processes 1;
pid ${join(directory, 'nginx.pid')};
error_log ${join(directory, 'error.log')} error;
events { worker_connections 8192; }
http {
  access_log off;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  client_max_body_size 8m;
  client_body_buffer_size 1m;
  client_body_temp_path ${join(directory, 'body')};
  proxy_temp_path ${join(directory, 'proxy')};
  fastcgi_temp_path ${join(directory, 'fastcgi')};
  uwsgi_temp_path ${join(directory, 'uwsgi')};
  scgi_temp_path ${join(directory, 'scgi')};
${server}
}
`;
}

export function startNginx(processes: Processes, server: string, options: NginxOptions): RunningProcess {
  const directory = join(options.directory, options.name);
  mkdirSync(directory, { recursive: true });
  const file = join(directory, 'nginx.conf');
  writeFileSync(file, configuration(directory, server));
  return processes.start('nginx', ['-p', directory, '-e', join(directory, 'error.log'), '-c', file], {
    core: options.core,
    logFile: join(directory, 'nginx.log'),
  });
}

export async function startUnaryMock(processes: Processes, port: number, options: NginxOptions): Promise<void> {
  const server = `
  server {
    listen 127.0.0.1:${port};
    default_type application/json;
    location / { return 200 '${unaryReply}'; }
  }`;
  await waitForPort(port, startNginx(processes, server, options));
}
