import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { sql } from 'kysely';
import t, { type Test } from 'tap';
import { createLedgerCommand } from '../../src/commands/ledger.ts';
import type { UsageRecord, UsageStatus } from '../../src/contract/flow.ts';
import { openEngine } from '../../src/engine.ts';
import { createLogger } from '../../src/platform/logger.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { insertUsageDeadLetters, listUsageDeadLetters } from '../../src/store/usage-dead-letters.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { commandConfig, type Outcome, runCommand } from '../support/command.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { usageRecord } from '../support/usage-record.ts';

type World = { database: TestDatabase; run: (...words: string[]) => Promise<Outcome> };

async function setUp(t: Test): Promise<World> {
  const database = await createTestDatabase(t);
  const config = commandConfig(t, { DATABASE_URL: database.url });
  const command = createLedgerCommand({ loadConfig: () => config, clock: () => Date.UTC(2026, 0, 2) });
  return { database, run: async (...words) => runCommand(command, words) };
}

/** A word of a version to come, which this database does not know. */
const strange = (changes: Partial<UsageRecord> = {}): UsageRecord =>
  usageRecord({ status: 'strange' as UsageStatus, ...changes });

const letterOf = (record: UsageRecord, serial: number) => ({
  streamId: `stream ${serial}-0`,
  requestId: record.requestId,
  payload: JSON.stringify(record),
  error: 'refused',
});

async function requestsIn({ db }: TestDatabase): Promise<(string | undefined)[]> {
  const rows = await db.selectFrom('usage_events').select('request_id').orderBy('request_id').execute();
  return rows.map(({ request_id }) => request_id);
}

t.test('lists dead letters, the newest first', async (t) => {
  const { database, run } = await setUp(t);
  t.match(await run('list'), { code: 0, stdout: 'ID  AT  REQUEST  WHY\n' });
  const broken = { streamId: 'stream 2-0', requestId: null, payload: '{', error: 'the record is not a JSON object' };
  await insertUsageDeadLetters(database.db, [letterOf(usageRecord(), 1), broken]);
  t.match((await run('list')).stdout, /\n2 .* -  +the record is not a JSON object\n1 .* refused\n$/);
  t.match(JSON.parse((await run('list', '--limit', '1', '--json')).stdout), [{ id: '2', payload: '{' }]);
});

t.test('makes rows of the letters that are good now, once, and leaves the others', async (t) => {
  const { database, run } = await setUp(t);
  const [good, doubled, refused] = [usageRecord(), usageRecord(), strange()];
  await insertUsageEvents(database.db, [doubled]);
  await insertUsageDeadLetters(database.db, [
    letterOf(good, 1),
    letterOf(refused, 2),
    letterOf(doubled, 3),
    { ...letterOf(good, 4), payload: '{' },
  ]);
  const first = await run('replay');
  t.match(first, { code: 1, stderr: '2 of 4 dead letters are left as they were\n' });
  t.match(first.stdout, /^1 .* written\n2 .*usage_events_status_known.*\n3 .* written\n4 .*not a JSON object\n$/m);
  t.same(await requestsIn(database), [good.requestId, doubled.requestId].toSorted());
  t.same(
    (await listUsageDeadLetters(database.db, 10)).map(({ id }) => id),
    ['4', '2'],
  );
  const entries = await database.db.selectFrom('audit_log').select(['action', 'detail']).execute();
  t.strictSame(entries, [{ action: 'ledger.replay', detail: { written: 2, left: 2 } }]);

  await sql`alter table usage_events drop constraint usage_events_status_known`.execute(database.db);
  t.match(JSON.parse((await run('replay', '--id', '2', '--json')).stdout), [{ id: '2', reason: null }]);
  t.equal((await requestsIn(database)).length, 3);
  t.match(await run('replay', '--id', '2'), { code: 1, stderr: 'there is no dead letter 2\n' });
});

t.test('goes through more letters than one read takes', async (t) => {
  const { database, run } = await setUp(t);
  const records = Array.from({ length: 230 }, () => usageRecord());
  await insertUsageDeadLetters(
    database.db,
    records.map((record, serial) => letterOf(record, serial)),
  );
  t.equal((await run('replay')).code, 0);
  t.equal((await requestsIn(database)).length, 230);
});

t.test('refuses what makes no sense with exit code 2', async (t) => {
  const { run } = await setUp(t);
  t.match(await run(), { code: 2, stderr: /say what to do: list, replay/ });
  t.match(await run('replay', '--id', 'x'), { code: 2, stderr: '--id takes a whole number\n' });
  t.match(await run('list', '--limit', '0'), { code: 2, stderr: '--limit takes a whole number from 1 on\n' });
});

t.test('has the rows that the database refused of a gateway without Redis', async (t) => {
  const { database, run } = await setUp(t);
  const metrics = createMetrics();
  const { engine, depth, close } = await openEngine({
    config: commandConfig(t, {}),
    database,
    log: createLogger({ level: 'silent', isPretty: false }).log,
    metrics,
    redisKeyPrefix: 'unused',
  });
  const record = strange({ accountId: randomUUID(), startedAtMs: Date.now() });
  const { requestId: id, accountId } = record;
  await engine.admit({ id, accountId, buckets: [], concurrency: [], record });
  await engine.settle({ id, accountId, kind: 'exact', actual: { requests: 1, tokens: 1 }, record });
  const letters = async () => listUsageDeadLetters(database.db, 10);
  for (let waited = 0; waited < 20_000 && (await letters()).length === 0; waited += 20) await pause(20);
  t.match(await letters(), [{ requestId: id, error: /usage_events_status_known/ }]);
  t.equal(depth(), 0, 'and nothing waits behind it');
  t.equal((await metrics.deadLetters.get()).values[0]?.value, 1);
  await sql`alter table usage_events drop constraint usage_events_status_known`.execute(database.db);
  t.equal((await run('replay')).code, 0);
  t.same(await requestsIn(database), [id]);
  await close(5000);
});
