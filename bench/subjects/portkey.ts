/**
 * K: the leading Node gateway, @portkey-ai/gateway, in production mode and without its console, on the Node of this
 * project. It is installed on demand from the lockfile in bench/peers and is no dependency of the gateway.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../network.ts';
import { firstReply } from './first-reply.ts';
import type { Subject } from './subject.ts';

const peersDirectory = join(import.meta.dirname, '..', 'peers');
const packageDirectory = join(peersDirectory, 'node_modules', '@portkey-ai', 'gateway');
const program = join(packageDirectory, 'build', 'start-server.js');

function wantedVersion(): string {
  const text = readFileSync(join(peersDirectory, 'package.json'), 'utf8');
  return (JSON.parse(text) as { dependencies: Record<string, string> }).dependencies['@portkey-ai/gateway'] ?? '';
}

function installedVersion(): string | null {
  const file = join(packageDirectory, 'package.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version : null;
}

/** null when it is there; otherwise why not. */
function install(say: (message: string) => void): string | null {
  if (installedVersion() === wantedVersion()) return null;
  say(`installing @portkey-ai/gateway ${wantedVersion()} into bench/peers`);
  const words = ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const installed = spawnSync('npm', words, { cwd: peersDirectory, encoding: 'utf8', timeout: 300_000 });
  if (installed.status === 0) return null;
  return `npm ci failed in bench/peers: ${(installed.stderr || String(installed.error)).trim().slice(-300)}`;
}

export const portkey: Subject = {
  id: 'portkey',
  title: 'K: @portkey-ai/gateway',
  hasEmbeddedMode: false,
  async start({ processes, core, scratchDirectory, say }, { upstreamPort }) {
    const problem = install(say);
    if (problem !== null) return { unavailable: problem };
    const port = await freePort();
    const headers = {
      'x-portkey-provider': 'openai',
      'x-portkey-custom-host': `http://127.0.0.1:${upstreamPort}/v1`,
      authorization: 'Bearer sk-bench',
    };
    const startedAtMs = performance.now();
    const owner = processes.start(process.execPath, [program, `--port=${port}`, '--headless'], {
      core,
      environment: { NODE_ENV: 'production' },
      workingDirectory: scratchDirectory,
      logFile: join(scratchDirectory, `portkey-${port}.log`),
    });
    const firstReplyMs = await firstReply({ port, headers, owner, startedAtMs });
    return {
      port,
      headers,
      pids: [owner.pid],
      firstReplyMs,
      notes: [`version ${installedVersion() ?? 'unknown'}, NODE_ENV=production, --headless; no key, no limits, no row`],
      stop: () => owner.stop(),
    };
  },
};
