import t from 'tap';
import { makePartitions, upkeepJobs, type UpkeepOptions } from '../../src/commands/upkeep.ts';
import { createLogger } from '../../src/platform/logger.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { listUsagePartitions } from '../../src/store/usage-partitions.ts';
import { commandConfig } from '../support/command.ts';
import { createTestDatabase } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

const dayMs = 86_400_000;
const partitionOf = (days: number): string =>
  `usage_events_${new Date(Date.now() + days * dayMs).toISOString().slice(0, 10).replaceAll('-', '')}`;

t.test('every job does its part, and again without harm', async (t) => {
  const { db } = await createTestDatabase(t);
  const { log } = createLogger({ level: 'silent', isPretty: false });
  const reconciled: unknown[] = [];
  const app: UpkeepOptions['app'] = {
    metrics: createMetrics(),
    reconcileBudgets: async (handle) => void reconciled.push(handle),
  };
  const { retention, databaseUrl, timeouts } = commandConfig(t, {});
  const config = { databaseUrl, timeouts, retention: { ...retention, usageDays: 2 } };
  const jobs = new Map(upkeepJobs({ config, db, app, log }).map((job) => [job.name, job]));
  const run = async (name: string): Promise<void> => jobs.get(name)?.run(AbortSignal.timeout(60_000));
  await insertUsageEvents(
    db,
    [0, 5].map((age) => usageRecord({ startedAtMs: Date.now() - age * dayMs })),
  );
  for (const name of jobs.keys()) {
    await run(name);
    await run(name);
  }
  t.same([...jobs.keys()], ['usage-partitions', 'usage-intents', 'usage-rollups', 'retention', 'budget-reconcile']);
  const partitions = await listUsagePartitions(db);
  t.ok(partitions.includes(partitionOf(8)), 'eight days ahead');
  const rows = await db.selectFrom('usage_events').select('request_id').execute();
  t.equal(rows.length, 1, 'what is older than two days is gone');
  const sums = await db.selectFrom('usage_rollups_hour').select('requests').execute();
  t.ok(sums.length >= 1, 'and summed before');
  t.same(reconciled, [db, db], 'by the connections that may be busy for long');
});

t.test('days are made before the first request, yesterday included', async (t) => {
  const { db } = await createTestDatabase(t);
  const { log } = createLogger({ level: 'silent', isPretty: false });
  await makePartitions(db, log);
  const partitions = await listUsagePartitions(db);
  for (const days of [-1, 0, 8]) t.ok(partitions.includes(partitionOf(days)));
});
