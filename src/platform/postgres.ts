/**
 * Opens the durable store: a pool on a Postgres server, or Postgres inside this process when there is no server.
 * Takes an address or a folder, gives a Kysely handle and the way to close it. It knows no table. No query waits without
 * bound, no broken connection is used again, and no error of an idle connection ends the process.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Kysely, PGliteDialect, PostgresDialect, type PostgresPool, type PostgresPoolClient } from 'kysely';
import type { Client, Pool, PoolClient } from 'pg';

export type DatabaseKind = 'postgres' | 'pglite';

export type DatabaseLog = {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
};

export type DatabaseOptions = {
  /** null: embedded, in `<dataDirectory>/pglite`. */
  url: string | null;
  dataDirectory: string;
  poolSize?: number;
  /** How long a caller waits for a connection, a new one or a used one. */
  acquireTimeoutMs?: number;
  /** 0: no bound, for migrations. */
  statementTimeoutMs?: number;
  log: DatabaseLog;
};

export type OpenDatabase<Schema> = { db: Kysely<Schema>; kind: DatabaseKind; close: () => Promise<void> };

const silent: DatabaseLog = { info: () => {}, warn: () => {} };
const idleInTransactionMs = 10_000;
const keepAliveDelayMs = 10_000;

export async function openDatabase<Schema>(options: DatabaseOptions): Promise<OpenDatabase<Schema>> {
  return options.url === null ? openEmbedded(options) : openServer({ ...options, url: options.url });
}

/** Loaded only here: a process with a server never pays for 20 MB of WebAssembly, an embedded one never for `pg`. */
async function openEmbedded<Schema>({ dataDirectory }: DatabaseOptions): Promise<OpenDatabase<Schema>> {
  const { PGlite } = await import('@electric-sql/pglite');
  const pglite = await PGlite.create(join(dataDirectory, 'pglite'));
  const db = new Kysely<Schema>({ dialect: new PGliteDialect({ pglite }) });
  return {
    db,
    kind: 'pglite',
    async close() {
      await db.destroy();
      // Kysely leaves an instance open that no query ever reached.
      if (!pglite.closed) await pglite.close();
    },
  };
}

async function openServer<Schema>(options: DatabaseOptions & { url: string }): Promise<OpenDatabase<Schema>> {
  const { url, poolSize = 10, acquireTimeoutMs = 5_000, statementTimeoutMs = 5_000, log } = options;
  const { default: pg } = await import('pg');
  const pool = new pg.Pool({
    connectionString: url,
    max: poolSize,
    connectionTimeoutMillis: acquireTimeoutMs,
    application_name: 'tollgate',
    keepAlive: true,
    keepAliveInitialDelayMillis: keepAliveDelayMs,
    idle_in_transaction_session_timeout: idleInTransactionMs,
    ...(statementTimeoutMs === 0 ? {} : statementTimeouts(statementTimeoutMs)),
  });
  watchConnections(pool, log);
  const db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool: discardAfterTimeout(pool) }) });
  return {
    db,
    kind: 'postgres',
    async close() {
      await db.destroy();
      if (!pool.ended) await pool.end();
    },
  };
}

/** The server's own limit is the first to act and leaves the connection usable; ours is for a server that is gone. */
function statementTimeouts(statementTimeoutMs: number): { statement_timeout: number; query_timeout: number } {
  return { statement_timeout: statementTimeoutMs, query_timeout: statementTimeoutMs + 1_000 };
}

/**
 * An `error` event that nobody hears ends the process. The pool listens on idle connections only, so each connection gets
 * a listener of its own as well: a server restart in the middle of a transaction must not take us with it.
 */
function watchConnections(pool: Pool, log: DatabaseLog): void {
  pool.on('error', (error) => log.warn({ err: error }, 'an idle database connection broke'));
  pool.on('connect', (client) => {
    client.on('error', (error) => log.warn({ err: error }, 'a database connection broke'));
  });
}

