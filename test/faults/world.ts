/**
 * Everything that a fault scenario needs, of its own: a database, a Redis that nobody else uses, a provider with books,
 * proxies in between, and gateways as real processes. All of it is gone after the test, however it ended.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { Redis } from 'ioredis';
import type { Test } from 'tap';
import { redis as redisService } from '../../scripts/redis.ts';
import { derivePepper } from '../../src/auth/api-key.ts';
import { issueKey } from '../../src/auth/key-issue.ts';
import type { Limits } from '../../src/contract/flow.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import type { UsageRow } from './checker.ts';
import { createDriver, type Driver } from './driver.ts';
import type { Failpoint } from './failpoint.ts';
import { type FaultProxy, openFaultProxy } from './fault-proxy.ts';
import { type MockUpstream, startMockUpstream } from './mock-upstream.ts';

export type OwnRedis = {
  url: string;
  /** A connection of the test's own. */
  admin: Redis;
  signal: (name: 'SIGSTOP' | 'SIGCONT') => void;
  /** From now on it keeps an append-only file, which its disk gets once a second. */
  appendEverySecond: () => Promise<void>;
  /** What a power cut does: the last second of its file is gone. It comes back at the same address. */
  loseLastSecond: () => Promise<void>;
};

export type Gateway = {
  url: string;
  kill: () => Promise<void>;
  /** In order, as a deployment does it; the exit code. */
  stop: () => Promise<number | null>;
  signal: (name: NodeJS.Signals) => void;
  /** Its address, as soon as it takes requests. */
  ready: () => Promise<string>;
  /** Resolves when the process has ended, with the signal that ended it. */
  ended: Promise<NodeJS.Signals | null>;
  output: () => string;
};

export type GatewayOptions = {
  /** In place of the proxies in front of the world's own stores. */
  redisUrl?: string;
  databaseUrl?: string;
  /** Into how many shards the limits in Redis are divided. */
  redisShards?: number;
  /** Where it kills itself, on the way of the first request whose model name holds the mark. */
  failpoint?: { name: Failpoint; mark: string };
  /** One of `temporaryFolder`, for a gateway that is started again where another has ended. */
  folder?: string;
  /** Rows that the usage stream holds before admission closes. */
  streamCap?: number;
  /** Gives the process before it is ready, and with an address only from `ready`. */
  isLate?: boolean;
};

export type TestKey = { name: string; token: string; keyId: string; accountId: string };

export type World = {
  database: TestDatabase;
  redis: OwnRedis;
  redisProxy: FaultProxy;
  databaseProxy: FaultProxy;
  upstream: MockUpstream;
  driver: Driver;
  startGateway: (options?: GatewayOptions) => Promise<Gateway>;
  /** The command line, in a process of its own; what it said, or an error when it fails. */
  command: (...words: string[]) => Promise<string>;
  createKey: (name: string, limits?: Partial<Limits>, tier?: 'wide' | 'share') => Promise<TestKey>;
  rows: () => Promise<UsageRow[]>;
};

export const secret = 'a-secret-for-tests-of-32-characters';
const unlimited: Limits = { requestsPerMinute: null, tokensPerMinute: null, concurrency: null };
const startLimitMs = 90_000;
const main = join(import.meta.dirname, '..', '..', 'src', 'main.ts');
const preload = pathToFileURL(join(import.meta.dirname, 'failpoint.ts')).href;

/** Of the tier that the first key of an embedded gateway has. */
export const strictConcurrency = 40;

/** Wide enough to be no obstacle, and still checked at every request. */
const gatewayYaml = `
tiers:
  wide: { price: 0, rpm: 1m, tpm: 1000m, concurrency: 2000, history: 7d, models: "*" }
  share: { price: 0, concurrency: 4, redis_down: local-share, models: "*" }
  narrow: { rpm: 3, models: "*" }
  strict: { concurrency: ${strictConcurrency}, models: "*", hard_revoke: true, strict_leases: true }
`;

