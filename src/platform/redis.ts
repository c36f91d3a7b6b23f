/**
 * Opens a connection to Redis. Takes an address, gives an ioredis client that fails fast and never repeats a command by
 * itself: a command whose caller has given up must not be sent again. It knows no key and no script. It must never let
 * an error of an idle connection end the process, nor say more than one line for each change of state.
 */
import { Redis } from 'ioredis';

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
};

const longestReconnectDelayMs = 1000;

export function openRedis(url: string, log: RedisLog, options: OpenRedisOptions = {}): Redis {
  const { name = 'tollgate', commandTimeoutMs = 250, socketTimeoutMs = 2000 } = options;
  const redis = new Redis(url, {
    connectionName: name,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: commandTimeoutMs,
    connectTimeout: 1000,
    socketTimeout: socketTimeoutMs,
    keepAlive: 5000,
    retryStrategy: reconnectDelayMs,
    // A demoted primary answers READONLY for ever on this connection; the name may lead to the new one by now.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  });
  logStateChanges(redis, name, log);
  return redis;
}

/** Replicas that lost the same server must not come back in step. */
export function reconnectDelayMs(attempt: number): number {
  const fullMs = Math.min(longestReconnectDelayMs, 50 * 2 ** attempt);
  return Math.round(fullMs * (0.75 + Math.random() * 0.25));
}

function logStateChanges(redis: Redis, name: string, log: RedisLog): void {
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
