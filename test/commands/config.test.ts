import { chmodSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createConfigCommand } from '../../src/commands/config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { renderGatewaySchema } from '../../src/config/schema.ts';
import { createSandbox, known, type Sandbox } from '../config/sandbox.ts';

type Values = Record<string, string | boolean>;

async function run(
  sandbox: Sandbox,
  words: readonly string[],
  { values = {}, environment = {} }: { values?: Values; environment?: Record<string, string> } = {},
) {
  let stdout = '';
  let stderr = '';
  const io = {
    stdout: (text: string) => {
      stdout += text;
    },
    stderr: (text: string) => {
      stderr += text;
    },
    readStdin: () => Promise.resolve(''),
  };
  const command = createConfigCommand({ ...known, environment, workingDirectory: sandbox.directory });
  const code = await command.run({ positionals: words, values, io });
  return { code, stdout, stderr };
}

t.test('check exits 0 and lists the warnings when the file is valid', async (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', 'tiers:\n  free: { models: [] }\n');
  t.same(await run(sandbox, ['check']), {
    code: 0,
    stdout: 'warning  gateway.yaml:2:19  tiers.free.models: empty: this tier may call nothing\n',
    stderr: 'The configuration is valid.\n',
  });
});

t.test('check exits 1 with every position when the file is broken', async (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', 'prot: 1\nlog_level: loud\n');
  const { code, stdout, stderr } = await run(sandbox, ['check']);
  t.equal(code, 1);
  t.equal(
    stdout,
    [
      'gateway.yaml:1:1  prot: unknown key, did you mean port?',
      'gateway.yaml:2:12  log_level: expected one of fatal, error, warn, info, debug, trace, silent',
      '',
    ].join('\n'),
  );
  t.equal(stderr, '2 problems.\n');
});

t.test('check speaks JSON when asked', async (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', 'prot: 1\n');
  const { code, stdout } = await run(sandbox, ['check'], { values: { json: true } });
  t.equal(code, 1);
  t.same(JSON.parse(stdout), {
    ok: false,
    problems: [{ file: 'gateway.yaml', line: 1, column: 1, message: 'prot: unknown key, did you mean port?' }],
    warnings: [],
  });
});

t.test('check reads the file that --config names', async (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('other.yaml', 'prot: 1\n');
  t.equal((await run(sandbox, ['check'])).code, 0);
  const { code, stdout } = await run(sandbox, ['check'], { values: { config: 'other.yaml' } });
  t.equal(code, 1);
  t.match(stdout, /^other\.yaml:1:1 {2}/);
});

const canary = 'canary-0123456789-abcdefghij-0123456789';
const secrets = {
  ACME_API_KEY: canary,
  DATABASE_URL: `postgres://u:${canary}@db.example/d`,
  TOLLGATE_SECRET: canary,
  HOST: '10.9.8.7',
};

t.test('print shows each value with its origin and never a secret', async (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', 'port: 81\npublic_url: https://llm.example.com\n');
  for (const values of [{}, { json: true }, { redact: true }]) {
    const { code, stdout, stderr } = await run(sandbox, ['print'], { values, environment: secrets });
    t.equal(code, 0);
    t.notMatch(stdout + stderr, /canary/);
  }
  const { stdout } = await run(sandbox, ['print'], { environment: secrets });
  t.match(stdout, /^port +81 +gateway\.yaml:1:7$/m);
  t.match(stdout, /^host +10\.9\.8\.7 +env HOST$/m);
  t.match(stdout, /^log_level +info +default$/m);
  t.match(stdout, /^database_url +\[redacted\] +env DATABASE_URL$/m);
  t.match(stdout, /^providers\.acme\.key +\[redacted\] +env ACME_API_KEY$/m);
});

t.test('print --redact hides what would tell a stranger about the place', async (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', 'port: 81\npublic_url: https://llm.example.com\n');
  const { stdout } = await run(sandbox, ['print'], { values: { redact: true }, environment: secrets });
  t.match(stdout, /^port +81 +gateway\.yaml:1:7$/m);
  t.match(stdout, /^host +\[redacted\] +env HOST$/m);
  t.match(stdout, /^public_url +\[redacted\] +gateway\.yaml:2:13$/m);
  t.notMatch(stdout, sandbox.directory);
});

