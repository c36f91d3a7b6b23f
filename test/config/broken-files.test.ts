import t from 'tap';
import { createSandbox } from './sandbox.ts';

/** Each a whole `gateway.yaml`, and the exact lines that the start prints for it. */
const broken: Record<string, { text: string; expected: string[] }> = {
  'a key is mistyped': {
    text: 'tiers:\n  pro:\n    price: 49\n    rpn: 100\n    models: "*"\n',
    expected: ['gateway.yaml:4:5  tiers.pro.rpn: unknown key, did you mean rpm?'],
  },
  'a key resembles nothing': {
    text: 'colour: blue\n',
    expected: ['gateway.yaml:1:1  colour: unknown key'],
  },
  'several things are wrong at once': {
    text: 'log_level: loud\nprot: 80\ntiers:\n  free: { rpm: -1, models: [] }\n',
    expected: [
      'gateway.yaml:1:12  log_level: expected one of fatal, error, warn, info, debug, trace, silent',
      'gateway.yaml:2:1  prot: unknown key, did you mean port?',
      'gateway.yaml:4:16  tiers.free.rpm: expected a count such as 10, 20k, 1m or unlimited',
    ],
  },
  'the whole file is a list': {
    text: '- a\n- b\n',
    expected: ['gateway.yaml:1:1  expected a mapping of settings'],
  },
  'a section is a text': {
    text: 'tiers: none\n',
    expected: ['gateway.yaml:1:8  tiers: expected a mapping of names'],
  },
  'a section is empty': {
    text: 'port: 1\nproviders:\n',
    expected: ['gateway.yaml:2:11  providers: expected a mapping of names'],
  },
  'there is no tier at all': {
    text: 'tiers: {}\n',
    expected: ['gateway.yaml:1:8  tiers: expected at least one entry'],
  },
  'a needed key is missing': {
    text: 'tiers:\n  free: { rpm: 10 }\n',
    expected: ['gateway.yaml:2:3  tiers.free: the key models is missing'],
  },
  'a key is there twice': {
    text: 'port: 1\nhost: a\nport: 2\n',
    expected: ['gateway.yaml:3:1  this key was used before in the same mapping'],
  },
  'the YAML ends in the middle': {
    text: 'tiers: { free: { rpm: 10 }\n',
    expected: [
      'gateway.yaml:2:1  not valid YAML: Flow map in block collection must be sufficiently indented and end with a }',
    ],
  },
  'a tab indents': {
    text: 'tiers:\n\tfree: 1\n',
    expected: ['gateway.yaml:2:1  not valid YAML: Tabs are not allowed as indentation'],
  },
  'a tag asks for a type of its own': {
    text: 'host: !!binary aGk=\n',
    expected: ['gateway.yaml:1:7  not valid YAML: Unresolved tag'],
  },
  'there are two documents': {
    text: 'port: 1\n---\nport: 2\n',
    expected: [
      'gateway.yaml:2:1  not valid YAML: Source contains multiple documents; please use YAML.parseAllDocuments()',
    ],
  },
  'it claims to be YAML 1.1': {
    text: '%YAML 1.1\n---\nport: 1\n',
    expected: ['gateway.yaml:1:1  expected YAML 1.2'],
  },
  'an alias has no anchor': {
    text: 'host: *nowhere\n',
    expected: ['gateway.yaml:1:7  host: an alias without an anchor before it'],
  },
  'an alias contains itself': {
    text: 'tiers: &all\n  free: *all\n',
    expected: ['gateway.yaml:2:9  tiers.free: an alias that contains itself'],
  },
  'there are more than a hundred aliases': {
    text: `trust_proxy:\n  - &a 10.0.0.1\n${'  - *a\n'.repeat(101)}`,
    expected: ['gateway.yaml:103:5  trust_proxy[101]: more than 100 aliases'],
  },
  'a merge key hopes for YAML 1.1': {
    text: 'timeouts:\n  <<: { idle: 1s }\n',
    expected: ['gateway.yaml:2:3  timeouts["<<"]: unknown key'],
  },
  'a variable is not set': {
    text: 'providers:\n  acme: { key: "${NO_SUCH_NAME}" }\n',
    expected: ['gateway.yaml:2:16  providers.acme.key: the environment variable NO_SUCH_NAME is not set'],
  },
  'a variable is not closed': {
    text: 'host: "${HOST"\n',
    expected: ['gateway.yaml:1:7  host: a ${ without its }'],
  },
  'a variable has no name': {
    text: 'host: "${1x}"\n',
    expected: ['gateway.yaml:1:7  host: expected ${NAME}, ${NAME:-default} or ${file:/path} (a plain $ is $$)'],
  },
  'a secret file is not there': {
    text: 'providers:\n  acme: { key: "${file:/no/such/file}" }\n',
    expected: ['gateway.yaml:2:16  providers.acme.key: cannot read /no/such/file: no such file'],
  },
  'a secret file has a relative path': {
    text: 'providers:\n  acme: { key: "${file:secret}" }\n',
    expected: ['gateway.yaml:2:16  providers.acme.key: ${file:...} needs an absolute path'],
  },
  'a provider is unknown': {
    text: 'providers:\n  amce: { key: x }\n',
    expected: [
      'gateway.yaml:2:3  providers.amce: unknown provider, did you mean acme? (a private endpoint needs dialect and base_url)',
    ],
  },
  'a private endpoint has no address': {
    text: 'providers:\n  mine: { dialect: openai-compat }\n',
    expected: ['gateway.yaml:2:3  providers.mine: a private endpoint needs base_url'],
  },
  'a dialect is unknown': {
    text: 'providers:\n  mine: { dialect: openai-compact, base_url: http://vllm:8000/v1 }\n',
    expected: ['gateway.yaml:2:20  providers.mine.dialect: unknown dialect, did you mean openai-compat?'],
  },
  'a built-in provider is given a dialect': {
    text: 'providers:\n  acme: { dialect: openai-compat, base_url: http://a/v1 }\n',
    expected: [
      'gateway.yaml:2:11  providers.acme.dialect: acme is a built-in provider and has its own; give a private endpoint another name',
    ],
  },
  'a URL is no URL': {
    text: 'public_url: llm.example.com\nproviders:\n  acme: { base_url: "ftp://a" }\n',
    expected: [
      'gateway.yaml:1:13  public_url: expected an http or https URL',
      'gateway.yaml:3:21  providers.acme.base_url: expected an http or https URL',
    ],
  },
  'a URL holds credentials or a query': {
    text: 'providers:\n  acme: { base_url: "https://me:pw@a.example" }\n  mine: { dialect: openai-exact, base_url: "https://a/?k=1" }\n',
    expected: [
      'gateway.yaml:2:21  providers.acme.base_url: a URL here may not hold credentials',
      'gateway.yaml:3:44  providers.mine.base_url: a URL here may not hold a query or a fragment',
    ],
  },
  'a provider has a name that no variable could spell': {
    text: 'providers:\n  "My Endpoint": { dialect: openai-compat, base_url: http://a }\n',
    expected: [
      'gateway.yaml:2:3  providers["My Endpoint"]: not a usable name, it must match ^[a-z0-9][a-z0-9_-]{0,62}$',
    ],
  },
  'a model leads to an unknown provider': {
    text: 'models:\n  a: [acme/one, acne/two]\n  b: acme\n',
    expected: [
      'gateway.yaml:2:17  models.a[1]: unknown provider acne, did you mean acme?',
      'gateway.yaml:3:6  models.b: expected provider/model or the name of another model',
    ],
  },
  'a model leads nowhere': {
    text: 'models:\n  small: acme/one\n  other: smal\n  third: []\n',
    expected: [
      'gateway.yaml:3:10  models.other: expected provider/model or the name of another model, did you mean small?',
      'gateway.yaml:4:10  models.third: expected provider/model, or a list of them in the order in which they are tried',
    ],
  },
  'models lead to each other in a circle': {
    text: 'models:\n  a: b\n  b: [acme/one, c]\n  c: a\n',
    expected: ['gateway.yaml:2:3  models.a: leads back to itself: a -> b -> c -> a'],
  },
  'what is kept is kept for too short a time': {
    text: 'retention: { usage: 0d, rejections: 36h, audit: 89d, dead_letters: 40000d }\n',
    expected: [
      'gateway.yaml:1:21  retention.usage: expected at least 1d, or unlimited',
      'gateway.yaml:1:37  retention.rejections: expected whole days such as 7d, or unlimited',
      'gateway.yaml:1:49  retention.audit: expected at least 90d, or unlimited',
      'gateway.yaml:1:68  retention.dead_letters: expected at most 36500d; for no limit write unlimited',
    ],
  },
  'a public name looks like a target': {
    text: 'models:\n  acme/one: acme/two\n',
    expected: ['gateway.yaml:2:3  models["acme/one"]: a public name may not look like a provider/model id'],
  },
  'numbers are out of range': {
    text: [
      'port: 70000',
      'body_limit: 1GiB',
      'timeouts: { connect: 5, idle: 0s, total: 400d }',
      'tiers:',
      '  free: { price: 1.999, rpm: .nan, tpm: 99g, concurrency: 1.5, history: 12h, models: "all" }',
      '',
    ].join('\n'),
    expected: [
      'gateway.yaml:1:7  port: expected a port between 0 and 65535',
      'gateway.yaml:2:13  body_limit: expected a size between 1 byte and 512MiB',
      'gateway.yaml:3:22  timeouts.connect: expected a duration such as 500ms, 10s, 30m or 7d',
      'gateway.yaml:3:31  timeouts.idle: expected a duration between 1ms and 24d',
      'gateway.yaml:3:42  timeouts.total: expected a duration between 1ms and 24d',
      'gateway.yaml:5:18  tiers.free.price: expected USD per month such as 0, 49 or 49.90, or custom',
      'gateway.yaml:5:30  tiers.free.rpm: expected a count such as 10, 20k, 1m or unlimited',
      'gateway.yaml:5:41  tiers.free.tpm: expected at most 10g (10,000,000,000); for no limit write unlimited',
      'gateway.yaml:5:59  tiers.free.concurrency: expected a count such as 10, 20k, 1m or unlimited',
      'gateway.yaml:5:73  tiers.free.history: expected whole days such as 7d, or unlimited',
      'gateway.yaml:5:86  tiers.free.models: expected "*" or a list of names, provider/model ids and patterns with *',
    ],
  },
  'a proxy is no network': {
    text: 'trust_proxy: [10.0.0.0/8, 10.0.0.0/33, proxy.example, "::1/128"]\n',
    expected: [
      'gateway.yaml:1:27  trust_proxy[1]: expected an IP address or a CIDR such as 10.0.0.0/8',
      'gateway.yaml:1:40  trust_proxy[2]: expected an IP address or a CIDR such as 10.0.0.0/8',
    ],
  },
  'the catalogue is not there': {
    text: 'catalogue: other.yaml\n',
    expected: ['gateway.yaml:1:12  catalogue: no such file'],
  },
};

