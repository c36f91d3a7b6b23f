/**
 * Connections to the database server for keys, for the ledger and for jobs, each apart from the rest: a report that is
 * slow, a backlog that is written or a month that is summed must not hold up the look-up of a key, and a key must be told
 * within a second that it cannot be looked up. The embedded database has one connection whatever is asked.
 */
import type { Kysely } from 'kysely';
import type { GatewayConfig } from '../config/types.ts';
import { type DatabaseLog, openDatabase } from '../platform/postgres.ts';
import type { StoreSchema } from '../store/schema.ts';

export type Pools = { auth: Kysely<StoreSchema>; drain: Kysely<StoreSchema>; jobs: Kysely<StoreSchema> };

/** As many as the authenticator asks at a time. */
const authPoolSize = 8;
const drainPoolSize = 3;
/** Jobs seldom meet, and each asks one thing at a time. */
const jobsPoolSize = 2;
const jobStatementTimeoutMs = 60_000;

export async function openPools(
  { databaseUrl, dataDirectory }: Pick<GatewayConfig, 'databaseUrl' | 'dataDirectory'>,
  log: DatabaseLog,
): Promise<{ pools: Pools | null; close: () => Promise<void> }> {
  if (databaseUrl === null) return { pools: null, close: async () => undefined };
  const common = { url: databaseUrl.reveal(), dataDirectory, log };
  const auth = await openDatabase<StoreSchema>({
    ...common,
    poolSize: authPoolSize,
    acquireTimeoutMs: 1_000,
    statementTimeoutMs: 1_000,
  });
  const drain = await openDatabase<StoreSchema>({ ...common, poolSize: drainPoolSize });
  const jobs = await openDatabase<StoreSchema>({
    ...common,
    poolSize: jobsPoolSize,
    statementTimeoutMs: jobStatementTimeoutMs,
  });
  return {
    pools: { auth: auth.db, drain: drain.db, jobs: jobs.db },
    async close() {
      await auth.close();
      await drain.close();
      await jobs.close();
    },
  };
}
