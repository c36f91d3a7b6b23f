import * as fc from 'fast-check';
import t from 'tap';
import { interpolate } from '../../src/config/interpolation.ts';
import { createSandbox } from './sandbox.ts';

const noFiles = () => ({ reason: 'no such file' });
const expand = (text: string, variables: Record<string, string> = {}) =>
  interpolate(text, { variable: (name) => variables[name], file: noFiles });

t.test('expands variables, defaults and dollars when they are written', (t) => {
  const variables = { NAME: 'value', EMPTY: '', NESTED: '${NAME}' };
  const expected: Record<string, string> = {
    'a ${NAME} b': 'a value b',
    '${NAME}${NAME}': 'valuevalue',
    '${NO:-fallback}': 'fallback',
    '${NO:-}': '',
    '${EMPTY:-fallback}': 'fallback',
    '${EMPTY}': '',
    '${NO:-a: {b}': 'a: {b',
    '${NO:-$}': '$',
    '$${NAME}': '${NAME}',
    $$$$: '$$',
    '$NAME $': '$NAME $',
    '${NESTED}': '${NAME}',
  };
  for (const [text, value] of Object.entries(expected)) t.equal(expand(text, variables).text, value, text);
  t.end();
});

t.test('reads a file and trims it when a path is written', (t) => {
  const lookup = { variable: () => undefined, file: (path: string) => ({ text: `\n secret of ${path}\n\n` }) };
  t.same(interpolate('${file:/run/secrets/acme}', lookup), {
    text: 'secret of /run/secrets/acme',
    problems: [],
    isSensitive: true,
  });
  t.end();
});

t.test('marks what came out of a secret variable', (t) => {
  const variables = { ACME_API_KEY: 'x', GITHUB_TOKEN: 'x', REGION: 'x' };
  t.ok(expand('${ACME_API_KEY}', variables).isSensitive);
  t.ok(expand('${GITHUB_TOKEN}', variables).isSensitive);
  t.notOk(expand('${REGION}', variables).isSensitive);
  t.end();
});

t.test('gives back any value unchanged when it was doubled or came from a variable', (t) => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.string(), (text) => expand('${X}', { X: text }).text === text)));
  t.doesNotThrow(() =>
    fc.assert(fc.property(fc.string(), (text) => expand(text.replaceAll('$', '$$$$')).text === text)),
  );
  t.end();
});

const hostile = [
  'x: {',
  'a\nport: 1',
  '"',
  "'",
  '- a',
  '*a',
  '&a b',
  '!!js/function',
  '# gone',
  '{a: 1}',
  '[1]',
  'null',
  'true',
  '1e9',
];

t.test('keeps a hostile variable a string when it looks like YAML', (t) => {
  for (const value of hostile) {
    for (const text of [
      'host: ${H}\n',
      'host: "${H}"\n',
      "host: '${H}'\n",
      'host: |-\n  ${H}\n',
      '{ host: "${H}" }\n',
    ]) {
      const sandbox = createSandbox(t);
      sandbox.write('config/gateway.yaml', text);
      const config = sandbox.load({ H: value });
      t.equal(config.host, value, JSON.stringify([value, text]));
      t.equal(config.port, 8080);
    }
  }
  t.end();
});

t.test('does not expand keys or comments', (t) => {
  const sandbox = createSandbox(t);
  sandbox.write('config/gateway.yaml', '# ${NO_SUCH}\nport: 1 # ${NO_SUCH}\n"${H}": 1\n');
  t.same(sandbox.problems({ H: 'host' }), ['gateway.yaml:3:1  ["${H}"]: unknown key']);
  t.end();
});

t.test('takes numbers and switches from variables when their text is one', (t) => {
  const sandbox = createSandbox(t);
  const text = 'port: ${P}\ndemo: ${D}\nbody_limit: ${B:-1MiB}\ntiers: { free: { rpm: "${R}", models: "*" } }\n';
  sandbox.write('config/gateway.yaml', text);
  const config = sandbox.load({ P: '81', D: 'false', R: '20k' });
  t.equal(config.port, 81);
  t.equal(config.demo, false);
  t.equal(config.bodyLimitBytes, 1_048_576);
  t.equal(config.tiers['free']?.limits.requestsPerMinute, 20_000);
  t.end();
});