for (const [name, { text, expected }] of Object.entries(broken)) {
  t.test(`names file, line and column when ${name}`, (t) => {
    const sandbox = createSandbox(t);
    sandbox.write('config/gateway.yaml', text);
    t.same(sandbox.problems(), expected);
    t.end();
  });
}

t.test('keeps the columns when the file has CRLF line ends and a byte order mark', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', '\uFEFFport: 1\r\nhots: a\r\n');
  t.same(sandbox.problems(), ['gateway.yaml:2:1  hots: unknown key, did you mean host?']);
  t.end();
});

t.test('refuses aliases of aliases when they multiply', (t) => {
  const sandbox = createSandbox(t);
  const levels = Array.from({ length: 9 }, (_, level) => {
    const items = level === 0 ? 'x,x,x,x,x,x,x,x,x,x' : Array.from({ length: 10 }, () => `*l${level - 1}`).join(',');
    return `l${level}: &l${level} [${items}]`;
  });
  sandbox.write('config/gateway.yaml', `${levels.join('\n')}\n`);
  t.match(sandbox.problems()[0], /^gateway\.yaml:\d+:\d+ {2}.*more than 100 aliases/);
  t.end();
});

t.test('refuses nesting without end when a file is hostile', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', `port: ${'['.repeat(50)}${']'.repeat(50)}\n`);
  t.same(sandbox.problems(), ['gateway.yaml:1:39  nested more than 32 deep']);
  sandbox.write('config/gateway.yaml', `port: ${'['.repeat(100_000)}`);
  t.match(sandbox.problems()[0], /^gateway\.yaml:\d+:\d+ {2}not valid YAML/);
  t.end();
});

