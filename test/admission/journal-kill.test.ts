/** Scenario 76 and the embedded lines of the crash-point table: real processes, killed. Spec: reliability 3 and 9.2. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

type Child = {
  /** Everything it said so far. */
  lines: string[];
  ready: Promise<void>;
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  kill: () => void;
};

function startChild(t: Test, folder: string, url: string, task: string): Child {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'journal-child.ts'), folder, url, task], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const lines: string[] = [];
  const ready = Promise.withResolvers<void>();
  const reader = createInterface(child.stdout);
  reader.on('line', (line) => {
    lines.push(line);
    if (line === 'ready') ready.resolve();
  });
  const ended = Promise.all([once(child, 'exit'), once(reader, 'close')]).then(([[code, signal]]) => {
    ready.resolve();
    return { code: code as number | null, signal: signal as NodeJS.Signals | null };
  });
  return { lines, ready: ready.promise, ended, kill: () => void child.kill('SIGKILL') };
}

const idsAfter = (word: string, lines: readonly string[]): string[] =>
  lines.flatMap((line) => (line.startsWith(`${word} `) ? [line.slice(word.length + 1)] : []));

async function rowsOf({ db }: TestDatabase) {
  const rows = await db
    .selectFrom('usage_events')
    .select(['request_id', 'rank', 'status', 'completion_tokens', 'prompt_tokens', 'usage_source'])
    .execute();
  return { count: rows.length, byId: new Map(rows.map((row) => [row.request_id, row])) };
}

t.test('twenty kills under load: a row for every admitted request, none missing, none double', async (t) => {
  const database = await createTestDatabase(t);
  const folder = join(t.testdir({}), 'journal');
  const lines: string[] = [];
  for (let run = 0; run < 20; run += 1) {
    const child = startChild(t, folder, database.url, 'load');
    await child.ready;
    await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 150));
    child.kill();
    t.equal((await child.ended).signal, 'SIGKILL');
    lines.push(...child.lines);
  }
  const last = startChild(t, folder, database.url, 'recover');
  t.match(await last.ended, { code: 0 });
  lines.push(...last.lines);

  const { count, byId: rows } = await rowsOf(database);
  const admitted = new Set(idsAfter('admitted', lines));
  const settled = idsAfter('settled', lines);
  t.ok(admitted.size > 200 && settled.length > 100, `${admitted.size} admitted, ${settled.length} settled`);
  t.same(
    [...admitted].filter((id) => !rows.has(id)),
    [],
    'none missing',
  );
  t.equal(count, rows.size, 'none double');
  const unannounced = [...rows.values()].filter(({ request_id: id }) => !admitted.has(id));
  t.ok(
    unannounced.every(({ status }) => status === 'not_dispatched'),
    'what was killed between its frame and its answer costs nothing',
  );
  t.ok(
    settled.every((id) => rows.get(id)?.rank === 3),
    'what was settled stays settled',
  );
  t.same(
    lines.filter((line) => /^(failure|poison)/.test(line)),
    [],
  );
  t.ok(readdirSync(folder).length < 8, 'and the journal does not grow: its rows are in the database');
});

t.test('each embedded line of the crash-point table leaves the row that it says', async (t) => {
  const database = await createTestDatabase(t);
  const points = {
    admitted: { rank: 0, status: 'not_dispatched', prompt_tokens: 0, completion_tokens: 0 },
    dispatched: { rank: 1, status: 'orphaned', prompt_tokens: 40, completion_tokens: 0, usage_source: 'estimated' },
    'mid-stream': { rank: 1, status: 'orphaned', prompt_tokens: 40, completion_tokens: 30, usage_source: 'estimated' },
    settled: { rank: 3, status: 'ok' },
    committed: { rank: 3, status: 'ok' },
  };
  const root = t.testdir({});
  for (const [point, row] of Object.entries(points)) {
    const folder = join(root, point);
    const killed = startChild(t, folder, database.url, point);
    t.equal((await killed.ended).signal, 'SIGKILL');
    const [id = ''] = idsAfter('admitted', killed.lines);
    if (point === 'settled') t.notOk((await rowsOf(database)).byId.has(id), 'the database knew nothing of it yet');

    const next = startChild(t, folder, database.url, 'recover');
    await next.ready;
    t.match((await rowsOf(database)).byId.get(id), row, `${point}: before the first request is taken`);
    t.match(await next.ended, { code: 0 });
  }
});