export async function openWorld(t: Test): Promise<World> {
  const database = await createTestDatabase(t);
  const redis = await startOwnRedis(t);
  const upstream = await startMockUpstream(t);
  const driver = createDriver();
  t.teardown(() => driver.close());
  const redisProxy = await openFaultProxy(t, redis.url, 6379);
  const databaseProxy = await openFaultProxy(t, database.url, 5432);
  const { pepper } = derivePepper(secret);
  const stores = { DATABASE_URL: databaseProxy.url, REDIS_URL: redisProxy.url, TOLLGATE_SECRET: secret };
  return {
    database,
    redis,
    redisProxy,
    databaseProxy,
    upstream,
    driver,
    startGateway: (options = {}) =>
      startGateway(t, upstream, { stores, folder: options.folder ?? temporaryFolder(t) }, options),
    command: (...words) => runCommand(words, { stores, folder: temporaryFolder(t) }),
    async createKey(name, limits = {}, tier = 'wide') {
      const { token, keyId, account } = await issueKey(database.db, {
        email: `${name}@example.com`,
        tier,
        name,
        pepper,
        limits: { ...unlimited, ...limits },
        nowMs: Date.now(),
      });
      return { name, token, keyId, accountId: account.id };
    },
    rows: () => readRows(database),
  };
}

export async function readRows({ db }: Pick<TestDatabase, 'db'>): Promise<UsageRow[]> {
  const rows = await db.selectFrom('usage_events').selectAll().orderBy('started_at').execute();
  return rows.map((row) => ({
    requestId: row.request_id,
    marker: row.model.split('@')[1] ?? row.model,
    rank: row.rank,
    status: row.status,
    usageSource: row.usage_source,
    promptTokens: row.prompt_tokens,
    completionTokens: row.completion_tokens,
  }));
}

async function startOwnRedis(t: Test): Promise<OwnRedis> {
  const directories = [...(process.env['PATH'] ?? '').split(':'), '/usr/local/bin', '/usr/bin'];
  const [found] = redisService.findPrograms(directories);
  if (found === undefined)
    throw new Error('redis-server or valkey-server is needed: these tests freeze one of their own');
  const server = await redisService.start(found.program);
  const admin = new Redis(server.url, { lazyConnect: true });
  let pid = server.pid;
  const signal = (name: NodeJS.Signals): void => {
    if (pid !== undefined) process.kill(pid, name);
  };
  let successor: ChildProcess | null = null;
  t.teardown(async () => {
    admin.disconnect();
    if (successor === null) signal('SIGCONT');
    successor?.kill('SIGKILL');
    await server.stop();
  });
  admin.on('error', () => {
    // It is frozen and stopped on purpose.
  });
  await admin.connect();

  async function loseLastSecond(): Promise<void> {
    const [, directory = ''] = await admin.config('GET', 'dir');
    const folder = join(directory, 'appendonlydir');
    const increments = readdirSync(folder).filter((name) => name.includes('.incr.'));
    const path = join(folder, increments.at(-1) ?? '');
    const { size } = statSync(path);
    await delay(1000);
    signal('SIGKILL');
    pid = undefined;
    await eventually(async () => admin.status !== 'ready', 10_000);
    truncateSync(path, size);
    const { port } = new URL(server.url);
    const args = ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'yes', '--dir', directory];
    successor = spawn(found?.program ?? '', args, { stdio: 'ignore' });
    alive.add(successor);
    pid = successor.pid;
    await eventually(async () => admin.status === 'ready', 20_000);
  }

  return {
    url: server.url,
    admin,
    signal,
    async appendEverySecond() {
      await admin.config('SET', 'appendfsync', 'everysec');
      await admin.config('SET', 'appendonly', 'yes');
      await eventually(async () => /aof_rewrite_in_progress:0/.test(await admin.info('persistence')), 10_000);
    },
    loseLastSecond,
  };
}

