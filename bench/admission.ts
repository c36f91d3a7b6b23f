/**
 * What do an admission and its settlement cost? `node bench/admission.ts` puts 256 callers in a closed loop on the product's
 * engine with a Redis of its own, and reads CPU on both sides; no HTTP is in it. Takes about a minute, needs `redis-server`
 * and leaves nothing behind. Nothing fails because of a figure.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { createRedisEngine } from '../src/admission/redis-engine.ts';
import { usageStreamKey } from '../src/admission/redis-keys.ts';
import type { AdmissionEngine, AdmitRequest } from '../src/contract/admission.ts';
import { type UsageRecord, usageRank } from '../src/contract/flow.ts';
import { openRedis } from '../src/platform/redis.ts';
import { createUuidSource } from '../src/platform/uuid.ts';
import { startRedis, type BenchRedis } from './databases.ts';
import { createCpuReader } from './process-cpu.ts';
import { createProcesses } from './processes.ts';
import { quantile, shuffled } from './statistics.ts';
import { formatNumber, markdownTable } from './table.ts';

const rounds = 7;
const callers = 256;
const requestsPerRound = 30_000;
const loneRequests = 2_000;
const accounts = 16;
const keysPerAccount = 2;
const keyPrefix = 'tg-bench:';
const log = { info: () => {}, warn: console.warn, error: console.error };

type Checks = Pick<AdmitRequest, 'buckets' | 'concurrency' | 'budgets'>;
type Engine = Pick<AdmissionEngine, 'admit' | 'markDispatched' | 'settle'>;
type Caller = { accountId: string; keyId: string; checks: Checks };
type Cost = {
  callsPerRequest: number;
  commandsPerRequest: number;
  gatewayUs: number;
  redisUs: number;
  perSecond: number;
};

const nextId = createUuidSource();

/** Limits that no round reaches, on the account and on the key. */
function checksOf(accountId: string, keyId: string, hasBudgets: boolean): Checks {
  const scopes = [`account:${accountId}`, `key:${keyId}`];
  const perMinute = 900_000_000;
  const limit = { capacity: perMinute, refillPerMinute: perMinute };
  return {
    buckets: scopes.flatMap((scope) => [
      { rule: 'requests', scope, ...limit, cost: 1 },
      { rule: 'tokens', scope, ...limit, cost: 1_324 },
    ]),
    concurrency: scopes.map((scope) => ({ scope, limit: 10_000 })),
    budgets: hasBudgets
      ? scopes.map((scope) => ({ scope, period: 'monthly', limitNanoUsd: 4e15, costNanoUsd: 9_000_000 }))
      : [],
  };
}

function createCallers(hasBudgets: boolean): Caller[] {
  return Array.from({ length: callers }, (_, index) => {
    const account = index % accounts;
    const hex = (value: number): string => value.toString(16).padStart(12, '0');
    const accountId = `018bcfe5-6800-7000-8000-${hex(account + (hasBudgets ? accounts : 0))}`;
    const keyId = `018bcfe5-6800-7000-9000-${hex(account * keysPerAccount + (Math.floor(index / accounts) % keysPerAccount))}`;
    return { accountId, keyId, checks: checksOf(accountId, keyId, hasBudgets) };
  });
}

/** As the corridor makes it: an estimate when the request is admitted, the truth when it is settled. */
function recordOf(id: string, startedAtMs: number, caller: Caller, isOver: boolean): UsageRecord {
  return {
    requestId: id,
    startedAtMs,
    rank: isOver ? usageRank.final : usageRank.orphan,
    accountId: caller.accountId,
    keyId: caller.keyId,
    tier: 'pro',
    endpoint: 'chat',
    model: 'large',
    provider: 'acme',
    upstreamModel: 'acme-large-1',
    stream: false,
    status: isOver ? 'ok' : 'orphaned',
    httpStatus: isOver ? 200 : 499,
    errorCode: null,
    usageSource: isOver ? 'provider' : 'estimated',
    usage: {
      promptTokens: 300,
      cachedTokens: 0,
      cacheWriteTokens: 0,
      completionTokens: isOver ? 200 : 0,
      reasoningTokens: 0,
    },
    costPicoUsd: isOver ? 4_350_000 : 900_000,
    ttftMs: isOver ? 180 : null,
    durationMs: isOver ? 2_100 : 0,
    attempts: isOver
      ? [{ provider: 'acme', model: 'acme-large-1', status: 200, errorCode: null, durationMs: 2_090 }]
      : [],
  };
}

