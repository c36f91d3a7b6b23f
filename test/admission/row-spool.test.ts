import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import t, { type Test } from 'tap';
import { openRowSpool, type RowSpool, type RowSpoolOptions } from '../../src/admission/row-spool.ts';
import type { UsageRecord } from '../../src/contract/flow.ts';
import { usageRecord } from '../support/usage-record.ts';

type Line = { level: string; message: string };

function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-spool-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function createSubject(t: Test, folder: string, more: Partial<RowSpoolOptions> = {}) {
  const found: UsageRecord[] = [];
  const lines: Line[] = [];
  let look = (): void => undefined;
  const say = (level: string) => (_details: object, message: string) => void lines.push({ level, message });
  const spool = openRowSpool({
    folder,
    log: { info: say('info'), warn: say('warn'), error: say('error') },
    onFound: (records) => found.push(...records),
    every: (_periodMs, work) => {
      look = () => void work();
      return () => undefined;
    },
    ...more,
  });
  t.teardown(() => spool.close());
  return { spool, found, lines, look: () => look() };
}

const segmentsIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.log'));

async function until(isTrue: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!isTrue() && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** What a process leaves that was killed now: its files, and a lock that nobody holds. */
function deadCopy(t: Test, folder: string): string {
  const copy = temporaryFolder(t);
  cpSync(folder, copy, { recursive: true, filter: (path) => basename(path) !== 'lock' });
  return copy;
}

async function keepOnDisk(spool: RowSpool, folder: string, records: readonly UsageRecord[]): Promise<void> {
  for (const record of records) spool.keep(record);
  const isThere = (): boolean => {
    const [name] = segmentsIn(folder);
    return name !== undefined && records.every(({ requestId }) => holds(join(folder, name), requestId));
  };
  await until(isThere);
}

const holds = (path: string, text: string): boolean => existsSync(path) && readFileSync(path, 'utf8').includes(text);

t.test('makes no file before a row needs one', (t) => {
  const folder = temporaryFolder(t);
  createSubject(t, folder);
  t.same(readdirSync(folder), []);
  t.end();
});

t.test('gives the rows of a killed process to the next one, and removes them when the database has them', async (t) => {
  const folder = temporaryFolder(t);
  const records = [usageRecord(), usageRecord(), usageRecord()];
  await keepOnDisk(createSubject(t, folder).spool, folder, records);
  const copy = deadCopy(t, folder);
  const next = createSubject(t, copy);
  t.same(next.found, records);
  t.equal(segmentsIn(copy).length, 1, 'they stay until they are written');
  next.look();
  t.equal(next.found.length, 3, 'and are given once');
  next.spool.allWritten();
  t.same(readdirSync(copy), []);
});

t.test('leaves the rows of a living process alone', async (t) => {
  const folder = temporaryFolder(t);
  await keepOnDisk(createSubject(t, folder).spool, folder, [usageRecord()]);
  const other = createSubject(t, folder);
  other.look();
  t.same(other.found, []);
});

t.test('gives all whole rows when the last write was cut short', async (t) => {
  const folder = temporaryFolder(t);
  const record = usageRecord();
  await keepOnDisk(createSubject(t, folder).spool, folder, [record]);
  const copy = deadCopy(t, folder);
  const [name = ''] = segmentsIn(copy);
  appendFileSync(join(copy, name), Buffer.from([200, 0, 0, 0, 1, 2, 3]));
  const next = createSubject(t, copy);
  t.same(next.found, [record]);
  t.match(next.lines, [{ level: 'warn' }, { level: 'warn' }]);
});

t.test('says that a damaged file cannot be read, and leaves it where it is', async (t) => {
  const folder = temporaryFolder(t);
  await keepOnDisk(createSubject(t, folder).spool, folder, [usageRecord(), usageRecord()]);
  const copy = deadCopy(t, folder);
  const [name = ''] = segmentsIn(copy);
  const bytes = readFileSync(join(copy, name));
  bytes.fill(0, 4, 20);
  writeFileSync(join(copy, name), bytes);
  const next = createSubject(t, copy);
  next.look();
  t.same(next.found, []);
  t.match(next.lines, [{ level: 'error', message: /cannot be read; they stay/ }]);
  t.equal(next.lines.length, 1, 'once');
  t.equal(segmentsIn(copy).length, 1);
});

t.test('removes its own files once all is written and a while has passed', async (t) => {
  const folder = temporaryFolder(t);
  const { spool, look } = createSubject(t, folder);
  await keepOnDisk(spool, folder, [usageRecord()]);
  look();
  spool.allWritten();
  spool.keep(usageRecord());
  look();
  look();
  t.equal(segmentsIn(folder).length, 1, 'not while a row waits');
  spool.allWritten();
  look();
  await until(() => readdirSync(folder).length === 0);
  t.same(readdirSync(folder), []);
  await keepOnDisk(spool, folder, [usageRecord()]);
  t.equal(segmentsIn(folder).length, 1, 'and begins anew when there is need');
});

t.test('leaves what is not written to the next process when it closes, and nothing else', async (t) => {
  const folder = temporaryFolder(t);
  const record = usageRecord();
  const first = createSubject(t, folder);
  first.spool.keep(record);
  await first.spool.close();
  const second = createSubject(t, folder);
  t.same(second.found, [record]);
  await second.spool.close();
  const third = createSubject(t, folder);
  t.same(third.found, [record], 'found, not written, and left again');
  third.spool.allWritten();
  await third.spool.close();
  t.same(readdirSync(folder), []);
});

t.test('warns once of a folder that cannot be made, and goes on without', async (t) => {
  const file = join(temporaryFolder(t), 'file');
  writeFileSync(file, '');
  const { spool, lines, look } = createSubject(t, join(file, 'spool'));
  spool.keep(usageRecord());
  look();
  spool.allWritten();
  t.ok(spool.hasRoom());
  t.match(lines, [{ level: 'warn', message: /Make the folder writable, or set TOLLGATE_DATA/ }]);
  t.equal(lines.length, 1);
});

t.test('has no room beyond its cap', async (t) => {
  const folder = temporaryFolder(t);
  const { spool } = createSubject(t, folder, { capBytes: 2000 });
  t.ok(spool.hasRoom());
  await keepOnDisk(spool, folder, [usageRecord(), usageRecord(), usageRecord(), usageRecord()]);
  t.notOk(spool.hasRoom());
});
