import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openDataFolder, readOrCreateSecret } from '../../src/platform/data-folder.ts';

const modulePath = join(import.meta.dirname, '../../src/platform/data-folder.ts');
const modeOf = (path: string): number => statSync(path).mode & 0o777;

/** A process that opens the folder, says how it went, and holds it until its stdin ends. */
function startHolder(t: Test, folder: string): ChildProcess {
  const program = `
    const { openDataFolder } = await import(${JSON.stringify(modulePath)});
    try { openDataFolder(${JSON.stringify(folder)}); process.stdout.write('held\\n'); }
    catch (error) { process.stdout.write('refused\\n'); }
    process.stdin.resume();
  `;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

async function firstLine(child: ChildProcess): Promise<string> {
  const [chunk] = await once(child.stdout ?? child, 'data');
  return String(chunk).trim();
}

t.test('makes a private folder and gives it back when it is released', (t) => {
  const folder = join(t.testdir({}), 'new', 'data');
  const first = openDataFolder(folder);
  t.equal(first.path, folder);
  t.equal(modeOf(folder), 0o700);
  t.throws(() => openDataFolder(folder), {
    message: new RegExp(`${folder} is in use by process ${process.pid}\\..*TOLLGATE_DATA`),
  });
  first.release();
  t.notOk(existsSync(join(folder, 'lock')));
  openDataFolder(folder).release();
  t.end();
});

t.test('names the holder when another process has the folder, and takes it over when that one is killed', async (t) => {
  const folder = t.testdir({});
  const child = startHolder(t, folder);
  t.equal(await firstLine(child), 'held');
  t.throws(() => openDataFolder(folder), { message: new RegExp(`in use by process ${child.pid}\\.`) });
  child.kill('SIGKILL');
  await once(child, 'exit');
  openDataFolder(folder).release();
});

t.test('lets one process win when several find the same dead lock', async (t) => {
  const folder = t.testdir({});
  const dead = spawnSync(process.execPath, ['--version']).pid;
  writeFileSync(join(folder, 'lock'), JSON.stringify({ pid: dead, host: hostname(), started: 'x' }));
  const answers = await Promise.all(Array.from({ length: 4 }, () => firstLine(startHolder(t, folder))));
  t.same(answers.sort(), ['held', 'refused', 'refused', 'refused']);
});

t.test('takes the folder over when the pid of the holder belongs to a younger process', (t) => {
  const folder = t.testdir({
    lock: JSON.stringify({ pid: process.pid, host: hostname(), started: 'before the container was restarted' }),
  });
  openDataFolder(folder).release();
  t.end();
});

t.test('goes by the age of the lock when the holder is on another host', (t) => {
  const folder = t.testdir({ lock: JSON.stringify({ pid: 1, host: 'elsewhere', started: '' }) });
  const atMs = 1_700_000_000_000;
  utimesSync(join(folder, 'lock'), atMs / 1000, atMs / 1000);
  t.throws(() => openDataFolder(folder, { clock: () => atMs + 10_000 }), {
    message: /in use by process 1 on host elsewhere.*free 20 s from now/,
  });
  openDataFolder(folder, { clock: () => atMs + 30_001 }).release();
  t.end();
});

t.test('goes by the age of the lock when its writer died in the middle', (t) => {
  const folder = t.testdir({ lock: '{"pid":12' });
  const atMs = statSync(join(folder, 'lock')).mtimeMs;
  t.throws(() => openDataFolder(folder, { clock: () => atMs }), { message: /in use by an unknown process/ });
  openDataFolder(folder, { clock: () => atMs + 60_000 }).release();
  t.end();
});

t.test('leaves the lock alone when another process has taken it over', (t) => {
  const folder = t.testdir({});
  const holder = openDataFolder(folder);
  writeFileSync(join(folder, 'lock'), 'of another');
  holder.release();
  t.equal(readFileSync(join(folder, 'lock'), 'utf8'), 'of another');
  t.end();
});

t.test('makes a secret once, for its owner alone', (t) => {
  const path = join(t.testdir({}), 'data', 'secret');
  const secret = readOrCreateSecret(path);
  t.equal(Buffer.from(secret, 'base64url').length, 32);
  t.equal(modeOf(path), 0o600);
  chmodSync(path, 0o644);
  t.equal(readOrCreateSecret(path), secret);
  t.equal(modeOf(path), 0o600);
  t.end();
});

t.test('refuses a secret that is too short to keep anything', (t) => {
  const path = join(t.testdir({ secret: 'hunter2\n' }), 'secret');
  t.throws(() => readOrCreateSecret(path), { message: /shorter than 32 characters/ });
  t.end();
});
