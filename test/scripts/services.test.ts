import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { probePostgres } from '../../scripts/postgres.ts';
import { probeRedis } from '../../scripts/redis.ts';
import { findFreePort } from '../../scripts/server-process.ts';
import {
  type Facts,
  ServiceError,
  type Step,
  explainStop,
  planService,
  provideServices,
} from '../../scripts/services.ts';

const service = { name: 'Redis', variable: 'REDIS_URL', minimumVersion: 7, packageName: 'redis-server' };
const nothing: Facts = { given: null, found: null, program: null, canInstall: false };
const everything: Facts = {
  given: { url: 'redis://given', answer: { version: '8.0' } },
  found: { url: 'redis://found', version: '7.2' },
  program: '/usr/bin/redis-server',
  canInstall: true,
};

/** Ports on which nothing listens, so that nothing is found. */
async function closedPorts(): Promise<Record<string, number>> {
  return { Postgres: await findFreePort(), Redis: await findFreePort() };
}

const rejection = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'nothing was thrown',
    (error: unknown) => (error instanceof ServiceError ? error.message : `not a ServiceError: ${String(error)}`),
  );

t.test('takes the first of given, found, installed and installable when each is there', (t) => {
  t.same(planService(service, everything), { act: 'use', origin: 'given', url: 'redis://given', version: '8.0' });
  t.same(planService(service, { ...everything, given: null }), {
    act: 'use',
    origin: 'found',
    url: 'redis://found',
    version: '7.2',
  });
  t.same(planService(service, { ...everything, given: null, found: null }), {
    act: 'start',
    program: '/usr/bin/redis-server',
  });
  t.same(planService(service, { ...nothing, canInstall: true }), { act: 'install' });
  t.equal(planService(service, nothing).act, 'stop');
  t.end();
});

t.test('stops instead of falling back when an explicit URL does not answer', (t) => {
  const given = { url: 'redis://me:secret@nowhere:1', answer: { failure: 'does not answer (refused)' } };
  const step = planService(service, { ...everything, given });
  t.same(step, {
    act: 'stop',
    problem: 'REDIS_URL names redis://me:***@nowhere:1, which does not answer (refused)',
    remedy: 'correct or unset REDIS_URL',
  });
  t.end();
});

t.test('says in one sentence what to do when both services are missing', (t) => {
  const steps: Step[] = [
    planService(service, nothing),
    planService({ name: 'Postgres', variable: 'DATABASE_URL', minimumVersion: 14, packageName: 'postgresql' }, nothing),
  ];
  t.equal(
    explainStop(steps),
    'The tests cannot run because no Redis 7 or newer answers or is installed and ' +
      'no Postgres 14 or newer answers or is installed: install the package redis-server or set REDIS_URL, and ' +
      'install the package postgresql or set DATABASE_URL.',
  );
  t.equal(explainStop([{ act: 'install' }]), null);
  t.end();
});

t.test('refuses to run when explicit URLs lead nowhere', async (t) => {
  const { Postgres, Redis } = await closedPorts();
  const message = await rejection(
    provideServices({
      environment: { DATABASE_URL: `postgres://127.0.0.1:${Postgres}/x`, REDIS_URL: `redis://127.0.0.1:${Redis}` },
    }),
  );
  t.match(message, /DATABASE_URL names postgres:.* ECONNREFUSED.* and REDIS_URL names redis:.* ECONNREFUSED/);
});

t.test('asks apt for both packages once and then says what is missing when apt brought nothing', async (t) => {
  const directory = t.testdir();
  const aptGet = join(directory, 'apt-get');
  writeFileSync(aptGet, `#!/bin/sh\necho "$DEBIAN_FRONTEND $*" >> '${directory}/calls'\n`);
  chmodSync(aptGet, 0o755);
  const message = await rejection(
    provideServices({ environment: {}, ports: await closedPorts(), programDirectories: [], aptGet }),
  );
  t.equal(
    readFileSync(join(directory, 'calls'), 'utf8'),
    'noninteractive update\nnoninteractive install -y --no-install-recommends postgresql redis-server\n',
  );
  t.match(message, /install the package postgresql .* install the package redis-server/);
});

t.test('says what to install when apt fails', async (t) => {
  const message = await rejection(
    provideServices({ environment: {}, ports: await closedPorts(), programDirectories: [], aptGet: '/bin/false' }),
  );
  t.equal(message, 'apt-get update failed, so install postgresql and redis-server by hand and run the tests again.');
});

t.test('starts its own servers, lets a second run find them, and leaves nothing behind when both stop', async (t) => {
  const options = { environment: { PATH: process.env['PATH'] }, aptGet: null };
  const own = await provideServices({ ...options, ports: await closedPorts() }).catch((error: unknown) => error);
  if (!isProvision(own)) {
    // A machine whose services run elsewhere: then the run must have said what to install.
    t.ok(own instanceof ServiceError);
    t.match(own, { message: /install the package/ });
    return;
  }
  t.teardown(own.stop);
  t.same(
    own.services.map(({ variable, origin }) => `${variable} ${origin}`),
    ['DATABASE_URL started', 'REDIS_URL started'],
  );
  const [database = '', cache = ''] = own.services.map(({ url }) => url);
  t.match(await probePostgres(database), { version: /^\d+/ });
  t.match(await probeRedis(cache), { version: /^\d+/ });

  const ports = { Postgres: Number(new URL(database).port), Redis: Number(new URL(cache).port) };
  const second = await provideServices({ ...options, ports });
  const scratch = second.services[0]?.url ?? '';
  t.same(
    second.services.map(({ origin }) => origin),
    ['found', 'found'],
  );
  t.match(new URL(scratch).pathname, /^\/tollgate_test_/, 'a database of its own in the server of others');
  t.match(await probePostgres(scratch), { version: /^\d+/ });
  await second.stop();
  t.match(await probePostgres(scratch), { failure: /does not exist/ });
  t.match(await probePostgres(database), { version: /^\d+/ }, 'what was found goes on');

  await own.stop();
  t.match(await probePostgres(database), { failure: /ECONNREFUSED/ });
  t.match(await probeRedis(cache), { failure: /ECONNREFUSED/ });
});

function isProvision(value: unknown): value is Awaited<ReturnType<typeof provideServices>> {
  return typeof value === 'object' && value !== null && 'services' in value;
}
