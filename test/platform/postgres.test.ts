import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type Kysely, sql } from 'kysely';
import t, { type Test } from 'tap';
import { holdSingleReplicaLock, openDatabase, type OpenDatabase } from '../../src/platform/postgres.ts';
import { openFaultProxy } from '../faults/fault-proxy.ts';
import { createTestDatabase, runOnServer, serverUrl, silentLog } from '../support/database.ts';

type NoTables = { [table: string]: never };

async function open(
  t: Test,
  options: Partial<Parameters<typeof openDatabase>[0]> = {},
): Promise<OpenDatabase<NoTables>> {
  const database = await openDatabase<NoTables>({ url: serverUrl, dataDirectory: '', log: silentLog, ...options });
  t.teardown(database.close);
  return database;
}

async function backendPid(db: Kysely<NoTables>): Promise<number> {
  const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db);
  return rows[0]?.pid ?? 0;
}

/** The address of the server with a name that its sessions show. */
function named(url: string, name: string): string {
  const address = new URL(url);
  address.searchParams.set('application_name', name);
  return address.href;
}

async function sessionsOf(t: Test, name: string): Promise<number> {
  const { db, close } = await open(t, { poolSize: 1 });
  const { rows } = await sql<{ sessions: number }>`
    select count(*)::int as sessions from pg_stat_activity where application_name = ${name}
  `.execute(db);
  await close();
  return rows[0]?.sessions ?? Number.NaN;
}

async function eventually<T>(attempt: () => Promise<T>): Promise<T> {
  for (let attempts = 1; ; attempts += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (attempts === 100) throw error;
    }
  }
}

/** A server in front of Postgres that can stop carrying bytes, as a lost network does. */
async function startTunnel(t: Test): Promise<{ url: string; connections(): number; freeze(): void }> {
  const { hostname, port } = new URL(serverUrl);
  const sockets: Socket[] = [];
  const server = createServer((client) => {
    const upstream = connect(Number(port) || 5432, hostname);
    sockets.push(client, upstream);
    for (const socket of [client, upstream]) socket.on('error', () => socket.destroy());
    client.pipe(upstream).pipe(client);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const url = new URL(serverUrl);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    connections: () => sockets.length / 2,
    freeze() {
      for (const socket of sockets) socket.unpipe().pause();
    },
  };
}

t.test('keeps what was written when the embedded database is opened again', async (t) => {
  const dataDirectory = t.testdir({});
  const first = await open(t, { url: null, dataDirectory });
  t.equal(first.kind, 'pglite');
  await sql`create table note (text text)`.execute(first.db);
  await sql`insert into note values ('kept')`.execute(first.db);
  await first.close();
  const second = await open(t, { url: null, dataDirectory });
  t.same((await sql`select text from note`.execute(second.db)).rows, [{ text: 'kept' }]);
  await second.close();
  const unused = await open(t, { url: null, dataDirectory });
  await unused.close();
});

t.test('closes when no query ever ran', async (t) => {
  const { close, kind } = await open(t);
  t.equal(kind, 'postgres');
  await close();
});

t.test('ends a statement on the server when it takes too long, and uses the connection again', async (t) => {
  const { db } = await open(t, { poolSize: 1, statementTimeoutMs: 500 });
  const pid = await backendPid(db);
  await t.rejects(sql`select pg_sleep(10)`.execute(db), { code: '57014' });
  t.equal(await backendPid(db), pid);
});

t.test('throws the connection away when the server stopped answering', async (t) => {
  const tunnel = await startTunnel(t);
  const { db } = await open(t, { url: tunnel.url, poolSize: 1, statementTimeoutMs: 500 });
  const pid = await backendPid(db);
  tunnel.freeze();
  await t.rejects(sql`select 1`.execute(db), { message: 'Query read timeout' });
  t.not(await backendPid(db), pid);
  t.equal(tunnel.connections(), 2);
});

t.test('gives a transaction up at once whose connection hangs', async (t) => {
  const proxy = await openFaultProxy(t, serverUrl, 5432);
  const { db } = await open(t, { url: proxy.url, poolSize: 1, statementTimeoutMs: 500 });
  let failedAtMs = 0;
  const transaction = db.transaction().execute(async (trx) => {
    proxy.setMode('blackhole');
    await sql`select 1`.execute(trx).catch((error: unknown) => {
      failedAtMs = performance.now();
      throw error;
    });
  });
  await t.rejects(transaction, { message: 'Query read timeout' });
  t.ok(performance.now() - failedAtMs < 1_500, 'the rollback is not waited for as well, for as long again');
  proxy.setMode('pass');
  t.ok(await backendPid(db));
});

t.test('answers every caller while the network is gone, and is whole within ten seconds of its return', async (t) => {
  const proxy = await openFaultProxy(t, serverUrl, 5432);
  const poolSize = 4;
  const { db } = await open(t, {
    url: named(proxy.url, 'tollgate-blackhole'),
    poolSize,
    acquireTimeoutMs: 500,
    statementTimeoutMs: 500,
  });
  const askAll = () => Promise.allSettled(Array.from({ length: poolSize * 3 }, () => backendPid(db)));
  const isWhole = (answers: readonly PromiseSettledResult<number>[]): boolean =>
    answers.every(({ status }) => status === 'fulfilled');
  t.ok(isWhole(await askAll()));
  proxy.setMode('blackhole');
  for (const _ of [1, 2, 3]) {
    const answers = await askAll();
    t.ok(answers.every(({ status }) => status === 'rejected'));
  }
  proxy.setMode('pass');
  const healedAtMs = performance.now();
  while (!isWhole(await askAll())) {
    if (performance.now() - healedAtMs > 30_000) throw new Error('it is never whole again');
  }
  t.ok(performance.now() - healedAtMs < 10_000);
  await eventually(async () => notMoreThan(poolSize, await sessionsOf(t, 'tollgate-blackhole')));
});

t.test('leaves no connection behind when the server is too slow to accept it', async (t) => {
  const proxy = await openFaultProxy(t, serverUrl, 5432);
  const poolSize = 3;
  const name = 'tollgate-slow-accept';
  const { db } = await open(t, { url: named(proxy.url, name), poolSize, acquireTimeoutMs: 100 });
  // The server hears of the connection in time, and the client of the server too late.
  proxy.setMode('delay', 60);
  let rejected = 0;
  for (let round = 0; round < 5; round += 1) {
    const attempts = await Promise.allSettled(Array.from({ length: 10 }, () => backendPid(db)));
    rejected += attempts.filter(({ status }) => status === 'rejected').length;
    await eventually(async () => notMoreThan(poolSize, await sessionsOf(t, name)));
  }
  t.ok(rejected > 0);
  proxy.setMode('pass');
  const pids = await Promise.all(Array.from({ length: 10 }, () => eventually(() => backendPid(db))));
  const used = new Set(pids).size;
  t.ok(used <= poolSize);
  await eventually(async () => notMoreThan(used, await sessionsOf(t, name)));
});

function notMoreThan(limit: number, count: number): void {
  if (count > limit) throw new Error(`${count} sessions where at most ${limit} are expected`);
}

t.test('gives up waiting when all connections are taken', async (t) => {
  const { db } = await open(t, { poolSize: 1, acquireTimeoutMs: 500 });
  await db.connection().execute(async () => {
    await t.rejects(sql`select 1`.execute(db), { message: /timeout exceeded when trying to connect/ });
  });
  await sql`select 1`.execute(db);
});

t.test('goes on when the server ends connections, idle and in use', async (t) => {
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (_: object, message: string) => void warnings.push(message) };
  const { db } = await open(t, { poolSize: 1, log });
  await t.rejects(
    db.transaction().execute(async (trx) => {
      await runOnServer(`select pg_terminate_backend(${await backendPid(trx)}, 5000)`);
      await sql`select 1`.execute(trx);
    }),
  );
  await runOnServer(`select pg_terminate_backend(${await backendPid(db)}, 5000)`);
  t.ok(await backendPid(db).catch(() => backendPid(db)), 'the next query but one at the latest has a new connection');
  t.ok(warnings.length > 0, 'and the log knows');
});

