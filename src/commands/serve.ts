/** `serve`: opens what the configuration names, starts the gateway, tells a person how to use it, and ends it in order. */
import { createApp, known, type App } from '../app.ts';
import { ensureKey } from '../auth/key-issue.ts';
import { generateApiKey } from '../auth/api-key.ts';
import { loadConfig } from '../config/load.ts';
import type { GatewayConfig } from '../config/types.ts';
import type { Price } from '../contract/flow.ts';
import { openWaitingServer, type WaitingServer } from '../http/waiting-server.ts';
import { createLogger, type Logger } from '../platform/logger.ts';
import { collectProcessMetrics } from '../platform/metrics.ts';
import { holdSingleReplicaLock } from '../platform/postgres.ts';
import { createUuidSource } from '../platform/uuid.ts';
import { listKeys } from '../store/api-keys.ts';
import { insertPriceVersions } from '../store/price-versions.ts';
import { awaitDatabase } from './await-database.ts';
import type { Command, CommandIo } from './command.ts';
import { openPools } from './open-pools.ts';
import { openStore, type OpenStore } from './open-store.ts';
import { makePartitions, startUpkeep } from './upkeep.ts';
import { welcome } from './welcome.ts';

/** Endpoint removal and SIGTERM race in a cluster; on a desk nobody wants to wait. Spec: reliability 7. */
const drainInProduction = { delayMs: 10_000, deadlineMs: 275_000 };
const drainInDevelopment = { delayMs: 0, deadlineMs: 5_000 };

export const serve: Command = {
  summary: 'Starts the gateway. Without DATABASE_URL and REDIS_URL everything runs inside this process.',
  usage: 'serve [--config FILE] [--port N] [--host H]',
  examples: ['tollgate serve', 'DATABASE_URL=postgres://... REDIS_URL=redis://... tollgate serve --port 9000'],
  options: { config: { type: 'string' }, port: { type: 'string' }, host: { type: 'string' } },
  async run({ values, io }) {
    const flags = Object.fromEntries(Object.entries(values).filter(([, value]) => typeof value === 'string'));
    const config = loadConfig({ ...known, flags });
    const { log, flush } = createLogger({
      level: config.logLevel,
      isPretty: config.environment === 'development' && process.stdout.isTTY,
    });
    for (const warning of config.warnings) log.warn({ warning }, 'configuration');
    // From here on, so that none is lost: the first process of a container hears no signal that it does not listen to.
    const stopping = firstSignal();
    const waiting = await openWaiting(config);
    try {
      if (config.databaseUrl === null || (await awaitDatabase(config.databaseUrl.reveal(), log, stopping.signal)))
        await runGateway(config, { io, log, stopping, waiting });
      log.info({}, 'stopped');
    } finally {
      await waiting?.close();
      flush();
    }
    return 0;
  },
};

/** Only a database server can keep the start waiting. */
async function openWaiting({ databaseUrl, host, port }: GatewayConfig): Promise<WaitingServer | null> {
  return databaseUrl === null ? null : openWaitingServer({ host, port, createRequestId: createUuidSource() });
}

type Start = { io: CommandIo; log: Logger; stopping: Stopping; waiting: WaitingServer | null };

/** Resolves when it has ended in order. */
async function runGateway(config: GatewayConfig, { io, log, stopping, waiting }: Start): Promise<void> {
  const store = await openStore(config, { log });
  const releaseReplica = await holdAlone(config, log);
  const { pools, close: closePools } = await openPools(config, log);
  try {
    const jobsDb = pools?.jobs ?? store.db;
    await makePartitions(jobsDb, log);
    await insertPriceVersions(jobsDb, namedPrices(config));
    const firstKey = await issueKeys(config, store);
    const app = await createApp({
      config,
      database: store,
      ...(pools === null ? {} : { pools }),
      pepper: store.pepper,
      secret: store.secret,
      log,
    });
    collectProcessMetrics(app.metrics);
    const stopUpkeep = startUpkeep({ config, store, db: jobsDb, app, log });
    await waiting?.close();
    await app.server.listen({
      host: config.host,
      port: waiting?.port ?? config.port,
      listenTextResolver: (url) => `listening at ${url}`,
    });
    announce(config, app, { firstKey, io, log });
    log.info({ signal: await stopping.name }, 'stopping');
    onSecondSignal(() => process.exit(1));
    const upkeepStopped = stopUpkeep();
    await app.close(config.environment === 'production' ? drainInProduction : drainInDevelopment);
    await upkeepStopped;
  } finally {
    await releaseReplica();
    await closePools();
    await store.close();
  }
}

