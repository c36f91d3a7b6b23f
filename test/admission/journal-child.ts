/**
 * A process to be killed: the engine, the journal and the ledger of an embedded gateway over a real database, without HTTP.
 * Usage: journal-child.ts <folder> <database url> <what to do>. It says on its output what it has promised, each line
 * before the promise counts.
 */
import { writeSync } from 'node:fs';
import { createMonotonicWallClock } from '../../src/admission/clock.ts';
import { createInProcessEngine } from '../../src/admission/in-process-engine.ts';
import { openJournal } from '../../src/admission/journal.ts';
import { createJournaledEngine } from '../../src/admission/journaled-engine.ts';
import { openDatabase } from '../../src/platform/postgres.ts';
import { readJournalCursor, saveJournalCursor } from '../../src/store/journal-cursors.ts';
import type { StoreSchema } from '../../src/store/schema.ts';
import { insertUsageEvents } from '../../src/store/usage-events.ts';
import { createLedger } from '../../src/usage/ledger.ts';
import { silentLog } from '../support/database.ts';
import { admission, inputTokens, settlement } from './journal-world.ts';

const [, , folder = '', url = '', task = ''] = process.argv;

const say = (line: string): void => void writeSync(1, `${line}\n`);
const pause = (durationMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, durationMs));

function dieHere(): Promise<never> {
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => undefined);
}

const database = await openDatabase<StoreSchema>({ url, dataDirectory: '', poolSize: 2, log: silentLog });
const { journal, recovered } = await openJournal({
  folder,
  readCursor: (journalId) => readJournalCursor(database.db, journalId),
  log: silentLog,
  segmentBytes: 32 * 1024,
  reserveBytes: 64 * 1024,
});
const ledger = createLedger({
  async insert(records, position) {
    await database.db.transaction().execute(async (trx) => {
      await insertUsageEvents(trx, records);
      if (position !== null) await saveJournalCursor(trx, journal.id, position);
    });
    if (task === 'committed') await dieHere();
    if (position !== null) journal.committed(position);
  },
  batchRows: 200,
  // Where a kill should find rows that the database does not have yet.
  intervalMs: task === 'settled' || task === 'committed' ? 3_600_000 : 20,
  capRows: 100_000,
  retryMs: 50,
  onWritten: () => undefined,
  onFailure: (error) => say(`failure ${String(error)}`),
  onPoison: (record) => say(`poison ${record.requestId}`),
});
for (const { record, position } of recovered) ledger.append(record, position ?? undefined);
if (!(await ledger.flush(10_000))) throw new Error('the database did not take what was recovered');
const beats: (() => void)[] = [];
const engine = createJournaledEngine({
  createInner: (sink) => createInProcessEngine({ clock: createMonotonicWallClock(), sink }),
  journal,
  ledger,
  every: (_periodMs, work) => {
    beats.push(() => void work());
    return () => undefined;
  },
});
const beat = (): void => beats.forEach((run) => run());
say('ready');

async function admitOne(): Promise<string> {
  const request = admission();
  const { outcome } = await engine.admit(request);
  if (outcome !== 'admitted') throw new Error(outcome);
  say(`admitted ${request.id}`);
  return request.id;
}

const accountId = admission().accountId;

async function serveForEver(): Promise<never> {
  for (;;) {
    const id = await admitOne();
    if (Math.random() < 0.1) await pause(Math.random() * 40);
    engine.markDispatched(id, accountId);
    await pause(Math.random() * 15);
    engine.reportProgress(id, accountId, inputTokens + 5);
    if (Math.random() < 0.1) beat();
    await pause(Math.random() * 5);
    await engine.settle(settlement(id));
    say(`settled ${id}`);
  }
}

/** One request up to a line of the crash-point table. */
async function dieAt(point: string): Promise<void> {
  const id = await admitOne();
  if (point === 'admitted') await dieHere();
  engine.markDispatched(id, accountId);
  // A frame that nobody waits for is in the file when a later one is.
  await engine.settle(settlement(await admitOne()));
  if (point === 'dispatched') await dieHere();
  engine.reportProgress(id, accountId, inputTokens + 30);
  beat();
  await engine.settle(settlement(await admitOne()));
  if (point === 'mid-stream') await dieHere();
  await engine.settle(settlement(id));
  if (point === 'settled') await dieHere();
  await ledger.flush(10_000);
}

if (task === 'load') await Promise.all(Array.from({ length: 20 }, serveForEver));
else if (task !== 'recover') await dieAt(task);
if (task === 'recover') {
  await engine.close();
  await ledger.close(10_000);
  await database.close();
}