t.test('print keeps a value on its line when it holds a line break or an escape sequence', async (t) => {
  const sandbox = createSandbox(t);
  const { stdout } = await run(sandbox, ['print'], { environment: { HOST: 'a\nport  1  default\u001B[31m' } });
  t.match(stdout, /^host +a\\nport {2}1 {2}default\\u001b\[31m +env HOST$/m);
});

t.test('print exits 1 with the problems when there is nothing to print', async (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', 'prot: 1\n');
  t.same(await run(sandbox, ['print']), {
    code: 1,
    stdout: '',
    stderr: 'gateway.yaml:1:1  prot: unknown key, did you mean port?\n',
  });
});

t.test('schema prints the schema of the file', async (t) => {
  t.same(await run(createSandbox(t), ['schema']), { code: 0, stdout: renderGatewaySchema(), stderr: '' });
});

t.test('init writes a configuration that starts, with a secret of its own', async (t) => {
  const sandbox = createSandbox(t);
  rmSync(join(sandbox.directory, 'config'), { recursive: true });
  const { code, stderr } = await run(sandbox, ['init']);
  t.equal(code, 0);
  t.equal(stderr, 'wrote config/gateway.yaml\nwrote config/gateway.schema.json\nwrote .env\n');
  const environmentFile = join(sandbox.directory, '.env');
  t.equal(statSync(environmentFile).mode & 0o777, 0o600);
  const text = readFileSync(environmentFile, 'utf8');
  const [, secret = ''] = /^TOLLGATE_SECRET=([0-9a-f]{64})$/m.exec(text) ?? [];
  t.match(text, /^# ACME_API_KEY=$/m);
  t.match(text, /^# BIG_CLOUD_API_KEY=$/m);
  t.notMatch(text, /DEMO_API_KEY/);
  const config = loadConfig({
    ...known,
    providerIds: ['openai', 'anthropic', 'together', 'demo'],
    environment: { TOLLGATE_SECRET: secret },
    workingDirectory: sandbox.directory,
  });
  t.equal(config.secret?.reveal(), secret);
  t.equal(config.files[0], join(sandbox.directory, 'config/gateway.yaml'));
});

t.test('init overwrites nothing when it runs again', async (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('.env', 'TOLLGATE_SECRET=mine\n');
  chmodSync(join(sandbox.directory, '.env'), 0o640);
  sandbox.write('config/gateway.yaml', 'port: 1\n');
  const { code, stdout } = await run(sandbox, ['init'], { values: { json: true } });
  t.equal(code, 0);
  t.same(JSON.parse(stdout), { written: ['config/gateway.schema.json'], kept: ['config/gateway.yaml', '.env'] });
  t.equal(readFileSync(join(sandbox.directory, '.env'), 'utf8'), 'TOLLGATE_SECRET=mine\n');
  t.equal(readFileSync(join(sandbox.directory, 'config/gateway.yaml'), 'utf8'), 'port: 1\n');
});

t.test('makes another secret at each init', async (t) => {
  const first = createSandbox(t);
  const second = createSandbox(t);
  await run(first, ['init']);
  await run(second, ['init']);
  const read = (sandbox: Sandbox) => readFileSync(join(sandbox.directory, '.env'), 'utf8');
  t.not(read(first), read(second));
});

t.test('exits 2 with the usage when the word is unknown', async (t) => {
  const sandbox = createSandbox(t);
  for (const words of [[], ['chekc'], ['check', 'more'], ['constructor']]) {
    const { code, stdout, stderr } = await run(sandbox, words);
    t.equal(code, 2);
    t.equal(stdout, '');
    t.match(stderr, /^usage: tollgate config /);
  }
  t.match((await run(sandbox, ['chekc'])).stderr, /did you mean check\?/);
});