/** pg reports a read timeout and then hands out the same connection again, still busy with the old query. */
function discardAfterTimeout(pool: Pool): PostgresPool {
  const wrapped = new WeakMap<PoolClient, PostgresPoolClient>();
  return {
    options: pool.options,
    async connect() {
      const client = await pool.connect();
      const known = wrapped.get(client) ?? wrapClient(client);
      wrapped.set(client, known);
      return known;
    },
    end: () => pool.end(),
  };
}

function wrapClient(client: PoolClient): PostgresPoolClient {
  let timeout: Error | null = null;
  const query = async (text: string, values: readonly unknown[]): Promise<unknown> => {
    // A rollback behind the query that hangs would only hang as long again.
    if (timeout !== null) throw timeout;
    try {
      return await client.query(text, [...values]);
    } catch (error) {
      if (error instanceof Error && error.message === 'Query read timeout') timeout = error;
      throw error;
    }
  };
  return {
    // Kysely's signature is generic over rows that only the caller of the query can know.
    query: query as PostgresPoolClient['query'],
    release: (destroy) => client.release(destroy === true || timeout !== null),
  };
}

export type ReplicaLockOptions = {
  log?: DatabaseLog;
  /** Called once, when the connection was lost and another process has taken the lock since. */
  onConflict?: () => void;
  retryMs?: number;
};

const replicaLockKey = '7813570216405512309';

/**
 * Without Redis every process counts by itself, so a second one would double every limit. The lock lives on a connection of
 * its own; null means that another process has it. A lost connection is opened again, for as long as it takes.
 */
export async function holdSingleReplicaLock(
  url: string,
  { log = silent, onConflict = () => {}, retryMs = 1_000 }: ReplicaLockOptions = {},
): Promise<{ release: () => Promise<void> } | null> {
  const { default: pg } = await import('pg');
  const applicationName = `tollgate-lock-${randomBytes(8).toString('hex')}`;
  let isReleased = false;
  let current: Client | null = null;
  let retry: NodeJS.Timeout | undefined;
  if (!(await take())) return null;
  return {
    async release() {
      isReleased = true;
      clearTimeout(retry);
      await current?.end();
    },
  };

  async function take(): Promise<boolean> {
    const client = new pg.Client({
      connectionString: url,
      application_name: applicationName,
      keepAlive: true,
      keepAliveInitialDelayMillis: keepAliveDelayMs,
      connectionTimeoutMillis: 5_000,
      query_timeout: 5_000,
    });
    client.on('error', (error) => log.warn({ err: error }, 'the connection of the replica lock broke'));
    try {
      await client.connect();
      const isHeld = await tryLock(client, applicationName);
      if (!isHeld || isReleased) await client.end();
      else current = client.on('end', takeAgainLater);
      return isHeld;
    } catch (error) {
      await client.end().catch(() => {
        // The first error is the one that tells.
      });
      throw error;
    }
  }

  function takeAgainLater(): void {
    current = null;
    if (!isReleased) retry = setTimeout(takeAgain, retryMs);
  }

  function takeAgain(): void {
    take().then(
      (isHeld) => {
        if (isHeld) log.info({}, 'the replica lock is held again');
        else onConflict();
      },
      (error: unknown) => {
        log.warn({ err: error }, 'the replica lock could not be taken again');
        takeAgainLater();
      },
    );
  }
}

/** After a cut of the network the server may keep our own earlier session for hours, with the lock; it goes first. */
async function tryLock(client: Client, applicationName: string): Promise<boolean> {
  await client.query(
    `select pg_terminate_backend(pid, 2000) from pg_stat_activity
     where application_name = $1 and pid <> pg_backend_pid()`,
    [applicationName],
  );
  const { rows } = await client.query<{ held: boolean }>('select pg_try_advisory_lock($1::bigint) as held', [
    replicaLockKey,
  ]);
  return rows[0]?.held === true;
}
