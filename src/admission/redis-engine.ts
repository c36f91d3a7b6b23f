/**
 * The admission engine of many replicas: every step runs as one atom inside Redis, by the server's clock.
 * Takes two connections (one for requests, one for heartbeats and reaping, so that neither waits for the other) and a
 * sink for settled rows; gives the contract. Must answer within its bound whatever Redis does, must never turn trouble
 * into a 429, and must never forget a settlement it was given. Spec: reliability 2.2 to 2.4.
 */
import { randomUUID } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import type { AdmitRequest, AdmitResult, GovernedEngine, Settlement, UsageSink } from '../contract/admission.ts';
import { notDispatchedRecord } from './abandoned-record.ts';
import { assertAuth, assertBounded, assertDelta } from './amount-bounds.ts';
import { everyInterval, type Every } from './clock.ts';
import { createOwnLeases, type Shard } from './own-leases.ts';
import { createReaper } from './reaper.ts';
import { defaultKeyPrefix, openLeasesKey, shardOfAccount, usageStreamKey } from './redis-keys.ts';
import { watchRunId } from './run-id-watch.ts';
import { watchRedisServer, type ServerWatch } from './redis-server-watch.ts';
import { createReplayRing } from './replay-ring.ts';
import { createSettlementQueue } from './settlement-queue.ts';
import { createTickBatcher } from './tick-batcher.ts';
import { readAdmitReply, readBudgetReply, readInspection } from './tick-replies.ts';
import { createSilence, type Silence } from './silence.ts';
import { loadTickScript } from './tick-script.ts';
import {
  adjustOperation,
  admitOperation,
  checkAuthOperation,
  emptyPlan,
  inspectOperation,
  markOperation,
  packPlan,
  raiseAuthOperation,
  seedOperation,
  settleOperation,
  type PackedPlan,
  type TickOperation,
} from './tick-operations.ts';

export type AdmissionLog = {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
};

export type RedisEngineOptions = {
  /** For requests: `openRedis(url, log)`. */
  limiter: Redis | Cluster;
  /** For heartbeats, reaping and the questions to the servers: `openRedis(url, log, { commandTimeoutMs: 2000 })`. */
  background: Redis | Cluster;
  /** Takes the rows that Redis does not: all without the usage stream, else those of settlements it does not answer. */
  sink: UsageSink;
  log: AdmissionLog;
  /** Rows are appended to the usage stream, in the same atom as slot and refund; somebody must drain it. */
  usageStream?: boolean;
  /** Rows that wait in a shard's stream; beyond this its admissions are `journal_full`, and settlements still pass. */
  streamCapEntries?: number;
  /** The same by the memory that the stream takes, looked at once a second. */
  streamCapBytes?: number;
  keyPrefix?: string;
  /** Fixed for the life of the data: an account's keys all live in one shard. */
  shards?: number;
  leaseMs?: number;
  heartbeatMs?: number;
  reapMs?: number;
  tombstoneMs?: number;
  /** How long the record of a running request is kept; longer than any request may run. */
  openMs?: number;
  /** Unanswered settlements beyond this close admission. */
  settlementBacklog?: number;
  allowEviction?: boolean;
  /** How long one operation may take, counted from its enqueue. */
  boundMs?: number;
  every?: Every;
  monotonicMs?: () => number;
  /** For tests: Lua that defines `readClock()` instead of the server's TIME. */
  clockLua?: string;
};

export interface RedisEngine extends GovernedEngine {
  /** Since when, by `monotonicMs`, the shard of this account gives no answer; null while it does. */
  silentSinceMs(accountId: string): number | null;
  /** A request that was admitted without Redis: its lease and debits are asserted when Redis is back, its row is kept. */
  adopt(request: AdmitRequest): void;
  /** A server that is fit to hold limits was met. Until a shard's own was, its admissions are `limits_unavailable`. */
  readonly ready: Promise<void>;
}

const backgroundBoundMs = 2000;
const sameLineMs = 5000;
const lateShardsMs = 1000;
const replayRetryMs = 500;
const callsInFlight = 4;
const queuedAdmissions = 2000;
const unavailable: AdmitResult = { outcome: 'unavailable', reason: 'limits_unavailable' };

