import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createLogger, type LoggerOptions } from '../../src/platform/logger.ts';
import { parseObject, textAt } from '../support/json-at.ts';

const secret = 'sk-tg-do-not-print-me';

function openLog(t: Test, options: Partial<LoggerOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-log-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'log');
  const { log, flush } = createLogger({ level: 'info', destination: path, ...options });
  return {
    log,
    text: () => readFileSync(path, 'utf8'),
    lines: () => {
      flush();
      return readFileSync(path, 'utf8').trimEnd().split('\n').map(parseObject);
    },
  };
}

t.test('writes one JSON line with level, time and message', (t) => {
  const { log, lines } = openLog(t);
  log.info({ request_id: 'req_1', status: 200 }, 'request');
  log.warn('degraded');
  const [first, second] = lines();
  t.match(first, { level: 'info', request_id: 'req_1', status: 200, msg: 'request' });
  t.match(textAt(first, 'time'), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  t.same(Object.keys(first ?? {}), ['level', 'time', 'request_id', 'status', 'msg'], 'no process id, no host name');
  t.match(second, { level: 'warn', msg: 'degraded' });
  t.end();
});

t.test('writes nothing below its level', (t) => {
  const { log, lines } = openLog(t, { level: 'warn' });
  log.info('quiet');
  log.debug('quiet');
  log.error('loud');
  t.same(
    lines().map(({ msg }) => msg),
    ['loud'],
  );
  t.end();
});

t.test('keeps lines in memory until there are enough or somebody asks', (t) => {
  const { log, text, lines } = openLog(t);
  log.info('one');
  t.equal(text(), '');
  t.equal(lines().length, 1);
  t.equal(lines().length, 1, 'asking twice repeats nothing');
  log.info('two');
  t.equal(lines().length, 2);
  t.end();
});

t.test('prints no secret that comes under its usual name', (t) => {
  const { log, lines } = openLog(t);
  log.info(
    {
      authorization: `Bearer ${secret}`,
      cookie: secret,
      password: secret,
      secret,
      token: secret,
      apiKey: secret,
      headers: { authorization: secret, cookie: secret, 'x-api-key': secret, 'set-cookie': secret, accept: 'kept' },
    },
    'request',
  );
  const shown = JSON.stringify(lines());
  t.notMatch(shown, secret);
  t.match(shown, 'kept');
  t.equal(shown.split('[redacted]').length, 11);
  t.end();
});

t.test('prints an error with its stack and without the command that failed', (t) => {
  const { log, lines } = openLog(t);
  // As the Redis client makes it when the password is wrong: the command and its arguments hang on the error.
  const error = Object.assign(new Error('WRONGPASS'), { command: { name: 'auth', args: ['default', secret] } });
  log.error({ err: error }, 'redis connection lost');
  const [line] = lines();
  t.equal(textAt(line, 'err', 'message'), 'WRONGPASS');
  t.match(textAt(line, 'err', 'stack'), 'logger.test.ts');
  t.equal(textAt(line, 'err', 'command', 'name'), 'auth');
  t.notMatch(JSON.stringify(line), secret);
  t.end();
});

t.test('prints the error of a Cluster without the command of the node that it carries', (t) => {
  const { log, lines } = openLog(t);
  const lastNodeError = Object.assign(new Error('WRONGPASS'), { command: { name: 'auth', args: ['default', secret] } });
  log.warn({ err: Object.assign(new Error('Failed to refresh slots cache.'), { lastNodeError }) }, 'connection lost');
  const shown = JSON.stringify(lines());
  t.match(shown, 'WRONGPASS');
  t.notMatch(shown, secret);
  t.end();
});

const source = join(import.meta.dirname, '..', '..', 'src', 'platform', 'logger.ts');

/** What a process of its own prints before it ends. */
function printedBy(t: Test, options: string): string {
  const script = `
    import { createLogger } from ${JSON.stringify(source)};
    const { log, flush } = createLogger(${options});
    for (let count = 0; count < 200; count += 1) log.info({ count }, 'line');
    flush();
    process.exit(0);
  `;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'] },
  });
  t.equal(stderr, '');
  return stdout;
}

t.test('prints to standard output, and a flush brings every line out before the process ends', (t) => {
  const lines = printedBy(t, '{ level: "info" }').trimEnd().split('\n').map(parseObject);
  t.equal(lines.length, 200);
  t.match(lines[0], { level: 'info', msg: 'line' });
  // A piece that was on its way when the flush came may stand behind it.
  const counts = lines.map(({ count }) => Number(count)).toSorted((left, right) => left - right);
  t.same(counts, [...counts.keys()]);
  t.end();
});

t.test('prints for a person when asked to, where the printer is installed', (t) => {
  const text = printedBy(t, '{ level: "info", isPretty: true }');
  t.match(text, /INFO.*line/);
  t.match(text, 'count: 199');
  t.throws(() => parseObject(text.split('\n')[0] ?? ''));
  t.end();
});

t.test('a flush does not fail when nobody reads the log any more', async (t) => {
  const script = `
    import { createLogger } from ${JSON.stringify(source)};
    const { log, flush } = createLogger({ level: 'info' });
    process.stdin.resume().on('end', () => {
      log.info('nobody reads this');
      flush();
      process.exit(7);
    });
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdout.destroy();
  child.stdin.end();
  const [code] = (await once(child, 'exit')) as [number | null];
  t.equal(code, 7);
});
