/**
 * Runs work by the clock, once for all replicas: pg-boss in the database that is there anyway, in its own schema `pgboss`.
 * Takes a name, a cron expression in UTC and a handler; tells how each run ended. It starts beside everything else and
 * for as long as it takes, so a database that is away holds up no start, and it must never end the process nor keep it
 * alive once stopped. Handlers must be safe to repeat: a process that dies leaves its job to another one.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { ConstructorOptions, Job, PgBoss } from 'pg-boss';
import { createEmbeddedExecutor } from './embedded-executor.ts';
import type { OpenDatabase } from './postgres.ts';

export type JobEnd = { name: string; result: 'success' | 'failure'; atMs: number };

export type JobsOptions<Schema> = {
  database: Pick<OpenDatabase<Schema>, 'db' | 'kind'>;
  /** The server's address; null for the embedded database, whose one connection the jobs share. */
  url: string | null;
  log: { warn(details: object, message: string): void };
  onEnd?(end: JobEnd): void;
  /** How often the clock and the queues are looked at. A poll is a query even when there is nothing to do. */
  pollSeconds?: number;
  /** Until the first start, which creates the schema: a gateway that lives for seconds should not pay for a queue. */
  delayMs?: number;
  /** Wait after a failed start; doubles up to 30 s. */
  retryMs?: number;
};

/** `signal` fires when the process stops: end soon, the rest is done by the next run. */
export type JobHandler = (signal: AbortSignal) => Promise<void>;

export interface Jobs {
  /** Resolves when the job is in place, however long that takes, or when the jobs were stopped. Never rejects. */
  schedule(name: string, cron: string, handler: JobHandler): Promise<void>;
  /** Waits for running handlers, for at most 10 s. */
  stop(): Promise<void>;
}

const retryCapMs = 30_000;
const stopTimeoutMs = 10_000;

export function startJobs<Schema>(options: JobsOptions<Schema>): Jobs {
  const { log, pollSeconds = 15, delayMs = 0, retryMs = 1_000 } = options;
  const backend = backendOf(options);
  const stopping = new AbortController();
  let opening: Promise<PgBoss> | undefined;
  const starting = rest(delayMs).then(() =>
    keepTrying('start', async () => {
      const boss = await bossOnce();
      await boss.start();
    }),
  );

  function bossOnce(): Promise<PgBoss> {
    return (opening ??= createBoss(backend, { log, pollSeconds }));
  }

  async function keepTrying(step: string, work: () => Promise<void>): Promise<void> {
    for (let waitMs = retryMs; !stopping.signal.aborted; waitMs = Math.min(waitMs * 2, retryCapMs)) {
      try {
        await work();
        return;
      } catch (error) {
        if (stopping.signal.aborted) return;
        log.warn({ err: error, step }, 'the job queue waits for its database');
      }
      await rest(waitMs);
    }
  }

  async function rest(durationMs: number): Promise<void> {
    await pause(durationMs, undefined, { signal: stopping.signal }).catch(() => {
      // Stopped: whoever rests looks at the signal next.
    });
  }

  async function run(name: string, handler: JobHandler, job: Job<unknown> | undefined): Promise<void> {
    const signals = job === undefined ? [] : [job.signal];
    try {
      await handler(AbortSignal.any([stopping.signal, ...signals]));
      options.onEnd?.({ name, result: 'success', atMs: Date.now() });
    } catch (error) {
      log.warn({ err: error, job: name }, 'a job failed');
      options.onEnd?.({ name, result: 'failure', atMs: Date.now() });
      throw error;
    }
  }

  return {
    async schedule(name, cron, handler) {
      await starting;
      let isWorking = false;
      await keepTrying(name, async () => {
        const boss = await bossOnce();
        await boss.createQueue(name, queueOptions);
        if (stopping.signal.aborted) return;
        if (!isWorking)
          await boss.work(name, { pollingIntervalSeconds: pollSeconds }, ([job]) => run(name, handler, job));
        isWorking = true;
        await boss.schedule(name, cron, null, { tz: 'UTC', missed: 'once' });
      });
    },
    async stop() {
      stopping.abort();
      const boss = await opening?.catch(() => undefined);
      await boss?.stop({ graceful: true, timeout: stopTimeoutMs });
      await starting;
    },
  };
}

/** One job of a kind at a time, queued or running; a dead process is noticed by its silence, not by the long limit. */
const queueOptions = {
  policy: 'exclusive',
  retryLimit: 2,
  retryDelay: 60,
  expireInSeconds: 3_600,
  heartbeatSeconds: 60,
  deleteAfterSeconds: 7 * 86_400,
} as const;

async function createBoss(
  backend: ConstructorOptions,
  { log, pollSeconds }: { log: JobsOptions<unknown>['log']; pollSeconds: number },
): Promise<PgBoss> {
  const { PgBoss: Boss } = await import('pg-boss');
  const clockSeconds = Math.min(45, Math.max(1, pollSeconds));
  const boss = new Boss({
    ...backend,
    schema: 'pgboss',
    cronMonitorIntervalSeconds: clockSeconds,
    cronWorkerIntervalSeconds: clockSeconds,
    flowIntervalSeconds: 600,
    // For queues of millions of jobs; ours hold one each.
    reindex: false,
    monitorVacuum: false,
    registerInstance: false,
  });
  // An `error` event that nobody hears ends the process.
  boss.on('error', (error) => log.warn({ err: error }, 'the job queue met an error'));
  boss.on('warning', (warning) => log.warn({ warning }, 'the job queue warns'));
  return boss;
}

/** On a server, connections of its own: a job never waits behind requests, nor they behind it. */
function backendOf<Schema>({ database, url }: JobsOptions<Schema>): ConstructorOptions {
  if (database.kind === 'pglite') return { db: createEmbeddedExecutor(database.db), backend: 'pglite' };
  if (url === null) throw new TypeError('jobs on a Postgres server need its address');
  const connection = {
    connectionString: url,
    application_name: 'tollgate-jobs',
    max: 2,
    connectionTimeoutMillis: 5_000,
    query_timeout: 30_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  };
  return connection;
}
