/**
 * The admission engine of many replicas: every step runs as one atom inside Redis, by the server's clock.
 * Takes two connections (one for requests, one for heartbeats and reaping, so that neither waits for the other) and a
 * sink for settled rows; gives the contract. Must answer within its bound whatever Redis does, must never turn trouble
 * into a 429, and must never forget a settlement it was given. Spec: reliability 2.2 to 2.4.
 */
import { crc32 } from 'node:zlib';
import type { Redis } from 'ioredis';
import type { AdmissionEngine, AdmitRequest, AdmitResult, Settlement, UsageSink } from '../contract/admission.ts';
import { notDispatchedRecord } from './abandoned-record.ts';
import { assertBounded, clampAmount } from './amount-bounds.ts';
import { everyInterval, type Every } from './clock.ts';
import { createReaper } from './reaper.ts';
import { watchRedisServer } from './redis-server-watch.ts';
import { createSettlementQueue } from './settlement-queue.ts';
import { createTickBatcher, type TickBatcher } from './tick-batcher.ts';
import { loadTickScript } from './tick-script.ts';
import {
  admitOperation,
  emptyPlan,
  markOperation,
  packPlan,
  readAdmitReply,
  renewOperation,
  settleOperation,
  type PackedPlan,
  type Progress,
} from './tick-operations.ts';

export type AdmissionLog = {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
};

export type RedisEngineOptions = {
  /** For requests: `openRedis(url, log)`. */
  limiter: Redis;
  /** For heartbeats, reaping and INFO: `openRedis(url, log, { commandTimeoutMs: 2000 })`. */
  background: Redis;
  sink: UsageSink;
  log: AdmissionLog;
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
  every?: Every;
  monotonicMs?: () => number;
  /** For tests: Lua that defines `readClock()` instead of the server's TIME. */
  clockLua?: string;
};

export interface RedisEngine extends AdmissionEngine {
  /** A server that is fit to hold limits was met; until then every admission is `limits_unavailable`. */
  readonly ready: Promise<void>;
}

type OwnRequest = Progress & { shard: Shard; plan: PackedPlan };
export type Shard = { limiter: TickBatcher; background: TickBatcher };

const operationBoundMs = 250;
const backgroundBoundMs = 2000;
const callsInFlight = 4;
const queuedAdmissions = 2000;
const unavailable: AdmitResult = { outcome: 'unavailable', reason: 'limits_unavailable' };