/** Each price once, under the version that rows will name. */
function namedPrices({ catalogue }: GatewayConfig): readonly { version: string; price: Price }[] {
  const named = new Map<string, Price>();
  for (const { price, priceVersion } of catalogue)
    if (price !== null && priceVersion !== undefined) named.set(priceVersion, price);
  return [...named].map(([version, price]) => ({ version, price }));
}

/** Limits in one process's memory are only exact when it is the only process. */
async function holdAlone(config: GatewayConfig, log: Logger): Promise<() => Promise<void>> {
  if (config.databaseUrl === null || config.redisUrl !== null) return async () => undefined;
  const lock = await holdSingleReplicaLock(config.databaseUrl.reveal(), {
    log,
    onConflict: () => process.kill(process.pid, 'SIGTERM'),
  });
  if (lock !== null) return () => lock.release();
  throw new Error(
    'Another gateway without Redis already runs on this database, and two would let every key use twice its limits. ' +
      'Set REDIS_URL for both, or stop the other one.',
  );
}

/** The operator's own key, and on a desk without any key one to begin with, which is shown this once. */
async function issueKeys(config: GatewayConfig, store: OpenStore): Promise<string | null> {
  const tier = Object.keys(config.tiers).at(-1);
  if (tier === undefined) throw new Error('No tier is configured. Add at least one under `tiers:` in gateway.yaml.');
  const owner = { email: 'owner@localhost', tier, pepper: store.pepper, actor: 'serve' };
  if (config.bootstrapKey !== null) {
    await ensureKey(store.db, { ...owner, token: config.bootstrapKey.reveal(), name: 'bootstrap', nowMs: Date.now() });
    return null;
  }
  const isDesk = config.environment === 'development' && store.kind === 'pglite';
  if (!isDesk || (await listKeys(store.db)).length > 0) return null;
  const { token } = generateApiKey();
  await ensureKey(store.db, { ...owner, token, name: 'first key', nowMs: Date.now() });
  return token;
}

type Announcement = { firstKey: string | null; io: CommandIo; log: Logger };

function announce(config: GatewayConfig, app: App, { firstKey, io, log }: Announcement): void {
  const address = app.server.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : config.port;
  const providers = config.providers.map(({ id }) => id);
  const mode = {
    database: config.databaseUrl === null ? 'embedded' : 'postgres',
    limits: config.redisUrl === null ? 'in process' : 'redis',
  };
  log.info({ providers, ...mode }, 'started');
  if (config.environment === 'development')
    io.stderr(welcome({ config, port, firstKey, mode, model: modelToTry(config) }));
}

/** One that answers without anybody's key, if there is one. */
function modelToTry(config: GatewayConfig): string {
  const isOn = ({ providerId }: { providerId: string }): boolean =>
    config.providers.some(({ id }) => id === providerId);
  const isFree = ({ providerId }: { providerId: string }): boolean => known.keylessProviderIds.includes(providerId);
  const models = config.catalogue.filter(isOn);
  return (models.findLast(isFree) ?? models[0])?.id ?? 'provider/model';
}

type Stopping = { name: Promise<NodeJS.Signals>; signal: AbortSignal };

function firstSignal(): Stopping {
  const controller = new AbortController();
  const name = new Promise<NodeJS.Signals>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  void name.then(() => controller.abort());
  return { name, signal: controller.signal };
}

function onSecondSignal(exit: () => void): void {
  process.once('SIGTERM', exit);
  process.once('SIGINT', exit);
}
