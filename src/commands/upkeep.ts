/**
 * What keeps the tables in order while a gateway runs: partitions ahead of the rows, hourly sums, what is too old, and
 * budgets against their rows. Takes turns among replicas by the job queue; every job may run twice or break off anywhere.
 */
import type { Kysely } from 'kysely';
import type { App } from '../app.ts';
import type { GatewayConfig } from '../config/types.ts';
import { type JobHandler, startJobs } from '../platform/jobs.ts';
import type { Logger } from '../platform/logger.ts';
import type { StoreSchema } from '../store/schema.ts';
import { ensureUsagePartitions } from '../store/usage-partitions.ts';
import { applyRetention } from '../usage/retention.ts';
import { settleOldIntents } from '../usage/intents.ts';
import { rollUpClosedHours } from '../usage/rollups.ts';
import type { OpenStore } from './open-store.ts';

export type UpkeepOptions = {
  config: Pick<GatewayConfig, 'databaseUrl' | 'retention' | 'timeouts'>;
  store: Pick<OpenStore, 'db' | 'kind'>;
  /** Connections that may be busy for long. */
  db: Kysely<StoreSchema>;
  app: Pick<App, 'metrics' | 'reconcileBudgets'>;
  log: Logger;
};

export type UpkeepJob = {
  name: string;
  /** In UTC. */
  cron: string;
  run: JobHandler;
};

const dayMs = 86_400_000;
const daysBehind = 1;
const daysAhead = 8;
/** The queue makes its own tables at its first start; a gateway that lives for seconds need not pay for them. */
const jobsDelayMs = 30_000;

/** Gives the way to stop it, which waits for what runs. */
export function startUpkeep(options: UpkeepOptions): () => Promise<void> {
  const { config, store, app, log } = options;
  const jobs = startJobs({
    database: store,
    url: config.databaseUrl?.reveal() ?? null,
    log,
    delayMs: jobsDelayMs,
    onEnd({ name, result, atMs }) {
      app.metrics.jobs.inc({ job: name, result });
      if (result === 'success') app.metrics.jobLastSuccess.set({ job: name }, atMs / 1000);
    },
  });
  for (const { name, cron, run } of upkeepJobs(options)) void jobs.schedule(name, cron, run);
  return () => jobs.stop();
}

export function upkeepJobs({ config, db, app, log }: Omit<UpkeepOptions, 'store'>): readonly UpkeepJob[] {
  return [
    {
      name: 'usage-partitions',
      cron: '25 * * * *',
      run: () => makePartitions(db, log),
    },
    {
      name: 'usage-intents',
      cron: '*/5 * * * *',
      async run(signal) {
        const { totalMs } = config.timeouts;
        const orphans = await settleOldIntents(db, { nowMs: Date.now(), totalMs, log, signal });
        if (orphans > 0) log.warn({ orphans }, 'requests of processes that died while redis was silent are orphans');
      },
    },
    {
      name: 'usage-rollups',
      cron: '5 * * * *',
      async run(signal) {
        await rollUpClosedHours(db, { nowMs: Date.now(), signal });
      },
    },
    {
      name: 'retention',
      cron: '35 3 * * *',
      async run(signal) {
        const { isComplete, ...removed } = await applyRetention(db, {
          nowMs: Date.now(),
          keep: config.retention,
          signal,
          log,
        });
        log.info(removed, 'what was kept for long enough is removed');
        // The queue tries again soon; a day later would do as well.
        if (!isComplete && !signal.aborted) throw new Error('the usage rows were in use, so some are kept for longer');
      },
    },
    {
      name: 'budget-reconcile',
      cron: '*/5 * * * *',
      run: (signal) => app.reconcileBudgets(db, signal),
    },
  ];
}

/** From yesterday, for rows that come late, to eight days ahead. */
export async function makePartitions(db: Kysely<StoreSchema>, log: Logger): Promise<void> {
  await ensureUsagePartitions(db, { fromMs: Date.now() - daysBehind * dayMs, days: daysBehind + 1 + daysAhead, log });
}