export function createRedisEngine(options: RedisEngineOptions): RedisEngine {
  const { limiter, background, sink, log, keyPrefix = 'tg:', shards: shardCount = 1 } = options;
  const { leaseMs = 30_000, heartbeatMs = 10_000, reapMs = 5_000, tombstoneMs = 3_600_000 } = options;
  const { openMs = 88_200_000, settlementBacklog = 10_000, allowEviction = false } = options;
  const { every = everyInterval, monotonicMs = () => performance.now() } = options;
  const script = loadTickScript(options.clockLua);
  const times = [leaseMs, leaseMs - heartbeatMs - 2000, tombstoneMs, openMs].map(String);
  const server = watchRedisServer(background, { log, allowEviction, every });
  const settlements = createSettlementQueue({
    sink,
    nowMs: monotonicMs,
    capacity: settlementBacklog,
    onFailure: sayFailure,
  });
  const shards = Array.from({ length: shardCount }, (_, index) => openShard(index));
  const ownRequests = new Map<string, OwnRequest>();
  let renewedAtMs = monotonicMs();
  let saidFailureAtMs = -Infinity;
  const reaper = createReaper({ shards, sink, isOwn: (id) => ownRequests.has(id), onFailure: sayFailure });
  background.on('ready', renewAfterReconnect);
  const stopHeartbeat = every(heartbeatMs, renewOwnLeases);
  const stopReaper = every(reapMs, reap);

  function openShard(index: number): Shard {
    const common = { script, key: `${keyPrefix}{${index}}:open`, header, nowMs: monotonicMs };
    const sayOpen = (connection: string) => () =>
      log.error({ shard: index, connection }, 'redis does not answer: admission is closed');
    const sayClosed = (connection: string) => () => {
      log.info({ shard: index, connection }, 'redis answers again');
      settlements.retryNow();
    };
    return {
      limiter: createTickBatcher({
        ...common,
        redis: limiter,
        boundMs: operationBoundMs,
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

  function header(): readonly string[] {
    const gate = sink.hasRoom() ? (server.hasHeadroom() ? '' : 'STORE_FULL') : 'JOURNAL_FULL';
    return [gate, ...times];
  }

  function shardOf(accountId: string): Shard {
    const shard = shards[shardCount === 1 ? 0 : crc32(accountId) % shardCount];
    if (shard === undefined) throw new RangeError('no shards');
    return shard;
  }

  async function admit(request: AdmitRequest): Promise<AdmitResult> {
    assertBounded(request);
    if (!server.isFit() || settlements.size() >= settlementBacklog) return unavailable;
    renewIfLate();
    const plan = packPlan(request);
    const shard = shardOf(request.accountId);
    const reply = await shard.limiter.submit(admitOperation(request, plan));
    if (reply.kind === 'ambiguous') giveUp(request, { shard, plan });
    if (reply.kind === 'failed') sayFailure(reply.message);
    const result = reply.kind === 'answered' ? readAdmitReply(request, reply.reply) : null;
    if (result?.outcome === 'admitted' && !ownRequests.has(request.id)) {
      ownRequests.set(request.id, { shard, plan, progressTokens: 0, isDispatched: false });
    }
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

  function settle(settlement: Settlement): Promise<void> {
    const plan = ownRequests.get(settlement.id)?.plan ?? emptyPlan;
    ownRequests.delete(settlement.id);
    const { record } = settlement;
    const batcher = shardOf(settlement.accountId).limiter;
    return settlements.deliver({ batcher, operation: settleOperation(settlement, plan), record, isGivenUp: false });
  }

  /** Not repeated when it is lost: the next heartbeat says it again. */
  function markDispatched(id: string, accountId: string): void {
    const own = ownRequests.get(id);
    if (own !== undefined) own.isDispatched = true;
    void shardOf(accountId).limiter.submit(markOperation(id));
  }

  function reportProgress(id: string, _accountId: string, tokens: number): void {
    const own = ownRequests.get(id);
    if (own !== undefined) own.progressTokens = Math.max(own.progressTokens, clampAmount(tokens));
  }

  async function renewOwnLeases(): Promise<void> {
    await renewThrough('background');
  }

  function renewAfterReconnect(): void {
    void renewOwnLeases();
  }

  async function renewThrough(connection: 'limiter' | 'background'): Promise<void> {
    renewedAtMs = monotonicMs();
    const replies = await Promise.all(
      Array.from(ownRequests, ([id, own]) => own.shard[connection].submit(renewOperation(id, own))),
    );
    const lost = replies.filter((reply) => reply.kind === 'answered' && reply.reply[0] !== 'OK').length;
    if (lost > 0) log.warn({ lost }, 'leases of running requests were gone');
  }

  /** After a freeze the renewals travel ahead of the admissions of the same call. */
  function renewIfLate(): void {
    if (monotonicMs() - renewedAtMs >= 2 * heartbeatMs) void renewThrough('limiter');
  }

  async function reap(): Promise<void> {
    if (monotonicMs() - renewedAtMs >= 2 * heartbeatMs) await renewOwnLeases();
    await reaper.run();
  }

  /** A poisoned key fails every request of its account: one line a second says it as well as a thousand. */
  function sayFailure(message: string): void {
    const now = monotonicMs();
    if (now - saidFailureAtMs < 1000) return;
    saidFailureAtMs = now;
    log.error({ problem: message }, 'redis refused an admission step');
  }

  async function close(): Promise<void> {
    stopHeartbeat();
    stopReaper();
    background.off('ready', renewAfterReconnect);
    server.close();
    await settlements.close();
    for (const shard of shards) {
      shard.limiter.stop();
      shard.background.stop();
    }
  }

  return {
    admit,
    settle,
    markDispatched,
    reportProgress,
    openLeases: () => ownRequests.size,
    close,
    ready: server.ready,
  };
}
