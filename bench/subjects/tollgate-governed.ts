/**
 * Ours with everything on: API key, limits, a usage row in Postgres for every request, the log line in a file, metrics.
 * Limits are in Redis where a Redis can be had and the gateway uses it; the note of the run says which it was.
 */
import { generateApiKey } from '../../src/auth/api-key.ts';
import { createDatabase, startRedis, type BenchDatabase, type BenchRedis } from '../databases.ts';
import { createCpuReader } from '../process-cpu.ts';
import { reasonOf } from '../rig.ts';
import type { Purpose, RunningSubject, Subject, SubjectEnvironment } from './subject.ts';
import { migrate, serveHelp, startGateway } from './tollgate.ts';

const ledgerTable = 'usage_events';

type Stores = { database: BenchDatabase | null; redis: BenchRedis | null };

async function openStores(environment: SubjectEnvironment, { storage }: Purpose): Promise<Stores> {
  if (storage === 'embedded') return { database: null, redis: null };
  const place = { ...environment, cpu: createCpuReader() };
  const database = await createDatabase(place).catch((error: unknown) => {
    throw new Error(`no Postgres for the ledger (set DATABASE_URL to one): ${reasonOf(error)}`, { cause: error });
  });
  return { database, redis: await startRedis(place) };
}

async function closeStores({ database, redis }: Stores): Promise<void> {
  await redis?.stop();
  await database?.drop();
}

async function describe({ database, redis }: Stores): Promise<readonly string[]> {
  const isRedisUsed = (await redis?.isUsed()) ?? false;
  const limits = isRedisUsed ? 'in Redis' : 'in the process';
  const ledger = database === null ? 'the embedded Postgres' : 'Postgres';
  return [
    `key checked, buckets of requests and tokens and concurrency ${limits}, a row in ${ledger} per request, log line to a file, metrics on`,
    'NODE_ENV=production, no tracing, limits raised until nothing is refused',
  ];
}

export const tollgateGoverned: Subject = {
  id: 'tollgate-governed',
  title: 'Tollgate, governed',
  hasEmbeddedMode: true,
  async start(environment, purpose): Promise<RunningSubject | { unavailable: string }> {
    if (serveHelp() === null) return { unavailable: 'not built yet' };
    const stores = await openStores(environment, purpose);
    const { database, redis } = stores;
    environment.onEnd(() => closeStores(stores));
    if (database !== null) migrate(database.url);
    const apiKey = generateApiKey().token;
    const gateway = await startGateway(environment, {
      upstreamPort: purpose.upstreamPort,
      databaseUrl: database?.url ?? null,
      redisUrl: redis?.url ?? null,
      apiKey,
      words: [],
    });
    return {
      port: gateway.port,
      headers: { authorization: `Bearer ${apiKey}` },
      pids: [gateway.owner.pid],
      firstReplyMs: gateway.firstReplyMs,
      notes: await describe(stores),
      backing: async () => ({ ...(await database?.backing()), ...(await redis?.backing()) }),
      ...(database === null ? {} : { ledgerRows: () => database.count(ledgerTable) }),
      // In production it drains for ten seconds first; its rows were counted while it ran.
      stop: () => gateway.owner.kill(),
    };
  },
};