type WatchedShard = Shard & { server: ServerWatch; silence: Silence; stopRunIdWatch: () => void };

export function createRedisEngine(options: RedisEngineOptions): RedisEngine {
  const { limiter, background, sink, log, keyPrefix = defaultKeyPrefix, shards: shardCount = 1 } = options;
  const { leaseMs = 30_000, heartbeatMs = 10_000, reapMs = 5_000, tombstoneMs = 3_600_000 } = options;
  const { openMs = 88_200_000, settlementBacklog = 10_000, allowEviction = false } = options;
  const { usageStream: hasStream = true, streamCapEntries = 1_000_000 } = options;
  const { streamCapBytes = 512 * 1024 * 1024, boundMs = 250 } = options;
  const { every = everyInterval, monotonicMs: nowMs = () => performance.now() } = options;
  const script = loadTickScript(options.clockLua);
  const times = [leaseMs, leaseMs - heartbeatMs - 2000, tombstoneMs, openMs, hasStream ? streamCapEntries : 0];
  const settings = times.map(String);
  const ring = createReplayRing({ nowMs });
  const settlements = createSettlementQueue({
    sink,
    hasStream,
    nowMs,
    capacity: settlementBacklog,
    onFailure: sayFailure,
    onSettled: (settled) => ring.remember(settled),
  });
  const own = createOwnLeases({
    nowMs,
    leaseMs,
    heartbeatMs,
    onLost: (lost) => log.warn({ lost }, 'leases of running requests were gone and are asserted again'),
  });
  let saidFailureAtMs = -Infinity;
  let isClosed = false;
  const serverLog = sayOnce(log, nowMs);
  const shards = Array.from({ length: shardCount }, (_, index) => openShard(index));
  const reaper = createReaper({ shards, sink: hasStream ? null : sink, isOwn: own.has, onFailure: sayFailure });
  const renewOwnLeases = (): Promise<void> => own.renew('background');
  const goOnWithRequests = (): void => shards.forEach((shard) => shard.limiter.reconnected());
  const goOnWithLeases = (): void => {
    for (const shard of shards) shard.background.reconnected();
    void renewOwnLeases();
  };
  limiter.on('ready', goOnWithRequests);
  background.on('ready', goOnWithLeases);
  const stopHeartbeat = every(heartbeatMs, renewOwnLeases);
  const stopReaper = every(reapMs, reap);

  function openShard(index: number): WatchedShard {
    let incarnation: string | null = null;
    const onIncarnation = (seen: string): void => {
      const isLoss = incarnation !== null && incarnation !== seen;
      incarnation = seen;
      if (isLoss) void recover(index);
    };
    const key = openLeasesKey(keyPrefix, index);
    const silence = createSilence(nowMs);
    const server = watchRedisServer(background, {
      key,
      streamKey: usageStreamKey(keyPrefix, index),
      streamCapBytes: hasStream ? streamCapBytes : Infinity,
      log: serverLog,
      allowEviction,
      every,
      onRestart: () => void assertAgain(index),
      onAnswer: () => silence.answered(),
    });
    const stopRunIdWatch = watchRunId(limiter, { key, every, onChange: () => void replayToNewServer(index) });
    const header = (): readonly string[] => [gateOf(server), ...settings, randomUUID()];
    const common = { script, key, header, nowMs, onIncarnation };
    const sayOpen = (connection: string) => () =>
      log.error({ shard: index, connection }, 'redis does not answer: admission is closed');
    const sayClosed = (connection: string) => () => {
      log.info({ shard: index, connection }, 'redis answers again');
      settlements.retryNow();
      const shard = shards[index];
      if (shard !== undefined) void replay(shard);
    };
    return {
      server,
      silence,
      stopRunIdWatch,
      limiter: createTickBatcher({
        ...common,
        redis: limiter,
        boundMs,
        callsInFlight,
        queueLimit: queuedAdmissions,
        onOpen: sayOpen('limiter'),
        onClose: sayClosed('limiter'),
      }),
      background: createTickBatcher({
        ...common,
        redis: background,
        boundMs: backgroundBoundMs,
        callsInFlight: 1,
        queueLimit: Infinity,
        onOpen: sayOpen('background'),
        onClose: sayClosed('background'),
      }),
    };
  }

  /** The shard's data is gone: what runs is asserted again, and what was settled a moment ago is settled again. */
  async function recover(index: number): Promise<void> {
    log.error({ shard: index }, 'redis has lost the data of a shard');
    await assertAgain(index);
    // A settlement that ran before the loss may be answered, and so remembered, only behind the first replay.
    await new Promise((resolve) => setTimeout(resolve, boundMs).unref());
    const shard = shards[index];
    if (shard !== undefined) await replay(shard);
  }

  async function assertAgain(index: number): Promise<void> {
    const shard = shards[index];
    if (shard !== undefined) await Promise.all([own.renew('background', shard), replay(shard)]);
  }

  /** Until it was answered: the other connection may not be back yet. What is too old by then the ring has forgotten. */
  async function replay(shard: Shard, through = shard.background): Promise<void> {
    for (;;) {
      if (isClosed || (await ring.replay(shard.limiter, through))) return;
      await new Promise((resolve) => setTimeout(resolve, replayRetryMs).unref());
    }
  }

  /** By the connection that saw it: the other one may still be at the old server, whose answers are worth nothing. */
  async function replayToNewServer(index: number): Promise<void> {
    const shard = shards[index];
    if (shard !== undefined) await replay(shard, shard.limiter);
  }

  function gateOf(server: ServerWatch): string {
    if (!sink.hasRoom() || server.isStreamFull()) return 'JOURNAL_FULL';
    return server.hasHeadroom() ? '' : 'STORE_FULL';
  }

  function shardOf(accountId: string): WatchedShard {
    const shard = shards[shardOfAccount(accountId, shardCount)];
    if (shard === undefined) throw new RangeError('no shards');
    return shard;
  }

  async function admit(request: AdmitRequest): Promise<AdmitResult> {
    assertBounded(request);
    const shard = shardOf(request.accountId);
    if (!shard.server.isFit() || settlements.size() >= settlementBacklog) return unavailable;
    // The renewals travel ahead of the admissions of the same call.
    if (own.isLate()) void own.renew('limiter');
    const plan = packPlan(request, request.record.startedAtMs);
    const askedAtMs = nowMs();
    const reply = await shard.limiter.submit(admitOperation(request, plan));
    if (reply.kind === 'answered' || reply.kind === 'failed') shard.silence.answered();
    else shard.silence.missed();
    if (reply.kind === 'ambiguous') giveUp(request, { shard, plan });
    if (reply.kind === 'failed') sayFailure(reply.message);
    const result = reply.kind === 'answered' ? readAdmitReply(request, reply.reply) : null;
    if (result?.outcome === 'admitted') own.add(request, { shard, plan, askedAtMs });
    return result ?? unavailable;
  }

  /** The server may have admitted it. The void frees what it took, or blocks it should it still arrive. */
  function giveUp(request: AdmitRequest, { shard, plan }: { shard: Shard; plan: PackedPlan }): void {
    const { id, accountId } = request;
    const record = notDispatchedRecord(request.record);
    const settlement: Settlement = { id, accountId, kind: 'void', actual: { requests: 0, tokens: 0 }, record };
    const operation = settleOperation(settlement, plan);
    void settlements.deliver({ batcher: shard.limiter, operation, record, isGivenUp: true });
  }

  function adopt(request: AdmitRequest): void {
    const plan = packPlan(request, request.record.startedAtMs);
    own.add(request, { shard: shardOf(request.accountId), plan, askedAtMs: nowMs() });
  }

  function settle(settlement: Settlement): Promise<void> {
    const plan = own.remove(settlement.id) ?? emptyPlan;
    const { record } = settlement;
    const batcher = shardOf(settlement.accountId).limiter;
    return settlements.deliver({ batcher, operation: settleOperation(settlement, plan), record, isGivenUp: false });
  }

  /** Not repeated when it is lost: the next heartbeat says it again. */
  function markDispatched(id: string, accountId: string): void {
    own.markDispatched(id);
    void shardOf(accountId).limiter.submit(markOperation(id));
  }

  async function reap(): Promise<void> {
    if (own.isLate()) await renewOwnLeases();
    await reaper.run();
  }

  /** A poisoned key fails every request of its account: one line a second says it as well as a thousand. */
  function sayFailure(message: string): void {
    const now = nowMs();
    if (now - saidFailureAtMs < 1000) return;
    saidFailureAtMs = now;
    log.error({ problem: message }, 'redis refused an admission step');
  }

  async function close(): Promise<void> {
    isClosed = true;
    stopHeartbeat();
    stopReaper();
    limiter.off('ready', goOnWithRequests);
    background.off('ready', goOnWithLeases);
    for (const { server, stopRunIdWatch } of shards) {
      server.close();
      stopRunIdWatch();
    }
    await settlements.close();
    for (const shard of shards) {
      shard.limiter.stop();
      shard.background.stop();
    }
  }

  async function ask(accountId: string, operation: TickOperation): Promise<readonly unknown[] | null> {
    const reply = await shardOf(accountId).limiter.submit(operation);
    if (reply.kind === 'failed') sayFailure(reply.message);
    return reply.kind === 'answered' ? reply.reply : null;
  }

  const ready = untilFit(shards.map(({ server }) => server.ready));
  ready.catch(() => {});
  return {
    admit,
    adopt,
    silentSinceMs: (accountId) => shardOf(accountId).silence.sinceMs(),
    leaseOf: own.leaseOf,
    settle,
    markDispatched,
    reportProgress: (id, _accountId, tokens) => own.reportProgress(id, tokens),
    openLeases: own.size,
    async checkAuth(accountId, stamp) {
      assertAuth(accountId, stamp);
      const reply = await ask(accountId, checkAuthOperation(accountId, stamp));
      return reply === null ? 'unavailable' : reply[0] === 'OK' ? 'ok' : 'stale_auth';
    },
    raiseAuthVersion: async (accountId, versions) =>
      (await ask(accountId, raiseAuthOperation(accountId, versions))) !== null,
    async seedBudget(accountId, budget, spentNanoUsd, atMs) {
      await ask(accountId, seedOperation(budget, spentNanoUsd, atMs));
    },
    async readBudget(accountId, budget) {
      const reply = await ask(accountId, adjustOperation(budget, { mark: '', deltaNanoUsd: 0 }));
      return reply === null ? null : readBudgetReply(reply);
    },
    async adjustBudget(accountId, budget, change) {
      assertDelta(change);
      return (await ask(accountId, adjustOperation(budget, change)))?.[0] === 'ADJUSTED';
    },
    async inspect(request) {
      const operation = inspectOperation(packPlan(request, 0));
      const reply = await ask(request.accountId, operation);
      return reply === null ? null : readInspection(request, reply);
    },
    close,
    ready,
  };
}

/** In a Cluster one master that is away must not keep the accounts of the others out for longer than a moment. */
async function untilFit(servers: readonly Promise<void>[]): Promise<void> {
  const all = Promise.all(servers);
  const moment = Promise.any(servers).then(() => new Promise((resolve) => setTimeout(resolve, lateShardsMs).unref()));
  await Promise.race([all, moment]);
}

/** Shards may share a server: what the first has said of it is not said again for each of the others. */
function sayOnce(log: AdmissionLog, nowMs: () => number): Pick<AdmissionLog, 'warn' | 'error'> {
  const saidAtMs = new Map<string, number>();
  const isNews = (message: string): boolean => {
    const now = nowMs();
    const wasSaid = now - (saidAtMs.get(message) ?? -Infinity) < sameLineMs;
    saidAtMs.set(message, now);
    return !wasSaid;
  };
  return {
    warn(details, message) {
      if (isNews(message)) log.warn(details, message);
    },
    error(details, message) {
      if (isNews(message)) log.error(details, message);
    },
  };
}
