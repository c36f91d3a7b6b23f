import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { findFreePort, makeServerDirectory, readVersion, startServer } from '../../scripts/server-process.ts';

const scripts = join(import.meta.dirname, '../../scripts');
const idle = 'setInterval(() => {}, 1000)';

/** The options of a server that does nothing and is ready at once. */
const idleServer = (directory: string) => ({
  program: process.execPath,
  args: ['--eval', idle],
  directory,
  account: null,
  url: 'idle:',
  probe: async () => ({ version: '1' }),
  stopSignal: 'SIGTERM' as const,
  abandonSignal: 'SIGKILL' as const,
});

function isAlive(pid: number | undefined): boolean {
  try {
    return pid !== undefined && process.kill(pid, 0);
  } catch {
    return false; // ESRCH: that is the answer.
  }
}

/** Polls, because the end of a process that is no child of ours comes without an event. */
async function hasEnded(pid: number | undefined): Promise<boolean> {
  for (let attempt = 0; attempt < 200 && isAlive(pid); attempt += 1) {
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return !isAlive(pid);
}

function runProgram(t: Test, program: string): ChildProcess {
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) return '';
  for await (const line of createInterface(child.stdout)) return line;
  return '';
}

t.test('is gone with its directory when it was stopped', async (t) => {
  const directory = makeServerDirectory('idle', null);
  const server = await startServer(idleServer(directory));
  t.ok(isAlive(server.pid));
  await server.stop();
  t.notOk(isAlive(server.pid));
  t.notOk(existsSync(directory));
});

t.test('tells its last words when it does not start', async (t) => {
  const directory = makeServerDirectory('broken', null);
  const args = ['--eval', "process.stderr.write('first\\nno space left\\n'); process.exit(1)"];
  const probe = async () => ({ failure: 'does not answer' });
  await t.rejects(startServer({ ...idleServer(directory), args, probe }), { message: 'no space left' });
  t.notOk(existsSync(directory));
});

t.test('tells why when the program cannot be run', async (t) => {
  const directory = makeServerDirectory('absent', null);
  const probe = async () => ({ failure: 'does not answer' });
  await t.rejects(startServer({ ...idleServer(directory), program: '/nowhere/server', probe }), { message: /ENOENT/ });
  t.notOk(existsSync(directory));
});

t.test('does not outlive a run that ends without stopping it', async (t) => {
  const directory = makeServerDirectory('orphan', null);
  const run = runProgram(
    t,
    `import { startServer } from ${JSON.stringify(join(scripts, 'server-process.ts'))};
     const server = await startServer({
       ...${JSON.stringify(idleServer(directory))},
       probe: async () => ({ version: '1' }),
     });
     console.log(server.pid);
     setImmediate(() => process.exit(0));`,
  );
  const exited = once(run, 'exit');
  const pid = Number(await firstLine(run));
  t.ok(pid > 0);
  await exited;
  t.ok(await hasEnded(pid));
  t.notOk(existsSync(directory));
});

t.test('ends the running command and reports the signal when a run is interrupted', async (t) => {
  const run = runProgram(
    t,
    `import { createCommandRunner } from ${JSON.stringify(join(scripts, 'command-runner.ts'))};
     const runner = createCommandRunner(process.cwd());
     const isOk = await runner.run(process.execPath, ['--eval', ${JSON.stringify(`console.log(process.pid); ${idle}`)}]);
     const isNextOk = await runner.run(process.execPath, ['--eval', '']);
     process.exitCode = isOk || isNextOk ? 0 : (runner.interruptedCode() ?? 1);`,
  );
  const exited = once(run, 'exit');
  const pid = Number(await firstLine(run));
  t.ok(isAlive(pid));
  run.kill('SIGTERM');
  t.same(await exited, [143, null], 'no further command starts, and the code names the signal');
  t.ok(await hasEnded(pid));
});

t.test('gives every line and the success of a command', async (t) => {
  const run = runProgram(
    t,
    `import { createCommandRunner } from ${JSON.stringify(join(scripts, 'command-runner.ts'))};
     const lines = [];
     const runner = createCommandRunner(process.cwd());
     const isOk = await runner.run(process.execPath, ['--eval', 'console.log("a"); console.log(process.env.B)'], {
       environment: { B: 'b' },
       takeLine: (line) => lines.push(line),
     });
     const isFailureOk = await runner.run(process.execPath, ['--eval', 'process.exit(3)']);
     console.log(JSON.stringify({ isOk, isFailureOk, lines }));`,
  );
  t.same(JSON.parse(await firstLine(run)), { isOk: true, isFailureOk: false, lines: ['a', 'b'] });
});

t.test('gives a port on which nothing listens', async (t) => {
  const port = await findFreePort();
  await t.rejects(fetch(`http://127.0.0.1:${port}/`));
});

t.test('reads the version off what the programs say', (t) => {
  t.equal(readVersion('postgres (PostgreSQL) 15.3 (Debian 15.3-0+deb12u1)'), '15.3');
  t.equal(readVersion('postgres (PostgreSQL) 18beta1'), '18');
  t.equal(readVersion('Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64'), '7.0.15');
  t.equal(readVersion('Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64'), '8.1.1');
  t.equal(readVersion('command not found'), null);
  t.end();
});
