/**
 * Several Redis processes that know each other: the masters of a Cluster, or a master with its replica and a Sentinel.
 * Each is a real server on ports of its own that can be killed, frozen and started again in its folder.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Test } from 'tap';
import { redis as redisService } from '../../scripts/redis.ts';
import { findFreePort, removeDirectory } from '../../scripts/server-process.ts';
import { eventually } from './world.ts';

export type RedisNode = {
  port: number;
  /** A connection of the test's own. */
  admin: Redis;
  kill: () => Promise<void>;
  /** Again after a kill, with what its folder holds. */
  start: () => Promise<void>;
};

export type RedisCluster = {
  url: string;
  masters: readonly RedisNode[];
  /** Who serves the key now. */
  ownerOf: (key: string) => Promise<RedisNode>;
};

const startLimitMs = 20_000;
const clusterArguments = [
  '--cluster-enabled',
  'yes',
  '--cluster-node-timeout',
  '1000',
  '--cluster-require-full-coverage',
  'no',
];

export async function startRedisNode(t: Test, args: readonly string[] = []): Promise<RedisNode> {
  const port = await findFreePort();
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-redis-'));
  const common = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder];
  let child: ChildProcess | null = null;
  const admin = new Redis(port, '127.0.0.1', { lazyConnect: true });
  admin.on('error', () => {
    // It is killed on purpose.
  });
  const abandon = (): void => void child?.kill('SIGKILL');
  process.once('exit', abandon);

  async function kill(): Promise<void> {
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  async function start(): Promise<void> {
    child = spawn(findProgram(), [...args, ...common], { stdio: 'ignore' });
    const isUp = async (): Promise<boolean> => {
      const answer = await redisService.probe(`redis://127.0.0.1:${port}`);
      return 'version' in answer;
    };
    if (!(await eventually(isUp, startLimitMs))) throw new Error(`the Redis on ${port} does not answer`);
  }

  t.teardown(async () => {
    admin.disconnect();
    await kill();
    process.removeListener('exit', abandon);
    removeDirectory(folder);
  });
  await start();
  await admin.connect();
  return { port, admin, kill, start };
}

/** Masters without replicas; a lost one leaves the others at work. */
export async function startCluster(t: Test, size: number): Promise<RedisCluster> {
  const masters = await Promise.all(
    Array.from({ length: size }, async () =>
      startRedisNode(t, [...clusterArguments, '--cluster-port', String(await findFreePort())]),
    ),
  );
  const addresses = masters.map(({ port }) => `127.0.0.1:${port}`);
  const created = spawnSync(findProgram('cli'), ['--cluster', 'create', ...addresses, '--cluster-yes'], {
    encoding: 'utf8',
  });
  if (created.status !== 0) throw new Error(`the Cluster was not made: ${created.stdout}${created.stderr}`);
  const knowsAll = async ({ admin }: RedisNode): Promise<boolean> => {
    const info = await admin.cluster('INFO');
    return /cluster_state:ok/.test(info) && /cluster_slots_ok:16384/.test(info);
  };
  for (const node of masters) {
    if (!(await eventually(() => knowsAll(node), startLimitMs))) throw new Error('the Cluster does not agree');
  }
  async function ownerOf(key: string): Promise<RedisNode> {
    const [asked] = masters;
    const slot = (await asked?.admin.cluster('KEYSLOT', key)) ?? -1;
    for (const [from, to, master] of (await asked?.admin.cluster('SLOTS')) ?? []) {
      const owner = masters.find((node) => node.port === master?.[1]);
      if (from <= slot && slot <= to && owner !== undefined) return owner;
    }
    throw new Error(`nobody serves ${key}`);
  }
  return { url: `redis+cluster://${addresses.join(',')}`, masters, ownerOf };
}

/** Key by key, as `redis-cli --cluster reshard` does it: for a while both masters have a part of the slot. */
export async function migrateSlot(
  cluster: RedisCluster,
  { key, target, pauseMs }: { key: string; target: RedisNode; pauseMs: number },
): Promise<void> {
  const source = await cluster.ownerOf(key);
  const slot = await source.admin.cluster('KEYSLOT', key);
  const [sourceId, targetId] = [await idOf(source), await idOf(target)];
  await target.admin.cluster('SETSLOT', slot, 'IMPORTING', sourceId);
  await source.admin.cluster('SETSLOT', slot, 'MIGRATING', targetId);
  // The key that routes the script first: from then on the other master is asked, which has nothing but that.
  for (let names = [key]; names.length > 0; names = await source.admin.cluster('GETKEYSINSLOT', slot, 100)) {
    await delay(pauseMs);
    await source.admin.migrate('127.0.0.1', target.port, '', 0, 5000, 'KEYS', ...names);
  }
  await delay(pauseMs);
  for (const { admin } of [target, source, ...cluster.masters]) await admin.cluster('SETSLOT', slot, 'NODE', targetId);
}

const idOf = ({ admin }: RedisNode): Promise<string> => admin.cluster('MYID');

export type SentinelSet = { url: string; nodes: readonly [RedisNode, RedisNode]; sentinel: RedisNode };

export const masterName = 'tollgate';

export async function startSentinelSet(t: Test): Promise<SentinelSet> {
  const nodes = await startReplicatedPair(t);
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-sentinel-'));
  t.teardown(() => removeDirectory(folder));
  const settings = join(folder, 'sentinel.conf');
  writeFileSync(
    settings,
    [
      `sentinel monitor ${masterName} 127.0.0.1 ${nodes[0].port} 1`,
      `sentinel down-after-milliseconds ${masterName} 1000`,
      `sentinel failover-timeout ${masterName} 2000`,
      '',
    ].join('\n'),
  );
  const sentinel = await startRedisNode(t, [settings, '--sentinel']);
  const knowsReplica = async (): Promise<boolean> => {
    const replicas: unknown = await sentinel.admin.call('SENTINEL', ['REPLICAS', masterName]);
    return Array.isArray(replicas) && replicas.length > 0;
  };
  if (!(await eventually(knowsReplica, startLimitMs))) throw new Error('the Sentinel does not know the replica');
  return { url: `redis+sentinel://127.0.0.1:${sentinel.port}/${masterName}`, nodes, sentinel };
}

/** A master and its replica. */
export async function startReplicatedPair(t: Test): Promise<[RedisNode, RedisNode]> {
  const quick = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];
  const master = await startRedisNode(t, quick);
  const replica = await startRedisNode(t, [...quick, '--replicaof', `127.0.0.1 ${master.port}`]);
  if (!(await eventually(() => isInStep(replica), startLimitMs))) throw new Error('the replica does not follow');
  return [master, replica];
}

export const isInStep = async ({ admin }: RedisNode): Promise<boolean> =>
  /master_link_status:up/.test(await admin.info('replication'));

export const isMaster = async ({ admin }: RedisNode): Promise<boolean> =>
  /role:master/.test(await admin.info('replication'));

function findProgram(kind: 'server' | 'cli' = 'server'): string {
  const directories = [...(process.env['PATH'] ?? '').split(':'), '/usr/local/bin', '/usr/bin'];
  const [found] = redisService.findPrograms(directories);
  if (found === undefined) throw new Error('redis-server or valkey-server is needed: these tests start several');
  return kind === 'server' ? found.program : found.program.replace(/-server$/, '-cli');
}
