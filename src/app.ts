/**
 * The composition root: builds the rooms and hands each what it needs. The path of a request, in order:
 *
 *   http/server      a request id and the clock's start; caps on headers, body and time
 *   http/v1/scope    API key -> principal (onRequest, before the body is read); the body as one buffer
 *   gateway/chat-corridor   body understood, model resolved, limits asked
 *   gateway/relay    adapt, send, pipe, meter: per target until one answers
 *   gateway/settle   the one exit: slot, buckets, row, metrics, log line
 *   engine.ts        the way of its row into Postgres: a stream and its drain, or a journal and the ledger
 */
import { hostname } from 'node:os';
import type { FastifyInstance } from 'fastify';
import { type Kysely, sql } from 'kysely';
import { createDeclaredProvider, dialects, registry } from '../providers/index.ts';
import { defaultKeyPrefix } from './admission/redis-keys.ts';
import { tellAuthChange } from './auth/auth-change.ts';
import { createKeyAuthenticator } from './auth/key-authenticator.ts';
import { createOutboxWorker } from './auth/outbox-worker.ts';
import { createSealer } from './auth/sealed-text.ts';
import type { GatewayConfig, ProviderConfig } from './config/types.ts';
import type { ProviderAdapter } from './contract/provider.ts';
import { createAdmissionGate } from './gateway/admission-gate.ts';
import { openEngine } from './engine.ts';
import { createChatCorridor } from './gateway/chat-corridor.ts';
import { Exchange } from './gateway/exchange.ts';
import { createRandomId } from './gateway/random-id.ts';
import { openProviders } from './gateway/providers.ts';
import { createRelay } from './gateway/relay.ts';
import { createRevocationWatch } from './gateway/revocation-watch.ts';
import { createSettle } from './gateway/settle.ts';
import { createWatchdog, type Watchdog } from './gateway/watchdog.ts';
import { opsScope } from './http/ops.ts';
import { createServer } from './http/server.ts';
import { v1Scope } from './http/v1/scope.ts';
import type { Logger } from './platform/logger.ts';
import { createMetrics, type Metrics } from './platform/metrics.ts';
import type { OpenDatabase } from './platform/postgres.ts';
import { createProbes } from './platform/probes.ts';
import { createUuidSource } from './platform/uuid.ts';
import { createRouter } from './routing/router.ts';
import { findKeyByPublicId } from './store/api-keys.ts';
import { type AuthChange, tellAuthChanges } from './store/auth-outbox.ts';
import { spentNanoUsd } from './store/budgets.ts';
import { findKeySpending } from './store/key-spending.ts';
import { addRejections } from './store/rejections.ts';
import type { StoreSchema } from './store/schema.ts';
import { createAssetFetch } from './upstream/asset-fetch.ts';
import { createUpstreamClient } from './upstream/client.ts';
import { reconcileBudgets } from './usage/reconcile.ts';
import { createRejectionCounter } from './usage/rejections.ts';

/** What the configuration may name; the command line checks files with it. */
export const known = {
  providerIds: Object.keys(registry),
  keylessProviderIds: Object.values<ProviderAdapter>(registry).flatMap(({ id, needsKey }) => (needsKey ? [] : [id])),
  dialects,
  settings: Object.fromEntries(
    Object.values<ProviderAdapter>(registry).flatMap(({ id, settings }) =>
      settings === undefined ? [] : [[id, settings]],
    ),
  ),
};

export type AppOptions = {
  config: GatewayConfig;
  database: OpenDatabase<StoreSchema>;
  /** Connections for keys and for the ledger alone, so that neither waits behind anything else; `database` stands in. */
  pools?: { auth: Kysely<StoreSchema>; drain: Kysely<StoreSchema> };
  pepper: string;
  /** The root that stored credentials are sealed under. */
  secret: string;
  log: Logger;
  /** How often the clocks of running requests are looked at. */
  sweepMs?: number;
  /** How often running requests of tiers with `hard_revoke` are checked. */
  heartbeatMs?: number;
  /** Of every name in Redis; gateways that share limits share it. */
  redisKeyPrefix?: string;
};

