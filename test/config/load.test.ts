import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadConfig } from '../../src/config/load.ts';
import { createSandbox, known } from './sandbox.ts';

t.test('starts when there is no file of its own and no environment', (t) => {
  const { directory } = createSandbox(t);
  rmSync(join(directory, 'config'), { recursive: true });
  const config = loadConfig({
    providerIds: ['openai', 'anthropic', 'together', 'demo'],
    keylessProviderIds: ['demo'],
    dialects: known.dialects,
    environment: {},
    workingDirectory: directory,
  });
  t.equal(config.environment, 'development');
  t.equal(config.port, 8080);
  t.equal(config.host, '127.0.0.1');
  t.equal(config.dataDirectory, join(directory, '.tollgate'));
  t.same(
    config.providers.map(({ id }) => id),
    ['demo'],
  );
  t.same(Object.keys(config.tiers), ['free', 'pro', 'plus', 'enterprise']);
  t.ok(Object.isFrozen(config) && Object.isFrozen(config.tiers['free']?.limits));
  t.end();
});

t.test('takes flag over environment over file over default when several are given', (t) => {
  const sandbox = createSandbox(t);
  t.equal(sandbox.load().port, 8080);
  sandbox.write('config/gateway.yaml', 'port: 1111\nhost: file.example\n');
  t.equal(sandbox.load().port, 1111);
  t.equal(sandbox.load({ PORT: '2222' }).port, 2222);
  const config = sandbox.load({ PORT: '2222', HOST: 'environment.example' }, { port: '3333' });
  t.equal(config.port, 3333);
  t.same(config.origins.get('port'), { value: '3333', origin: 'flag' });
  t.same(config.origins.get('host'), { value: 'environment.example', origin: 'env HOST' });
  t.same(sandbox.load().origins.get('host'), { value: 'file.example', origin: 'gateway.yaml:2:7' });
  t.same(sandbox.load().origins.get('log_level'), { value: 'info', origin: 'default' });
  t.end();
});

t.test('listens to the world in production and to itself in development', (t) => {
  const sandbox = createSandbox(t);
  t.equal(sandbox.load({ NODE_ENV: 'production' }).host, '0.0.0.0');
  t.equal(sandbox.load({ NODE_ENV: 'test' }).host, '127.0.0.1');
  t.equal(sandbox.load({ NODE_ENV: 'production' }).environment, 'production');
  t.end();
});

t.test('refuses to start when the file that was asked for is absent', (t) => {
  const sandbox = createSandbox(t);
  const line = `${join(sandbox.directory, 'absent.yaml')}  cannot be read: no such file`;
  t.same(sandbox.problems({}, { config: 'absent.yaml' }), [line]);
  t.same(sandbox.problems({ TOLLGATE_CONFIG: 'absent.yaml' }), [line]);
  t.end();
});

t.test('reads the file that is named when there is a default one too', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', 'port: 1\n');
  const other = sandbox.write('other/mine.yaml', 'port: 2\nprot: 3\n');
  t.same(sandbox.problems({ TOLLGATE_CONFIG: other }), ['mine.yaml:2:1  prot: unknown key']);
  sandbox.write('other/mine.yaml', 'port: 2\ncatalogue: ../config/models.yaml\n');
  const config = sandbox.load({ TOLLGATE_CONFIG: 'no-such.yaml' }, { config: 'other/mine.yaml' });
  t.equal(config.port, 2);
  t.same(
    config.catalogue.map(({ id }) => id),
    ['acme/one'],
  );
  t.same(config.files, [other, join(sandbox.directory, 'config/models.yaml')]);
  t.end();
});

t.test('has tiers, clocks and limits when the file is empty', (t) => {
  const config = createSandbox(t).load();
  t.same(config.timeouts, {
    connectMs: 5000,
    firstByteMs: 60_000,
    idleMs: 120_000,
    totalMs: 1_800_000,
    clientStallMs: 60_000,
    keepAliveCommentMs: 15_000,
  });
  t.same(config.retention, { usageDays: 400, rejectionsDays: 90, auditDays: 400, deadLettersDays: 90 });
  t.equal(config.origins.get('retention.usage')?.value, '400d');
  t.equal(config.bodyLimitBytes, 4_194_304);
  t.equal(config.logLevel, 'info');
  t.equal(config.durability, 'standard');
  t.same(config.tiers['free'], {
    id: 'free',
    priceUsd: '0',
    limits: { requestsPerMinute: 10, tokensPerMinute: 20_000, concurrency: 2 },
    historyDays: 7,
    models: '*',
  });
  t.same(config.aliases, {});
  t.end();
});

