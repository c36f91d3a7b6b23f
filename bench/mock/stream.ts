/** Compiles the streaming upstream and starts it; its first printed line is its port. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitUntil } from '../network.ts';
import type { Processes } from '../processes.ts';
import { unaryReply } from './replies.ts';

const source = join(import.meta.dirname, 'stream-server.c');

export async function startStreamMock(
  processes: Processes,
  directory: string,
  { core }: { core: number | null },
): Promise<number> {
  const binary = join(directory, 'stream-server');
  const compiled = spawnSync('gcc', ['-O2', '-o', binary, source], { encoding: 'utf8' });
  if (compiled.status !== 0) throw new Error(`gcc could not compile the streaming mock: ${compiled.stderr}`);
  const replyFile = join(directory, 'unary-reply.json');
  writeFileSync(replyFile, unaryReply);
  const logFile = join(directory, 'stream-server.log');
  const server = processes.start(binary, [replyFile], { core, logFile });
  const port = (): number => Number(readFileSync(logFile, 'utf8').split('\n')[0]);
  await waitUntil(() => Promise.resolve(port() > 0), server, 5_000);
  return port();
}
