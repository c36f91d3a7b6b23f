import t from 'tap';
import { createSandbox } from './sandbox.ts';

const idsOf = (config: { providers: readonly { id: string }[] }) => config.providers.map(({ id }) => id);

t.test('switches a provider on when its key is in the environment or in the file', (t) => {
  const sandbox = createSandbox(t);
  t.same(idsOf(sandbox.load()), ['demo']);
  t.same(idsOf(sandbox.load({ ACME_API_KEY: 'k' })), ['acme', 'demo']);
  t.same(idsOf(sandbox.load({ BIG_CLOUD_API_KEY: 'k', BIG_CLOUD_REGION: 'x' })), ['big-cloud', 'demo']);
  t.same(idsOf(sandbox.load({ ACME_API_KEY: '', BIG_CLOUD_API_KEY: ' \n' })), ['demo']);
  sandbox.write('config/gateway.yaml', 'providers:\n  acme: { key: "${K:-}" }\n');
  t.same(idsOf(sandbox.load()), ['demo']);
  t.same(idsOf(sandbox.load({ K: 'from-file' })), ['acme', 'demo']);
  const config = sandbox.load({ K: 'from-file', ACME_API_KEY: ' from-environment\n' });
  t.equal(config.providers[0]?.keys[0]?.secret.reveal(), 'from-environment');
  t.same(config.origins.get('providers.acme.key'), { value: '[redacted]', origin: 'env ACME_API_KEY' });
  t.end();
});

t.test('trusts a base URL when the operator set it in the environment', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', 'providers:\n  acme: { key: k, base_url: "https://file.example/v1/" }\n');
  const [fromFile] = sandbox.load().providers;
  t.match(fromFile, { baseUrl: 'https://file.example/v1', allowPrivate: false });
  const [fromEnvironment] = sandbox.load({ ACME_BASE_URL: 'http://127.0.0.1:9' }).providers;
  t.match(fromEnvironment, { baseUrl: 'http://127.0.0.1:9', allowPrivate: true });
  t.same(idsOf(sandbox.load({ BIG_CLOUD_BASE_URL: 'http://127.0.0.1:9' })), ['acme', 'demo'], 'a URL is no key');
  t.end();
});

t.test('needs no key when a provider works without one', (t) => {
  const sandbox = createSandbox(t);
  t.same(idsOf(sandbox.load({ LOCAL_LLM_BASE_URL: 'http://127.0.0.1:9' })), ['demo', 'local-llm']);
  sandbox.write('config/gateway.yaml', 'providers:\n  local-llm: { allow_private: true }\n');
  t.match(sandbox.load().providers[1], { id: 'local-llm', keys: [], allowPrivate: true });
  t.end();
});

t.test('has the built-in provider in development, and in production when asked', (t) => {
  const sandbox = createSandbox(t);
  const production = { NODE_ENV: 'production' };
  t.same(idsOf(sandbox.load()), ['demo']);
  t.same(idsOf(sandbox.load({ TOLLGATE_DEMO: '0' })), []);
  t.same(idsOf(sandbox.load(production)), []);
  t.same(idsOf(sandbox.load({ ...production, TOLLGATE_DEMO: '1' })), ['demo']);
  sandbox.write('config/gateway.yaml', 'demo: true\n');
  t.same(idsOf(sandbox.load(production)), ['demo']);
  t.same(idsOf(sandbox.load({ ...production, TOLLGATE_DEMO: 'false' })), []);
  sandbox.write('config/gateway.yaml', 'demo: false\nproviders: { demo: {} }\n');
  t.same(idsOf(sandbox.load()), []);
  t.end();
});

t.test('adds a private endpoint when it is declared', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write(
    'config/gateway.yaml',
    [
      'providers:',
      '  vllm: { dialect: openai-compat, base_url: http://vllm:8000/v1, allow_private: true }',
      '  remote: { dialect: openai-exact, base_url: "https://remote.example/v1/", key: "${REMOTE_KEY:-}" }',
      'models:',
      '  house: [vllm/qwen, remote/big, acme/one]',
      '',
    ].join('\n'),
  );
  const config = sandbox.load({ REMOTE_KEY: 'k' });
  t.match(config.providers, [
    { id: 'demo' },
    { id: 'vllm', dialect: 'openai-compat', baseUrl: 'http://vllm:8000/v1', keys: [], allowPrivate: true },
    { id: 'remote', dialect: 'openai-exact', baseUrl: 'https://remote.example/v1', allowPrivate: false },
  ]);
  t.same(idsOf(sandbox.load()), ['demo', 'vllm'], 'a key that is empty switches it off');
  t.same(sandbox.load().aliases['house'], ['vllm/qwen', 'remote/big', 'acme/one'], 'targets of what is off are fine');
  t.end();
});