export interface App {
  server: FastifyInstance;
  metrics: Metrics;
  /** Brings the budgets of the engine in line with the rows, which it reads by this handle. */
  reconcileBudgets(db: Kysely<StoreSchema>, signal: AbortSignal): Promise<void>;
  /** Stops taking requests, lets running ones end until the deadline, settles and flushes everything, closes. */
  close(drain: { delayMs: number; deadlineMs: number }): Promise<void>;
}

/** Proven limits, proven bad keys, and trouble of our own; other refusals are the caller's mistakes. */
const countedStatuses: ReadonlySet<number> = new Set([401, 429, 503]);
const outboxRows = 100;
const flushDeadlineMs = 15_000;

export async function createApp(options: AppOptions): Promise<App> {
  const { config, database, log } = options;
  const { pools = { auth: database.db, drain: database.db } } = options;
  const metrics = createMetrics();
  const {
    engine,
    pingRedis,
    depth,
    close: closeEngine,
  } = await openEngine({
    config,
    database: { db: pools.drain, kind: database.kind },
    log,
    metrics,
    redisKeyPrefix: options.redisKeyPrefix ?? defaultKeyPrefix,
  });
  const questions = {
    ...(database.kind === 'postgres' ? { postgres: () => sql`select 1`.execute(pools.auth) } : {}),
    ...(pingRedis === null ? {} : { redis: pingRedis }),
  };
  for (const dep of Object.keys(questions)) metrics.degraded.set({ dep }, 0);
  const probes = createProbes({
    questions,
    onChange(dep, isUp, error) {
      metrics.degraded.set({ dep }, isUp ? 0 : 1);
      if (isUp) log.info({ dependency: dep }, 'a store answers again');
      else log.error({ dependency: dep, err: error }, 'a store does not answer');
    },
  });
  const { providers, close: closeProviders } = openProviders(config.providers, {
    adapterOf,
    sealer: createSealer(options.secret),
    log,
  });
  const router = createRouter({
    catalogue: config.catalogue,
    aliases: config.aliases,
    providerIds: [...providers.keys()],
  });
  const upstream = createUpstreamClient({ connectMs: config.timeouts.connectMs });
  const assets = createAssetFetch({ hosts: config.fetchHosts });
  const watchdog = createWatchdog(options.sweepMs ?? 250);
  const relay = createRelay({
    providers,
    upstream,
    assets,
    timeouts: config.timeouts,
    watchdog,
    randomId: createRandomId(),
    onDispatched: (flow) => engine.markDispatched(flow.requestId, flow.principal.accountId),
    onProgress: (flow, outputTokens) =>
      engine.reportProgress(flow.requestId, flow.principal.accountId, flow.inputTokens + outputTokens),
    onAttempt: (target, result, hasNext) => {
      const outcome = result.error === null ? 'ok' : result.error.kind;
      metrics.attempts.inc({ provider: target.providerId, result: outcome });
      if (hasNext) metrics.failovers.inc({ provider: target.providerId, reason: outcome });
    },
    settle: createSettle({ engine, metrics, log }),
  });
  const gate = createAdmissionGate({
    engine,
    metrics,
    spentNanoUsd: (accountId, budget, atMs) => spentNanoUsd(database.db, { accountId, ...budget }, atMs),
  });
  const serveChat = createChatCorridor({
    isStrict: config.strict,
    outputAllowance: (target, body) =>
      providers.get(target.providerId)?.adapter.endpoints.chat?.outputAllowance?.(body, target) ?? 0,
    router,
    gate,
    relay,
    metrics,
  });
  const revocations = createRevocationWatch({
    running: () => runningExchanges(watchdog),
    gate,
    ...(options.heartbeatMs === undefined ? {} : { heartbeatMs: options.heartbeatMs }),
  });
  const authenticator = createKeyAuthenticator({
    pepper: options.pepper,
    findKey: (publicId) => findKeyByPublicId(pools.auth, publicId),
    tierOf: (tierId) => config.tiers[tierId],
    clock: () => Date.now(),
  });
  const outbox = createOutboxWorker({
    tell: () => tellAuthChanges(database.db, { limit: outboxRows, tell: tellChange }),
    log,
  });
  /** A cache that is emptied at once spares the first request behind a change its second look. */
  async function tellChange(change: AuthChange): Promise<boolean> {
    const isHeard = await tellAuthChange(change, (id, versions) => engine.raiseAuthVersion(id, versions));
    if (isHeard && change.key !== null) authenticator.forget(change.key.publicId);
    return isHeard;
  }

  const replica = `${hostname()}:${process.pid}`;
  const rejections = createRejectionCounter({
    insert: (counts) => addRejections(database.db, replica, counts),
    clock: () => Date.now(),
    onFailure: (error, waitingSeries) =>
      log.warn({ err: error, waiting_series: waitingSeries }, 'counts of refusals wait for the database'),
  });

  let isDraining = false;
  let isReady = false;
  const server = createServer({
    log,
    bodyLimitBytes: config.bodyLimitBytes,
    trustProxy: config.trustProxy,
    createRequestId: createUuidSource(),
  });
  await server.register(v1Scope, {
    prefix: '/v1',
    authenticator,
    gate,
    serveChat,
    router,
    findSpending: (principal) => findKeySpending(database.db, principal, Date.now()),
    metrics,
    onRefusal: (refusal) => {
      if (countedStatuses.has(refusal.status)) rejections.count(refusal);
    },
    isDraining: () => isDraining,
    corsOrigins: config.corsOrigins,
  });
  await server.register(opsScope, {
    metrics,
    readiness: () => {
      if (isDraining) return 'draining';
      return isReady ? null : 'the admission engine has no contact with its store yet';
    },
    dependencies: () => ({
      postgres: database.kind === 'postgres' ? stateOf('postgres') : 'embedded',
      redis: pingRedis === null ? 'embedded' : stateOf('redis'),
    }),
    observe: () => {
      metrics.openLeases.set(engine.openLeases());
      metrics.journalDepth.set(depth());
    },
  });
  function stateOf(name: string): 'ok' | 'degraded' {
    return probes.isUp(name) ? 'ok' : 'degraded';
  }
  engine.ready.then(
    () => {
      isReady = true;
    },
    (error: unknown) => log.error({ err: error }, 'the admission engine cannot be used'),
  );

  return {
    server,
    metrics,
    async reconcileBudgets(db, signal) {
      const result = await reconcileBudgets(db, {
        engine,
        unwrittenRows: depth,
        signal,
        onDrift({ deltaNanoUsd, ...budget }) {
          const driftUsd = deltaNanoUsd / 1e9;
          metrics.budgetDrift.inc({ more: driftUsd > 0 ? 'rows' : 'engine' }, Math.abs(driftUsd));
          log.warn({ ...budget, drift_usd: driftUsd }, 'a budget differed from its rows and was adjusted');
        },
      });
      log.debug(result, 'budgets were compared with their rows');
    },
    async close(drain) {
      isDraining = true;
      probes.close();
      await pause(drain.delayMs);
      server.server.close();
      server.server.closeIdleConnections();
      const deadline = performance.now() + drain.deadlineMs;
      while (watchdog.size() > 0 && performance.now() < deadline) await pause(50);
      for (const running of runningExchanges(watchdog)) running.drain();
      revocations.close();
      await server.close();
      watchdog.close();
      await outbox.close();
      await closeEngine(flushDeadlineMs);
      const uncounted = await rejections.close(flushDeadlineMs);
      if (uncounted > 0) log.error({ refusals: uncounted }, 'refusals could not be counted before the end');
      await upstream.destroy();
      await assets.close();
      closeProviders();
    },
  };
}

function runningExchanges(watchdog: Watchdog): Exchange[] {
  const running: Exchange[] = [];
  watchdog.each((watched) => {
    if (watched instanceof Exchange) running.push(watched);
  });
  return running;
}

const pause = (durationMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, durationMs));

function adapterOf(entry: ProviderConfig): ProviderAdapter {
  const registered = Object.hasOwn(registry, entry.id) ? registry[entry.id as keyof typeof registry] : undefined;
  if (entry.dialect === null) {
    if (registered === undefined) throw new Error(`provider ${entry.id}: neither built in nor declared with a dialect`);
    return registered;
  }
  return createDeclaredProvider({ id: entry.id, dialect: entry.dialect, baseUrl: entry.baseUrl ?? '' });
}
