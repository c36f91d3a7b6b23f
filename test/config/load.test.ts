import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadConfig } from '../../src/config/load.ts';
import { createSandbox, known } from './sandbox.ts';

t.test('starts when there is no file of its own and no environment', (t) => {
  const { directory } = createSandbox(t);
  rmSync(join(directory, 'config'), { recursive: true });
  const config = loadConfig({
    providerIds: ['openai', 'together', 'demo'],
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