t.test('names the catalogue, its line and column when that file is broken', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write(
    'config/models.yaml',
    [
      'as_of: { acme: 2025-13-45 }',
      'parameters: { chat: [stop] }',
      'models:',
      '  acme/a: { name: A, context: 1.5, max_output: 8k, input: [smell], output: [text], parameters: chad, price: { in: 0.0000001, out: -1 }, created: 2025-02-30 }',
      '  acme/b: { name: B, context: 8k, max_output: 8k, input: [text], output: [text], parameters: chat, price: { in: 1, out: 2, costs: 1 }, created: 2025-02-30 }',
      '  other/c: { name: C, context: 8k, max_output: 8k, input: [text], output: [text], parameters: chad, created: 2025-02-01 }',
      '',
    ].join('\n'),
  );
  t.same(sandbox.problems(), [
    'models.yaml:1:16  as_of.acme: expected a day of the calendar such as 2025-09-30',
    'models.yaml:4:31  models["acme/a"].context: expected a number of tokens such as 8192, 128k or 1m',
    'models.yaml:4:60  models["acme/a"].input[0]: expected one of text, image, audio, video, file, embedding',
    'models.yaml:4:115  models["acme/a"].price.in: expected USD per million tokens, with at most six decimals, such as 2.50',
    'models.yaml:4:131  models["acme/a"].price.out: expected USD per million tokens, with at most six decimals, such as 2.50',
    'models.yaml:4:146  models["acme/a"].created: expected a day of the calendar such as 2025-09-30',
    'models.yaml:5:124  models["acme/b"].price.costs: unknown key',
    'models.yaml:5:145  models["acme/b"].created: expected a day of the calendar such as 2025-09-30',
    'models.yaml:6:3  models["other/c"]: as_of has no date for other',
    'models.yaml:6:95  models["other/c"].parameters: no such parameter set, did you mean chat?',
  ]);
  t.end();
});