t.test('normalises every number of the file to the unit of its name', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write(
    'config/gateway.yaml',
    [
      'public_url: https://llm.example.com/',
      'log_level: debug',
      'trust_proxy: [10.0.0.0/8, "fd00::/8", 192.0.2.1]',
      'body_limit: 32MiB',
      'durability: strict',
      'timeouts: { connect: 500ms, total: 1h }',
      'retention: { usage: unlimited, audit: 90d, dead_letters: 48h }',
      'models: { big: acme/one, all: [big, acme/two] }',
      'tiers:',
      '  none: { rpm: 0, tpm: unlimited, models: [big] }',
      '  most: { price: 49.90, rpm: 1.5k, tpm: 2m, concurrency: 3, history: 90d, models: "*" }',
      '',
    ].join('\n'),
  );
  const config = sandbox.load();
  t.equal(config.publicUrl, 'https://llm.example.com');
  t.equal(config.logLevel, 'debug');
  t.same(config.trustProxy, ['10.0.0.0/8', 'fd00::/8', '192.0.2.1']);
  t.equal(config.bodyLimitBytes, 33_554_432);
  t.same(config.retention, { usageDays: null, rejectionsDays: 90, auditDays: 90, deadLettersDays: 2 });
  t.equal(config.durability, 'strict');
  t.match(config.timeouts, { connectMs: 500, totalMs: 3_600_000, idleMs: 120_000 });
  t.same(config.aliases, { big: ['acme/one'], all: ['big', 'acme/two'] });
  t.same(config.tiers['none'], {
    id: 'none',
    priceUsd: '0',
    limits: { requestsPerMinute: 0, tokensPerMinute: null, concurrency: null },
    historyDays: null,
    models: ['big'],
  });
  t.match(config.tiers['most'], { priceUsd: '49.90', limits: { requestsPerMinute: 1500, tokensPerMinute: 2_000_000 } });
  t.same(config.origins.get('tiers.most.price'), { value: '49.90', origin: 'gateway.yaml:11:18' });
  t.end();
});

t.test('demands a strong secret when it guards more than this process', (t) => {
  const sandbox = createSandbox(t);
  const production = { NODE_ENV: 'production', DATABASE_URL: 'postgres://h/d' };
  const strong = '0123456789abcdefghijklmnopqrstuv';
  t.same(sandbox.problems(production), [
    'environment  TOLLGATE_SECRET: needed in production with DATABASE_URL: all replicas must hash keys alike',
  ]);
  t.same(sandbox.problems({ ...production, TOLLGATE_SECRET: strong.slice(1) }), [
    'environment  TOLLGATE_SECRET: expected at least 32 characters; openssl rand -hex 32 makes a good one',
  ]);
  t.equal(sandbox.load({ ...production, TOLLGATE_SECRET: strong }).secret?.reveal(), strong);
  t.equal(sandbox.load({ DATABASE_URL: 'postgres://h/d' }).secret, null);
  sandbox.write('config/gateway.yaml', 'secret: short\n');
  t.same(sandbox.problems(production), [
    'gateway.yaml:1:9  secret: expected at least 32 characters; openssl rand -hex 32 makes a good one',
  ]);
  sandbox.write('config/gateway.yaml', '');
  t.match(sandbox.load({ TOLLGATE_SECRET: 'a'.repeat(32) }).warnings, [/^environment {2}TOLLGATE_SECRET: weak/]);
  t.end();
});

t.test('takes stores and the secret from files when the file says so', (t) => {
  const sandbox = createSandbox(t);
  const password = sandbox.write('password', 'postgres://u:p@h/d\n');
  sandbox.write('config/gateway.yaml', `database_url: "\${file:${password}}"\nredis_url: rediss://h\ndata: state\n`);
  const config = sandbox.load();
  t.equal(config.databaseUrl?.reveal(), 'postgres://u:p@h/d');
  t.equal(config.redisUrl?.reveal(), 'rediss://h');
  t.equal(config.dataDirectory, join(sandbox.directory, 'state'));
  t.equal(sandbox.load({ TOLLGATE_DATA: '/var/lib/tollgate' }).dataDirectory, '/var/lib/tollgate');
  t.end();
});

t.test('warns and starts when something will not do what was hoped', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write(
    'config/gateway.yaml',
    [
      'public_url: http://llm.example.com',
      'models: { a: acme/oen, b: big-cloud/any }',
      'tiers:',
      '  empty: { models: [] }',
      '  typo: { models: [a, aa, acme/one, acme/any, "acme/*", one, "*"] }',
      '',
    ].join('\n'),
  );
  t.same(sandbox.load({ NODE_ENV: 'production' }).warnings, [
    'gateway.yaml:2:14  models.a: acme/oen is not in the catalogue: no price, no context size, did you mean acme/one?',
    'gateway.yaml:4:20  tiers.empty.models: empty: this tier may call nothing',
    'gateway.yaml:5:23  tiers.typo.models[1]: matches no model, did you mean a?',
    'gateway.yaml:1:13  public_url: http in production: keys and sessions travel in the clear',
  ]);
  t.end();
});