t.test('refuses a key that could not travel in a header', (t) => {
  const sandbox = createSandbox(t);
  const message = 'a key has no spaces, line breaks or letters beyond ASCII: it travels in a header';
  t.same(sandbox.problems({ ACME_API_KEY: 'a\r\nx: y' }), [`environment  ACME_API_KEY: ${message}`]);
  t.same(sandbox.problems({ ACME_API_KEY: 'schlüssel' }), [`environment  ACME_API_KEY: ${message}`]);
  t.end();
});

t.test('accepts only plain http and https as a base URL', (t) => {
  const sandbox = createSandbox(t);
  const refused = [
    'file:///etc/passwd',
    'acme.example',
    'http://',
    'http://a/?',
    'http://a/#',
    'ht\ntp://a',
    'http://a b',
    'http:\\\\a',
  ];
  for (const url of refused) t.equal(sandbox.problems({ ACME_BASE_URL: url }).length, 1, url);
  for (const url of ['http://user@a', 'http://:pw@a']) {
    t.same(sandbox.problems({ ACME_BASE_URL: url }), [
      'environment  ACME_BASE_URL: a URL here may not hold credentials',
    ]);
  }
  t.same(sandbox.problems({ ACME_BASE_URL: 'https://[::1]:8443/v1' }), []);
  t.end();
});

const keysOf = (config: ReturnType<ReturnType<typeof createSandbox>['load']>) =>
  config.providers[0]?.keys.map(({ secret, file, weight }) => [secret.reveal(), file, weight]);

t.test('takes one key or several, as text or in files, each with its weight', (t) => {
  const sandbox = createSandbox(t);
  const path = sandbox.write('secrets/one', ' from-its-file\n');
  sandbox.write('config/gateway.yaml', `providers: { acme: { key_file: "${path}" } }\n`);
  t.same(keysOf(sandbox.load()), [['from-its-file', path, 1]]);
  t.ok(sandbox.load().files.includes(path), 'a change of it is a reason to look again');
  sandbox.write(
    'config/gateway.yaml',
    `providers: { acme: { keys: ["\${A}", { key: "\${B}", weight: 3 }, { key_file: "${path}", weight: 2 }] } }\n`,
  );
  t.same(keysOf(sandbox.load({ A: 'a', B: 'b' })), [
    ['a', null, 1],
    ['b', null, 3],
    ['from-its-file', path, 2],
  ]);
  t.same(keysOf(sandbox.load({ A: 'a', B: 'b', ACME_API_KEY: 'e' })), [['e', null, 1]], 'the environment wins');
  t.same(keysOf(sandbox.load({ A: 'a', B: 'b', ACME_API_KEY_FILE: path })), [['from-its-file', path, 1]]);
  t.end();
});

t.test('says what is wrong with a key or its file', (t) => {
  const sandbox = createSandbox(t);
  const empty = sandbox.write('secrets/empty', '\n');
  const problemsOf = (entry: string): string[] => {
    sandbox.write('config/gateway.yaml', `providers: { acme: ${entry} }\n`);
    return sandbox.problems();
  };
  t.same(problemsOf('{ key_file: /no/such/file }'), [
    'gateway.yaml:1:32  providers.acme.key_file: cannot be read: no such file',
  ]);
  t.match(problemsOf(`{ key_file: "${empty}" }`), [/the file is empty/]);
  t.match(problemsOf('{ key: a, keys: [b] }'), [/more than one of key, key_file and keys/]);
  t.match(problemsOf('{ keys: [{ key: a, weight: 0 }] }'), [/expected/]);
  t.match(problemsOf('{ keys: [] }'), [/expected a list of keys/]);
  sandbox.write('config/gateway.yaml', '');
  t.match(sandbox.problems({ ACME_API_KEY_FILE: '/no/such/file' }), [
    /environment {2}ACME_API_KEY_FILE: cannot be read/,
  ]);
  t.end();
});

t.test('checks the settings that a provider declares', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', 'providers: { big-cloud: { key: k, settings: { region: eu-west-1 } } }\n');
  t.match(sandbox.load().providers[0], { id: 'big-cloud', settings: { region: 'eu-west-1' } });
  t.match(sandbox.load({ BIG_CLOUD_REGION: 'us-east-1' }).providers[0], { settings: { region: 'us-east-1' } });
  t.match(sandbox.problems({ BIG_CLOUD_REGION: 'no region' }), [
    'environment  BIG_CLOUD_REGION: expected a region such as eu-west-1',
  ]);
  sandbox.write('config/gateway.yaml', 'providers: { big-cloud: { key: k, settings: { regin: x } } }\n');
  t.match(sandbox.problems(), [/needs the setting region .*BIG_CLOUD_REGION/, /has no such setting.*region/]);
  sandbox.write('config/gateway.yaml', '');
  t.same(idsOf(sandbox.load()), ['demo'], 'a provider that is off needs none');
  sandbox.write(
    'config/gateway.yaml',
    'providers: { mine: { dialect: openai-compat, base_url: "http://a/v1", settings: { region: x } } }\n',
  );
  t.match(sandbox.problems(), [/mine has no such setting/]);
  t.end();
});