/** An upstream that takes 2 to 6 ms, so that a request's mark and its settlement do not share a call. */
function createUpstream(): { answer: () => Promise<void>; stop: () => void } {
  const slots: (() => void)[][] = Array.from({ length: 8 }, () => []);
  let now = 0;
  let asked = 0;
  const timer = setInterval(() => {
    now += 1;
    for (const resolve of slots[now % slots.length]?.splice(0) ?? []) resolve();
  }, 1);
  return {
    answer: () => new Promise((resolve) => slots[(now + 2 + (asked++ % 5)) % slots.length]?.push(resolve)),
    stop: () => clearInterval(timer),
  };
}

async function runRequest(engine: Engine, caller: Caller, answer: () => Promise<void>): Promise<void> {
  const startedAtMs = Date.now();
  const id = nextId(startedAtMs);
  const { accountId } = caller;
  const { buckets, concurrency, budgets } = caller.checks;
  const request: AdmitRequest = {
    id,
    accountId,
    buckets: buckets.map((check) => ({ ...check })),
    concurrency: concurrency.map((check) => ({ ...check })),
    budgets: (budgets ?? []).map((check) => ({ ...check })),
    auth: { keyId: caller.keyId, accountVersion: 1, keyVersion: 1 },
    record: recordOf(id, startedAtMs, caller, false),
    outputPicoUsd: 15_000_000,
  };
  const { outcome } = await engine.admit(request);
  if (outcome !== 'admitted') throw new Error(`a request was not admitted: ${outcome}`);
  engine.markDispatched(id, accountId);
  await answer();
  const record = recordOf(id, startedAtMs, caller, true);
  await engine.settle({
    id,
    accountId,
    kind: 'exact',
    actual: { requests: 1, tokens: 500, costNanoUsd: 4_350 },
    record,
  });
}

async function runLoop(engine: Engine, all: readonly Caller[], count: number): Promise<void> {
  const upstream = createUpstream();
  let left = count;
  await Promise.all(
    all.map(async (caller) => {
      while (left-- > 0) await runRequest(engine, caller, upstream.answer);
    }),
  );
  upstream.stop();
}

const nullEngine: Engine = {
  admit: () => Promise.resolve({ outcome: 'admitted', buckets: [] }),
  markDispatched: () => {},
  settle: () => Promise.resolve(),
};

/** CPU of this process for each request of a loop. */
async function measureOwn(engine: Engine, all: readonly Caller[]): Promise<number> {
  const before = process.cpuUsage();
  await runLoop(engine, all, requestsPerRound);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / requestsPerRound;
}

type Counters = { scriptCalls: number; commands: number; cpuUs: number };

async function readCounters(admin: Redis, redis: BenchRedis): Promise<Counters> {
  const { redisCpuUs = 0, redisScriptCalls = 0 } = await redis.backing();
  const info = await admin.info('commandstats');
  const calls = [...info.matchAll(/cmdstat_\S+?:calls=(\d+)/g)].map(([, count]) => Number(count));
  return {
    scriptCalls: redisScriptCalls,
    commands: calls.reduce((sum, count) => sum + count, 0),
    cpuUs: redisCpuUs,
  };
}

type Bench = { engine: Engine; admin: Redis; redis: BenchRedis };

async function measureRound({ engine, admin, redis }: Bench, all: readonly Caller[]): Promise<Cost> {
  const before = await readCounters(admin, redis);
  const startedMs = performance.now();
  const gatewayUs = await measureOwn(engine, all);
  const durationMs = performance.now() - startedMs;
  const after = await readCounters(admin, redis);
  await tidy(admin);
  const perRequest = (pick: keyof Counters): number => (after[pick] - before[pick]) / requestsPerRound;
  const baselineUs = await measureOwn(nullEngine, all);
  return {
    callsPerRequest: perRequest('scriptCalls'),
    commandsPerRequest: perRequest('commands') - perRequest('scriptCalls'),
    gatewayUs: gatewayUs - baselineUs,
    redisUs: perRequest('cpuUs'),
    perSecond: (requestsPerRound * 1_000) / durationMs,
  };
}

/** What the drain would take away, and the server's own rewriting of its file, which would fall into some rounds and not in others. */
async function tidy(admin: Redis): Promise<void> {
  await admin.xtrim(usageStreamKey(keyPrefix, 0), 'MAXLEN', 0);
  await admin.bgrewriteaof();
  do await sleep(50);
  while (/aof_rewrite_(?:in_progress|scheduled):1/.test(await admin.info('persistence')));
}

