/** How a test run finds, asks and starts a Redis. Valkey speaks the same protocol and serves as well. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { Service } from './services.ts';
import { type Answer, findFreePort, makeServerDirectory, readVersion, startServer } from './server-process.ts';

const connectTimeoutMs = 2000;

export async function probeRedis(url: string): Promise<Answer> {
  let lastError = '';
  const client = new Redis(url, {
    lazyConnect: true,
    retryStrategy: () => null,
    connectTimeout: connectTimeoutMs,
    maxRetriesPerRequest: 0,
  });
  client.on('error', (error: Error) => {
    lastError = error.message;
  });
  try {
    await client.connect();
    const version = /redis_version:(\S+)/.exec(await client.info('server'))?.[1];
    return version === undefined ? { failure: 'does not say its version' } : { version };
  } catch (error) {
    return { failure: `does not answer (${lastError || (error instanceof Error ? error.message : String(error))})` };
  } finally {
    client.disconnect();
  }
}

export const redis: Service = {
  name: 'Redis',
  variable: 'REDIS_URL',
  minimumVersion: 7,
  packageName: 'redis-server',
  standardPort: 6379,
  probe: probeRedis,
  standardUrls: (port) => [`redis://127.0.0.1:${port}`],

  findPrograms: (directories) =>
    ['redis-server', 'valkey-server']
      .flatMap((name) => directories.map((directory) => join(directory, name)))
      .filter((program) => existsSync(program))
      .map((program) => ({
        program,
        version: readVersion(spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout ?? ''),
      })),

  async start(program) {
    const port = await findFreePort();
    const directory = makeServerDirectory('redis', null);
    return startServer({
      program,
      args: ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory],
      directory,
      account: null,
      url: `redis://127.0.0.1:${port}`,
      probe: probeRedis,
      stopSignal: 'SIGTERM',
      abandonSignal: 'SIGKILL',
    });
  },
};
