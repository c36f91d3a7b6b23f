import { format, inspect } from 'node:util';
import t from 'tap';
import { createSecret } from '../../src/config/secret.ts';
import { createSandbox } from './sandbox.ts';

const canary = 'canary-0123456789-abcdefghij-0123456789';

t.test('shows nothing of a secret when it is printed in any way', (t) => {
  const secret = createSecret(canary);
  t.equal(secret.reveal(), canary);
  t.equal(String(secret), '[redacted]');
  t.equal(inspect(secret), '[redacted]');
  const ways = [
    JSON.stringify({ secret }),
    inspect({ deep: { secret } }, { depth: 9, showHidden: true }),
    inspect(secret, { customInspect: false, showHidden: true, depth: 9 }),
    format('%s %o %O %j', secret, secret, secret, secret),
    Object.entries(secret).join(),
    structuredCloneOrError(secret),
  ];
  for (const text of ways) t.notMatch(text, /canary/);
  t.end();
});

function structuredCloneOrError(value: unknown): string {
  try {
    return inspect(structuredClone(value));
  } catch (error) {
    return String(error);
  }
}

t.test('shows no secret when the whole configuration is printed', (t) => {
  const sandbox = createSandbox(t);
  const file = sandbox.write('secret.txt', `${canary}\n`);
  sandbox.write(
    'config/gateway.yaml',
    [
      'providers:',
      '  acme: { key: "${ACME:-}" }',
      `  mine: { dialect: openai-compat, base_url: "http://a/v1", key: "\${file:${file}}" }`,
      'tiers: { free: { models: ["${MISPLACED_KEY}", "${MISPLACED_TOKEN}/*"] } }',
      'host: "${MISPLACED_KEY}"',
      '',
    ].join('\n'),
  );
  const config = sandbox.load({
    ACME: canary,
    MISPLACED_KEY: canary,
    MISPLACED_TOKEN: canary,
    BIG_CLOUD_API_KEY: canary,
    BIG_CLOUD_REGION: 'x',
    DATABASE_URL: `postgres://u:${canary}@h/d`,
    REDIS_URL: `redis://:${canary}@h`,
    TOLLGATE_SECRET: canary,
    TOLLGATE_BOOTSTRAP_KEY: canary,
  });
  t.same(
    config.providers.map(({ id, keys }) => [id, keys[0]?.secret.reveal()]),
    [
      ['acme', canary],
      ['big-cloud', canary],
      ['demo', undefined],
      ['mine', canary],
    ],
  );
  t.equal(config.databaseUrl?.reveal(), `postgres://u:${canary}@h/d`);
  const { host, tiers, ...others } = config;
  t.equal(host, canary, 'the gateway itself gets the value');
  t.same(tiers['free']?.models, [canary, `${canary}/*`]);
  for (const text of [inspect(others, { depth: 9 }), JSON.stringify(others), JSON.stringify([...config.origins])]) {
    t.notMatch(text, /canary/);
    t.match(text, /\[redacted\]/);
  }
  t.notMatch(config.warnings.join('\n'), /canary/);
  t.same(config.files, [sandbox.write('config/gateway.yaml', ''), file, sandbox.write('config/models.yaml', '')]);
  t.end();
});

t.test('shows no secret when the start fails because of it', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write(
    'config/gateway.yaml',
    [
      'public_url: "${SECRET}"',
      'log_level: "${SECRET}"',
      'catalogue: "${SECRET}"',
      'trust_proxy: ["${SECRET}"]',
      'providers:',
      '  acme: { key: "${SECRET} ${SECRET}", base_url: "https://u:${SECRET}@h" }',
      '  mine: { dialect: "${SECRET}", base_url: "${SECRET}" }',
      '  open: { key: ["${SECRET}"] }',
      'models:',
      '  a: "${SECRET}"',
      '  b: "${SECRET}/x"',
      'tiers: { free: { rpm: "${SECRET}", price: "${SECRET}", history: "${SECRET}", models: "${SECRET}" } }',
      'timeouts: { idle: "${SECRET}" }',
      '',
    ].join('\n'),
  );
  const problems = sandbox.problems({
    SECRET: canary,
    BIG_CLOUD_API_KEY: `${canary}\nx-injected: 1`,
    BIG_CLOUD_BASE_URL: `https://u:${canary}@h`,
    DATABASE_URL: `mysql://${canary}`,
    REDIS_URL: canary,
    LOG_LEVEL: canary,
    PORT: canary,
    TOLLGATE_DEMO: canary,
    TOLLGATE_SECRET: canary.slice(0, 20),
  });
  t.equal(problems.length, 25, problems.join('\n'));
  t.notMatch(problems.join('\n'), /canary/);
  t.end();
});

t.test('quotes nothing of the file when its YAML is broken', (t) => {
  for (const text of [
    `host: "a" ${canary}\n`,
    `host: !${canary} a\n`,
    `host: "\\q${canary}"\n`,
    `host: *${canary}\n`,
    `host: |${canary}\n  a\n`,
    `? [${canary}]\n: 1\n`,
    `%YAML ${canary}\n---\nhost: a\n`,
    `%${canary}\n---\nhost: a\n`,
    `${canary}\n`,
    `host: @${canary}\n`,
    `host: a\n ${canary}: b\n`,
    `}${canary}\n`,
  ]) {
    const sandbox = createSandbox(t);
    sandbox.write('config/gateway.yaml', text);
    const problems = sandbox.problems();
    t.ok(problems.length > 0, text);
    t.notMatch(problems.join('\n'), /canary/, text);
  }
  t.end();
});