/** What a lone caller waits for its admission, beside what the same server takes for nothing at all. */
async function measureLatency({ engine, admin }: Bench, caller: Caller): Promise<{ admitUs: number; pingUs: number }> {
  const admits: number[] = [];
  const pings: number[] = [];
  const timed: Engine = {
    ...engine,
    async admit(request) {
      const startedMs = performance.now();
      const result = await engine.admit(request);
      admits.push((performance.now() - startedMs) * 1_000);
      return result;
    },
  };
  for (let index = 0; index < loneRequests; index += 1) {
    await runRequest(timed, caller, () => Promise.resolve());
    const startedMs = performance.now();
    await admin.ping();
    pings.push((performance.now() - startedMs) * 1_000);
  }
  return { admitUs: quantile(admits, 0.5), pingUs: quantile(pings, 0.5) };
}

async function prepare(engine: ReturnType<typeof createRedisEngine>, all: readonly Caller[]): Promise<void> {
  for (const { accountId, keyId, checks } of all) {
    await engine.raiseAuthVersion(accountId, { account: 1, key: { id: keyId, version: 1 } });
    for (const budget of checks.budgets ?? []) await engine.seedBudget(accountId, budget, 0);
  }
}

const scratchDirectory = mkdtempSync(join(tmpdir(), 'tollgate-bench-admission-'));
const processes = createProcesses();
const redis = await startRedis({ processes, cpu: createCpuReader(), loadCore: null, scratchDirectory });
if (redis === null) throw new Error('this benchmark needs `redis-server` (apt-get install redis-server)');
const limiter = openRedis(redis.url, log, { commandTimeoutMs: 5_000 });
const background = openRedis(redis.url, log, { commandTimeoutMs: 2_000 });
const admin = new Redis(redis.url);
const engine = createRedisEngine({
  limiter,
  background,
  keyPrefix,
  sink: { append: () => {}, hasRoom: () => true },
  log,
  // A busy machine must not turn slowness into refusals here: what is asked is what the work costs.
  boundMs: 5_000,
});
try {
  await engine.ready;
  await admin.config('SET', 'auto-aof-rewrite-percentage', 0);
  const bench: Bench = { engine, admin, redis };
  const plans = [false, true].map((hasBudgets) => ({
    name: hasBudgets ? 'with two budgets' : 'without budgets',
    all: createCallers(hasBudgets),
    costs: [] as Cost[],
  }));
  for (const { all } of plans) await prepare(engine, all);
  for (const { all } of plans) await measureRound(bench, all);
  for (let round = 0; round < rounds; round += 1) {
    for (const plan of shuffled(plans, Math.random)) plan.costs.push(await measureRound(bench, plan.all));
  }
  const version = /redis_version:(\S+)/.exec(await admin.info('server'))?.[1] ?? '';
  console.log(`${cpus()[0]?.model.trim()}, ${cpus().length} cores, Node ${process.version}, Redis ${version}`);
  console.log(`load average ${loadavg()[0]?.toFixed(1)}\n`);
  const rows = plans.map(({ name, costs }) => {
    const median = (pick: keyof Cost, digits: number): string =>
      formatNumber(
        quantile(
          costs.map((cost) => cost[pick]),
          0.5,
        ),
        digits,
      );
    const calls = quantile(
      costs.map(({ callsPerRequest }) => callsPerRequest),
      0.5,
    );
    return [
      name,
      median('callsPerRequest', 3),
      formatNumber(3 / calls, 0),
      median('commandsPerRequest', 1),
      median('gatewayUs', 1),
      median('redisUs', 1),
      median('perSecond', 0),
    ];
  });
  const head = [
    'checks',
    'calls/request',
    'operations/call',
    'commands/request',
    'gateway CPU us',
    'Redis CPU us',
    'requests/s',
  ];
  console.log(`${callers} callers, ${rounds} rounds of ${requestsPerRound} requests, medians.\n`);
  console.log(markdownTable(head, rows));
  const [first] = plans;
  const [caller] = first?.all ?? [];
  if (caller !== undefined) {
    const { admitUs, pingUs } = await measureLatency(bench, caller);
    console.log(
      `\nOne caller: admission ${formatNumber(admitUs, 0)} us, PING ${formatNumber(pingUs, 0)} us (medians).`,
    );
  }
} finally {
  await engine.close();
  for (const connection of [limiter, background, admin]) connection.disconnect();
  await redis.stop();
  await processes.stopAll();
  rmSync(scratchDirectory, { recursive: true, force: true });
}