t.test('keeps names that an object has by birth out of its tables', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', 'models: { constructor: toString, x: acme/one }\n__proto__: { port: 1 }\n');
  t.same(sandbox.problems(), [
    'gateway.yaml:1:24  models.constructor: expected provider/model or the name of another model',
    'gateway.yaml:2:1  __proto__: unknown key',
  ]);
  sandbox.write('config/gateway.yaml', 'models: { __proto__: acme/one }\ntiers: { constructor: { models: "*" } }\n');
  t.same(sandbox.problems(), [
    'gateway.yaml:1:11  models.__proto__: not a usable name, it must match ^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$',
  ]);
  t.end();
});

t.test('reads the budgets of a tier, and has none when the file says none', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write(
    'config/gateway.yaml',
    'tiers:\n  a: { models: "*", budget: { daily: 0.10, monthly: "50", total: 0 } }\n  b: { models: "*", budget: {} }\n',
  );
  const { tiers, origins } = sandbox.load();
  t.match(tiers['a']?.limits, { budgets: { daily: 100_000_000, monthly: 50_000_000_000, total: 0 } });
  t.notOk('budgets' in (tiers['b']?.limits ?? {}));
  t.same(origins.get('tiers.a.budget.monthly'), { value: '50', origin: 'gateway.yaml:2:53' });
  sandbox.write('config/gateway.yaml', 'tiers:\n  a: { models: "*", budget: { montly: 5, daily: -1 } }\n');
  t.same(sandbox.problems(), [
    'gateway.yaml:2:31  tiers.a.budget.montly: unknown key, did you mean monthly?',
    'gateway.yaml:2:49  tiers.a.budget.daily: expected USD such as 50 or 0.25, at most 4000000',
  ]);
  t.end();
});

t.test('warns of models that a budget shuts out because they have no price', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write(
    'config/gateway.yaml',
    [
      'models: { good: acme/one, bad: [worse, acme/one], worse: acme/new }',
      'tiers:',
      '  bounded: { models: [good, bad, one, "acme/*"], budget: { daily: 5 } }',
      '  all: { models: "*", budget: { total: 5 } }',
      '  free: { models: "*" }',
    ].join('\n'),
  );
  t.same(
    sandbox.load().warnings.filter((line) => line.includes('budget')),
    [
      'gateway.yaml:3:58  tiers.bounded.budget: bad passes over acme/new under a budget, for want of a price',
      'gateway.yaml:4:31  tiers.all.budget: bad passes over acme/new under a budget, for want of a price',
      'gateway.yaml:4:31  tiers.all.budget: worse has no price, so it is refused under a budget',
    ],
  );
  t.end();
});

t.test('reads the options of a tier, and leaves absent what is not written', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write(
    'config/gateway.yaml',
    [
      'tiers:',
      '  a: { models: "*", rpm: 5, shadow: [rpm, tpm], hard_cap: true, hard_revoke: "true", strict_leases: false }',
      '  b: { models: "*", reservation_cap: 8k, redis_down: local-share }',
      '  c: { models: "*", reservation_cap: none, redis_down: closed }',
      '  d: { models: "*", budget: { daily: 5 }, shadow: [budget] }',
    ].join('\n'),
  );
  const { tiers, warnings, origins } = sandbox.load();
  t.match(tiers['a'], { shadow: ['requests', 'tokens'], hardCap: true, hardRevoke: true });
  t.notOk('strictLeases' in (tiers['a'] ?? {}));
  t.notOk('shadow' in (tiers['b'] ?? {}));
  t.equal(tiers['b']?.reservationCapTokens, 8000);
  t.equal(tiers['c']?.reservationCapTokens, null);
  t.equal(tiers['b']?.localShare, true);
  t.notOk('localShare' in (tiers['c'] ?? {}));
  t.same(origins.get('tiers.b.reservation_cap'), { value: '8k', origin: 'gateway.yaml:3:38' });
  t.same(warnings, ['gateway.yaml:2:37  tiers.a.shadow: this tier has no tpm that could be in shadow']);
  t.end();
});

t.test('refuses options of a tier that cannot be meant', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write(
    'config/gateway.yaml',
    'tiers:\n  a: { models: "*", shadow: [rps], reservation_cap: unlimited, hard_cap: maybe }\n',
  );
  t.same(sandbox.problems(), [
    'gateway.yaml:2:30  tiers.a.shadow[0]: expected rpm, tpm, concurrency or budget',
    'gateway.yaml:2:53  tiers.a.reservation_cap: expected a number of tokens such as 4096 or 8k, or none',
    'gateway.yaml:2:74  tiers.a.hard_cap: expected true or false',
  ]);
  t.end();
});
