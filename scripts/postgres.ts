/** How a test run finds, asks and starts a Postgres. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { Client } from 'pg';
import type { Service } from './services.ts';
import {
  type Account,
  type Answer,
  type RunningServer,
  findFreePort,
  makeServerDirectory,
  readVersion,
  removeDirectory,
  startServer,
} from './server-process.ts';

const connectTimeoutMs = 2000;
const socketDirectory = '/var/run/postgresql';
const nobody: Account = { uid: 65_534, gid: 65_534 };

async function withClient<Result>(url: string, use: (client: Client) => Promise<Result>): Promise<Result> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: connectTimeoutMs });
  // A connection that breaks later must not end the run; the query that needed it fails by itself.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

export async function probePostgres(url: string): Promise<Answer> {
  try {
    return await withClient(url, async (client) => {
      const { rows } = await client.query<{ version: string; may_create: boolean }>(
        `select current_setting('server_version') as version, rolsuper or rolcreatedb as may_create
           from pg_roles where rolname = current_user`,
      );
      const row = rows[0];
      if (row?.may_create !== true) return { failure: 'answers, but its role may not create databases' };
      return { version: /^[\d.]+/.exec(row.version)?.[0] ?? row.version };
    });
  } catch (error) {
    return { failure: `does not answer (${explain(error)})` };
  }
}

/** A refused connection to a name with two addresses is an AggregateError, whose own message is empty. */
function explain(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(explain).join(', ');
  return error instanceof Error ? error.message : String(error);
}

/** Postgres refuses to run as root, so root lends it the account of the package, or nobody's. */
function serverAccount(): Account | null {
  if (process.getuid?.() !== 0) return null;
  const entry = /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'));
  return entry === null ? nobody : { uid: Number(entry[1]), gid: Number(entry[2]) };
}

async function start(program: string): Promise<RunningServer> {
  const account = serverAccount();
  const directory = makeServerDirectory('postgres', account);
  const data = join(directory, 'data');
  const port = await findFreePort();
  const initialised = spawnSync(
    join(dirname(program), 'initdb'),
    ['-D', data, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'],
    { cwd: directory, encoding: 'utf8', ...account },
  );
  if (initialised.status !== 0) {
    removeDirectory(directory);
    throw new Error(`initdb: ${initialised.error?.message ?? initialised.stderr.trim().split('\n').at(-1)}`);
  }
  const settings = [
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    'max_connections=200',
    // The cluster lives for one test run: a crash may lose it.
    'fsync=off',
    'synchronous_commit=off',
    'full_page_writes=off',
  ];
  return startServer({
    program,
    args: ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])],
    directory,
    account,
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    probe: probePostgres,
    stopSignal: 'SIGINT',
    abandonSignal: 'SIGQUIT',
  });
}

export const postgres: Service = {
  name: 'Postgres',
  variable: 'DATABASE_URL',
  minimumVersion: 14,
  packageName: 'postgresql',
  standardPort: 5432,
  probe: probePostgres,

  /** Trust over TCP first, then peer over the socket as the user who runs the tests, and as postgres. */
  standardUrls(port) {
    const socket = `host=${encodeURIComponent(socketDirectory)}&port=${port}`;
    const users = [...new Set([userInfo().username, 'postgres'])];
    return [
      `postgres://postgres@127.0.0.1:${port}/postgres`,
      ...users.map((user) => `postgres:///postgres?${socket}&user=${encodeURIComponent(user)}`),
    ];
  },

  findPrograms: (directories) =>
    directories
      .filter((directory) => existsSync(join(directory, 'postgres')) && existsSync(join(directory, 'initdb')))
      .map((directory) => join(directory, 'postgres'))
      .map((program) => ({
        program,
        version: readVersion(spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout ?? ''),
      })),

  start,

  /** So that a run never writes into a database that somebody keeps. */
  async isolate(url) {
    const name = `tollgate_test_${process.pid}_${Date.now().toString(36)}`;
    await withClient(url, (client) => client.query(`create database ${name}`));
    const scratch = new URL(url);
    scratch.pathname = `/${name}`;
    return {
      url: scratch.href,
      drop: () =>
        withClient(url, async (client) => {
          await client.query(`drop database if exists ${name} with (force)`);
        }),
    };
  },
};