t.test('lets one process hold the replica lock at a time', async (t) => {
  const { url } = await createTestDatabase(t, { migrated: false });
  const first = await holdSingleReplicaLock(url, { log: silentLog });
  t.ok(first);
  t.equal(await holdSingleReplicaLock(url, { log: silentLog }), null);
  await first?.release();
  const second = await holdSingleReplicaLock(url, { log: silentLog });
  t.ok(second);
  await second?.release();
});

t.test('takes the replica lock again when its connection was lost', async (t) => {
  const { url } = await createTestDatabase(t, { migrated: false });
  const heldAgain = Promise.withResolvers<string>();
  const log = { ...silentLog, info: (_: object, message: string) => heldAgain.resolve(message) };
  const lock = await holdSingleReplicaLock(url, { log, retryMs: 1 });
  await endLockSessions(url);
  t.equal(await heldAgain.promise, 'the replica lock is held again');
  t.equal(await holdSingleReplicaLock(url, { log: silentLog }), null);
  await lock?.release();
});

t.test('tells when another process took the replica lock in between', async (t) => {
  const { url, db } = await createTestDatabase(t, { migrated: false });
  const conflict = Promise.withResolvers<void>();
  const lock = await holdSingleReplicaLock(url, { log: silentLog, retryMs: 1, onConflict: conflict.resolve });
  await db.connection().execute(async (connection) => {
    await endLockSessions(url);
    // Ours may be first to the lock after the cut; then the cut is made again until the other one has it.
    for (;;) {
      const { rows } = await sql<{ held: boolean }>`
        select pg_try_advisory_lock(7813570216405512309) as held
      `.execute(connection);
      if (rows[0]?.held === true) break;
      await endLockSessions(url);
    }
    await conflict.promise;
  });
  await lock?.release();
  t.pass('the conflict was reported');
});

t.test('fails when the server of the replica lock cannot be reached', async (t) => {
  await t.rejects(holdSingleReplicaLock('postgres://127.0.0.1:1/none', { log: silentLog }), { code: 'ECONNREFUSED' });
});

async function endLockSessions(url: string): Promise<void> {
  const database = new URL(url).pathname.slice(1);
  await runOnServer(
    `select pg_terminate_backend(pid, 5000) from pg_stat_activity
     where datname = '${database}' and application_name like 'tollgate-lock-%'`,
  );
}
