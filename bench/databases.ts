/**
 * The databases of a governed run. Postgres is a server that runs already, with a database made for the run and dropped
 * after it; only the backends of that database are pinned and counted. Redis is started for the run where its program
 * is installed, else `REDIS_URL` is used.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { freePort, waitForPort } from './network.ts';
import type { CpuReader } from './process-cpu.ts';
import { pinProcess, type Processes } from './processes.ts';
import type { Backing } from './subjects/subject.ts';
import { hasProgram } from './tools.ts';

export type BenchDatabase = {
  url: string;
  count(table: string): Promise<number>;
  backing(): Promise<Backing>;
  drop(): Promise<void>;
};

export type BenchRedis = {
  url: string;
  /** True once anything was written: the limits are really kept there. */
  isUsed(): Promise<boolean>;
  backing(): Promise<Backing>;
  stop(): Promise<void>;
};

type Place = { processes: Processes; cpu: CpuReader; loadCore: number | null; scratchDirectory: string };

const defaultDatabaseUrl = 'postgres://postgres@127.0.0.1:5432/postgres';

async function once(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** The server may be on another machine or in another container: then its numbers mean other processes here. */
function isLocalBackend(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('postgres');
  } catch {
    // No such process here.
    return false;
  }
}

export async function createDatabase({ cpu, loadCore }: Place): Promise<BenchDatabase> {
  const server = process.env['DATABASE_URL'] ?? defaultDatabaseUrl;
  const name = `tollgate_bench_${randomBytes(5).toString('hex')}`;
  await once(server, `CREATE DATABASE ${name}`);
  const address = new URL(server);
  address.pathname = `/${name}`;
  const client = new Client({ connectionString: address.href });
  await client.connect();
  const ownPid = Number((await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid);
  const pinnedPids = new Set<number>();
  return {
    url: address.href,
    async count(table) {
      const { rows } = await client.query<{ count: string }>(`SELECT count(*) AS count FROM ${table}`);
      return Number(rows[0]?.count ?? 0);
    },
    async backing() {
      const { rows } = await client.query<{ pid: number }>(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'",
      );
      const pids = rows.map(({ pid }) => pid).filter((pid) => pid !== ownPid && isLocalBackend(pid));
      for (const pid of pids) {
        if (loadCore !== null && !pinnedPids.has(pid)) pinProcess(pid, loadCore);
        pinnedPids.add(pid);
      }
      return pids.length === 0 ? {} : { postgresCpuUs: cpu.treeUs(pids) };
    },
    async drop() {
      await client.end();
      await once(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    },
  };
}

async function redisAddress({ processes, loadCore, scratchDirectory }: Place): Promise<{
  url: string;
  pid: number | null;
  stop(): Promise<void>;
} | null> {
  if (!hasProgram('redis-server')) {
    const url = process.env['REDIS_URL'];
    return url === undefined ? null : { url, pid: null, stop: () => Promise.resolve() };
  }
  const port = await freePort();
  const settings = {
    port: String(port),
    bind: '127.0.0.1',
    dir: scratchDirectory,
    save: '',
    appendonly: 'yes',
    appendfsync: 'everysec',
    maxmemory: '1gb',
    'maxmemory-policy': 'noeviction',
  };
  const owner = processes.start(
    'redis-server',
    Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    { core: loadCore, logFile: join(scratchDirectory, 'redis.log') },
  );
  await waitForPort(port, owner);
  return { url: `redis://127.0.0.1:${port}`, pid: owner.pid, stop: () => owner.stop() };
}

const infoNumber = (info: string, pattern: RegExp): number => Number(pattern.exec(info)?.[1] ?? 0);

/** null when there is neither a program nor an address. */
export async function startRedis(place: Place): Promise<BenchRedis | null> {
  const address = await redisAddress(place);
  if (address === null) return null;
  const client = new Redis(address.url, { lazyConnect: true, retryStrategy: () => null });
  // Calls reject by themselves; without a listener the client prints each lost connection as well.
  client.on('error', () => undefined);
  await client.connect();
  return {
    url: address.url,
    isUsed: async () => (await client.dbsize()) > 0,
    async backing() {
      const info = await client.info('commandstats');
      const scriptCalls = ['evalsha', 'eval', 'fcall'].map((command) =>
        infoNumber(info, new RegExp(`cmdstat_${command}:calls=(\\d+)`)),
      );
      const calls = { redisScriptCalls: scriptCalls.reduce((sum, count) => sum + count, 0) };
      return address.pid === null ? calls : { ...calls, redisCpuUs: place.cpu.treeUs([address.pid]) };
    },
    async stop() {
      client.disconnect();
      await address.stop();
    },
  };
}
