/**
 * Is the server fit to hold limits, and does it have room? Asked at each connection and then every second.
 * An evicting server would silently forget debts and leases, so it is refused unless the operator insists.
 */
import type { Redis } from 'ioredis';
import type { Every } from './clock.ts';

export type ServerWatchOptions = {
  log: { warn(details: object, message: string): void; error(details: object, message: string): void };
  allowEviction: boolean;
  every: Every;
  /** A further reason why this server cannot hold these limits. */
  findFurtherProblem?: () => Promise<string | null>;
};

export interface ServerWatch {
  /** First contact made and the server found fit. Rejects when it is not fit. */
  ready: Promise<void>;
  isFit(): boolean;
  /** False when the server's memory is nearly used up: settlements still pass, admissions must not. */
  hasHeadroom(): boolean;
  close(): void;
}

const oldestMajorVersion = 7;
const memoryShareForSettlements = 0.15;
const pollMs = 1000;

export function watchRedisServer(redis: Redis, options: ServerWatchOptions): ServerWatch {
  const { log, allowEviction, every, findFurtherProblem } = options;
  const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
  // Whoever does not wait for it still learns the reason from the log and from refused admissions.
  ready.catch(() => {});
  let isFit = false;
  let hasHeadroom = true;
  redis.on('ready', checkServer);
  if (redis.status === 'ready') checkServer();
  const stopPolling = every(pollMs, pollMemory);

  function checkServer(): void {
    describe().then(judge, (error: unknown) => log.warn({ err: error }, 'redis does not describe itself'));
  }

  /** What is too old for us may not even understand the further question. */
  async function describe(): Promise<{ info: string; problem: string | null }> {
    const info = await redis.info();
    const problem = findProblem(info, allowEviction);
    return { info, problem: problem ?? (await findFurtherProblem?.()) ?? null };
  }

  function judge({ info, problem }: { info: string; problem: string | null }): void {
    isFit = problem === null;
    hasHeadroom = hasMemoryLeft(info);
    if (problem !== null) {
      log.error({ problem }, 'redis is not fit to hold limits');
      reject(new Error(problem));
      return;
    }
    if (readField(info, 'maxmemory_policy') !== 'noeviction') {
      log.warn({}, 'redis may evict limits and running requests: they are then forgotten');
    }
    if (readField(info, 'aof_enabled') === '0')
      log.warn({}, 'redis has no append-only file: a restart forgets all limits');
    resolve();
  }

  async function pollMemory(): Promise<void> {
    if (redis.status !== 'ready') return;
    // A server that does not answer is the breaker's business; the last answer holds until then.
    hasHeadroom = await redis.info('memory').then(hasMemoryLeft, () => hasHeadroom);
  }

  return {
    ready,
    isFit: () => isFit,
    hasHeadroom: () => hasHeadroom,
    close: () => {
      stopPolling();
      redis.off('ready', checkServer);
    },
  };
}

/** From the text of INFO: why this server cannot hold limits, or null. */
export function findProblem(info: string, allowEviction: boolean): string | null {
  const version = readField(info, 'redis_version');
  if (!(Number.parseInt(version, 10) >= oldestMajorVersion)) {
    return `Redis ${oldestMajorVersion} or newer is needed, this is ${version || 'of unknown version'}`;
  }
  const policy = readField(info, 'maxmemory_policy');
  if (policy === 'noeviction' || allowEviction) return null;
  return `maxmemory-policy must be noeviction, it is ${policy || 'unknown'}: an evicted key is a forgotten limit`;
}

/** A maxmemory of 0 is no maximum. */
export function hasMemoryLeft(info: string): boolean {
  const maximum = Number(readField(info, 'maxmemory'));
  return !(maximum > 0) || Number(readField(info, 'used_memory')) <= maximum * (1 - memoryShareForSettlements);
}

const readField = (info: string, name: string): string => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1] ?? '';
