import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

const script = join(import.meta.dirname, '../../scripts/require-node-26.mjs');

function check(node: string, ...args: string[]) {
  return spawnSync(node, [script, ...args], { encoding: 'utf8', env: {} });
}

t.test('says what to do when the version is too old', (t) => {
  for (const version of ['18.20.8', '20.19.4', '26.4.99']) {
    const { status, stderr, stdout } = check(process.execPath, version);
    t.equal(status, 1, version);
    t.match(stderr, `needs Node 26.5 or newer and found ${version}`);
    t.match(stderr, /npm ci/);
    t.equal(stdout, '');
    t.equal(stderr.trim().split('\n').length, 1, 'one line and no stack');
  }
  t.end();
});

t.test('stays silent when the version is new enough', (t) => {
  for (const version of ['26.5.0', '26.10.0', '27.0.0', '100.0.0']) {
    const { status, stderr } = check(process.execPath, version);
    t.equal(status, 0, version);
    t.equal(stderr, '');
  }
  t.end();
});

t.test('can be read by every Node of this machine, however old', (t) => {
  const nodes = [process.execPath, '/usr/bin/node', '/usr/local/bin/node'].filter((path) => existsSync(path));
  for (const node of nodes) {
    const version = spawnSync(node, ['--version'], { encoding: 'utf8', env: {} }).stdout.trim().slice(1);
    const [major = 0, minor = 0] = version.split('.').map(Number);
    const isOld = major < 26 || (major === 26 && minor < 5);
    const { status, stderr } = check(node);
    t.equal(status, isOld ? 1 : 0, `${node} ${version}`);
    t.match(stderr, isOld ? `found ${version}` : /^$/);
  }
  t.end();
});
