import t from 'tap';
import { createSandbox } from './sandbox.ts';

const idsOf = (config: { providers: readonly { id: string }[] }) => config.providers.map(({ id }) => id);

t.test('switches a provider on when its key is in the environment or in the file', (t) => {
  const sandbox = createSandbox(t);
  t.same(idsOf(sandbox.load()), ['demo']);
  t.same(idsOf(sandbox.load({ ACME_API_KEY: 'k' })), ['acme', 'demo']);
  t.same(idsOf(sandbox.load({ BIG_CLOUD_API_KEY: 'k' })), ['big-cloud', 'demo']);
  t.same(idsOf(sandbox.load({ ACME_API_KEY: '', BIG_CLOUD_API_KEY: ' \n' })), ['demo']);
  sandbox.write('config/gateway.yaml', 'providers:\n  acme: { key: "${K:-}" }\n');
  t.same(idsOf(sandbox.load()), ['demo']);
  t.same(idsOf(sandbox.load({ K: 'from-file' })), ['acme', 'demo']);
  const config = sandbox.load({ K: 'from-file', ACME_API_KEY: ' from-environment\n' });
  t.equal(config.providers[0]?.key?.reveal(), 'from-environment');
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
  t.match(sandbox.load().providers[1], { id: 'local-llm', key: null, allowPrivate: true });
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
    { id: 'vllm', dialect: 'openai-compat', baseUrl: 'http://vllm:8000/v1', key: null, allowPrivate: true },
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
