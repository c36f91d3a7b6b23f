/**
 * Opens a connection to Redis, to a master behind Sentinel, or to a Cluster. Takes an address, gives an ioredis client
 * that fails fast and never repeats a command by itself: a command whose caller has given up must not be sent again. It
 * knows no key and no script. It must never let an error of an idle connection end the process, nor say more than one
 * line for each change of state. Spec: reliability 10.
 */
import { Cluster, Redis } from 'ioredis';
import { parseRedisUrl, type RedisAddress } from '../config/redis-url.ts';

export type RedisClient = Redis | Cluster;

export type RedisLog = {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
};

export type OpenRedisOptions = {
  /** Shown by the server in its list of clients. */
  name?: string;
  /** How long one command may take before its caller is told that it failed. */
  commandTimeoutMs?: number;
  /** Silence while a reply is due, after which the connection is given up. A blocking read needs a second more than it blocks. */
  socketTimeoutMs?: number;
  /** Of the Sentinels themselves, where they ask for one. */
  sentinelPassword?: string | undefined;
};

const longestReconnectDelayMs = 1000;
const connectTimeoutMs = 1000;
const redirectDelayMs = 50;

/** `url` in one of the forms of `parseRedisUrl`. */
export function openRedis(url: string, log: RedisLog, options: OpenRedisOptions = {}): RedisClient {
  const { name = 'tollgate' } = options;
  const parsed = parseRedisUrl(url);
  if (!parsed.ok) throw new Error(`The address of Redis: ${parsed.message}.`);
  const redis = connect(parsed.value, options);
  logStateChanges(redis, name, log);
  if (redis instanceof Cluster) followNodes(redis, name, log);
  return redis;
}

function commonOptions({ name = 'tollgate', commandTimeoutMs = 250, socketTimeoutMs = 2000 }: OpenRedisOptions) {
  return {
    connectionName: name,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: commandTimeoutMs,
    connectTimeout: connectTimeoutMs,
    socketTimeout: socketTimeoutMs,
    keepAlive: 5000,
    // A demoted primary answers READONLY for ever on this connection; the name may lead to the new one by now.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  };
}

function connect(address: RedisAddress, options: OpenRedisOptions): RedisClient {
  const common = commonOptions(options);
  const alone = { ...common, enableOfflineQueue: false, retryStrategy: reconnectDelayMs };
  if (address.topology === 'standalone') return new Redis(address.url, alone);
  const { nodes, username, password, isTls } = address;
  const access = {
    ...(username === null ? {} : { username }),
    ...(password === null ? {} : { password }),
    ...(isTls ? { tls: {} } : {}),
  };
  if (address.topology === 'cluster') return openCluster(nodes, { ...common, ...access });
  return new Redis({
    ...alone,
    ...access,
    sentinels: [...nodes],
    name: address.masterName,
    db: address.database,
    sentinelCommandTimeout: connectTimeoutMs,
    sentinelRetryStrategy: reconnectDelayMs,
    ...(options.sentinelPassword === undefined ? {} : { sentinelPassword: options.sentinelPassword }),
    ...(isTls ? { enableTLSForSentinelMode: true, sentinelTLS: {} } : {}),
  });
}

/**
 * A slot that is being moved key by key is half on one master and half on another, and a script sees only one half. It
 * must not begin anew on the other: as with TRYAGAIN the answer is a later one, when the slot has arrived.
 */
class WholeSlotCluster extends Cluster {
  override handleError(error: Error, ttl: { value?: unknown }, handlers: unknown): void {
    const isHalf = error.message.startsWith('ASK ');
    super.handleError(isHalf ? new Error(`TRYAGAIN ${error.message}`) : error, ttl, handlers);
  }
}

function openCluster(
  nodes: readonly { host: string; port: number }[],
  redisOptions: ReturnType<typeof commonOptions>,
): Cluster {
  return new WholeSlotCluster([...nodes], {
    redisOptions,
    enableOfflineQueue: false,
    scaleReads: 'master',
    maxRedirections: 2,
    retryDelayOnClusterDown: redirectDelayMs,
    retryDelayOnTryAgain: redirectDelayMs,
    // What was on a connection that broke may have run, and nothing may be sent twice.
    retryDelayOnFailover: 0,
    clusterRetryStrategy: reconnectDelayMs,
    slotsRefreshTimeout: connectTimeoutMs,
  });
}

/** False when it takes longer. */
export function untilReady(redis: RedisClient, limitMs: number): Promise<boolean> {
  if (redis.status === 'ready') return Promise.resolve(true);
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), limitMs);
    redis.once('ready', () => {
      clearTimeout(timer);
      resolve(true);
    });
  });
}

/** Replicas that lost the same server must not come back in step. */
export function reconnectDelayMs(attempt: number): number {
  const fullMs = Math.min(longestReconnectDelayMs, 50 * 2 ** attempt);
  return Math.round(fullMs * (0.75 + Math.random() * 0.25));
}

function logStateChanges(redis: RedisClient, name: string, log: RedisLog): void {
  let isDown = false;
  let lastError: unknown = null;
  redis.on('error', (error: unknown) => {
    lastError = error;
  });
  redis.on('reconnecting', () => {
    if (!isDown) log.warn({ connection: name, err: lastError }, 'redis connection lost');
    isDown = true;
  });
  redis.on('ready', () => {
    log.info({ connection: name }, isDown ? 'redis connection is back' : 'redis connected');
    isDown = false;
    lastError = null;
  });
}

/** A node is connected before it is needed, because a command that meets a connection in the making is refused. */
function followNodes(cluster: Cluster, name: string, log: RedisLog): void {
  const lost = new Set<string>();
  const addressOf = ({ options }: Redis): string => `${options.host}:${options.port}`;
  cluster.on('node error', (error: unknown, node: string) => {
    if (!lost.has(node)) log.warn({ connection: name, node, err: error }, 'redis node lost');
    lost.add(node);
  });
  cluster.on('+node', (redis: Redis) => {
    redis.once('ready', () => {
      if (lost.delete(addressOf(redis))) log.info({ connection: name, node: addressOf(redis) }, 'redis node is back');
    });
    if (redis.options.readOnly !== true && redis.status === 'wait') redis.connect().catch(() => undefined);
  });
}