export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-faults-'));
  writeFileSync(join(folder, 'gateway.yaml'), gatewayYaml);
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

type Place = {
  /** What it stores in; none of them is the embedded mode, which keeps everything in the folder. */
  stores: Readonly<Record<string, string>>;
  folder: string;
};

const environmentOf = ({ stores, folder }: Place): Record<string, string> => ({
  PATH: process.env['PATH'] ?? '',
  LOG_LEVEL: 'warn',
  TOLLGATE_CONFIG: join(folder, 'gateway.yaml'),
  TOLLGATE_DATA: join(folder, 'data'),
  ...stores,
});

const alive = new Set<ChildProcess>();
// A run that is broken off must not leave gateways behind.
process.once('exit', () => {
  for (const child of alive) child.kill('SIGKILL');
});

export async function startGateway(
  t: Test,
  upstream: Pick<MockUpstream, 'url'>,
  place: Place,
  options: GatewayOptions = {},
): Promise<Gateway> {
  const { failpoint, streamCap, isLate = false } = options;
  const needsPreload = failpoint !== undefined || streamCap !== undefined;
  const provider = { OPENAI_API_KEY: 'sk-upstream', OPENAI_BASE_URL: upstream.url };
  const child = spawn(process.execPath, [...(needsPreload ? ['--import', preload] : []), main, 'serve'], {
    env: {
      ...environmentOf(place),
      ...provider,
      ...(options.redisUrl === undefined ? {} : { REDIS_URL: options.redisUrl }),
      ...(options.redisShards === undefined ? {} : { REDIS_SHARDS: String(options.redisShards) }),
      ...(options.databaseUrl === undefined ? {} : { DATABASE_URL: options.databaseUrl }),
      ...(failpoint === undefined ? {} : { FAILPOINT: failpoint.name, FAILPOINT_MARK: failpoint.mark }),
      ...(streamCap === undefined ? {} : { FAILPOINT_STREAM_CAP: String(streamCap) }),
      PORT: '0',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = once(child, 'exit');
  const output = collectOutput(child);
  alive.add(child);
  const end = async (signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> => {
    child.kill(signal);
    await exited;
    alive.delete(child);
    return child.exitCode;
  };
  t.teardown(() => end('SIGKILL'));
  return {
    url: isLate ? '' : await untilReady(child, output),
    kill: async () => void (await end('SIGKILL')),
    stop: () => end('SIGTERM'),
    signal: (name) => void child.kill(name),
    ready: () => untilReady(child, output),
    ended: exited.then(() => child.signalCode),
    output,
  };
}

async function runCommand(words: readonly string[], place: Place): Promise<string> {
  const child = spawn(process.execPath, [main, ...words], {
    env: environmentOf(place),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = collectOutput(child);
  await once(child, 'close');
  if (child.exitCode !== 0) throw new Error(`${words.join(' ')}: ${output()}`);
  return output();
}

/** Its last words, for a test that fails. */
function collectOutput(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (bytes: Buffer) => {
      text = (text + bytes.toString()).slice(-20_000);
    });
  }
  return () => text;
}

async function untilReady(child: ChildProcess, output: () => string): Promise<string> {
  const deadline = performance.now() + startLimitMs;
  while (performance.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`the gateway ended: ${output()}`);
    const url = /up at (http:\/\/localhost:\d+)/.exec(output())?.[1]?.replace('localhost', '127.0.0.1');
    if (url !== undefined && (await fetch(`${url}/readyz`)).status === 200) return url;
    await delay(20);
  }
  throw new Error(`the gateway does not get ready: ${output()}`);
}

/** Asks until the answer is yes, or gives the last answer: the assertion is the caller's. */
export async function eventually(isTrue: () => Promise<boolean>, limitMs: number, pollMs = 50): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    if (await isTrue()) return true;
    if (performance.now() > deadline) return false;
    await delay(pollMs);
  }
}
