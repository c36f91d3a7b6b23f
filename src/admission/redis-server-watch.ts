/**
 * Is the server of one shard fit to hold limits, does it have room, and is it still the same process? Asked at each
 * connection and then every second, through a script that travels with the shard's key: in a Cluster each shard has a
 * master of its own. An evicting server would silently forget debts and leases, so it is refused unless the operator
 * insists. Spec: reliability 2.2, 2.3 point 3 and 2.4 (replay ring).
 */
import type { Cluster, Redis } from 'ioredis';
import type { Every } from './clock.ts';

export type ServerWatchOptions = {
  /** The shard's first key, which routes the question, and its usage stream. */
  key: string;
  streamKey: string;
  /** Above it the stream is full. */
  streamCapBytes: number;
  log: { warn(details: object, message: string): void; error(details: object, message: string): void };
  allowEviction: boolean;
  every: Every;
  /** Another process answers, or one that hides which it is after a reconnect: the last writes may be lost. */
  onRestart: () => void;
  onAnswer?: () => void;
};

export interface ServerWatch {
  /** First contact made and the server found fit. Rejects when it is not fit. */
  ready: Promise<void>;
  isFit(): boolean;
  /** False when the server's memory is nearly used up: settlements still pass, admissions must not. */
  hasHeadroom(): boolean;
  /** The usage rows that wait take all the memory that they may. */
  isStreamFull(): boolean;
  close(): void;
}

type Description = { info: string; streamBytes: number };

const oldestMajorVersion = 7;
const memoryShareForSettlements = 0.15;
const pollMs = 1000;

/** Section by section, because a server that is too old for us takes only one. */
const describeLua = `
local info = ''
for _, section in ipairs({ 'server', 'memory', 'persistence' }) do
  info = info .. redis.call('INFO', section)
end
return { info, redis.call('MEMORY', 'USAGE', KEYS[2]) or 0 }
`;

export function watchRedisServer(redis: Redis | Cluster, options: ServerWatchOptions): ServerWatch {
  const { key, streamKey, streamCapBytes, log, allowEviction, every, onRestart } = options;
  const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
  // Whoever does not wait for it still learns the reason from the log and from refused admissions.
  ready.catch(() => {});
  let isFit = false;
  let hasHeadroom = true;
  let isStreamFull = false;
  let runId: string | null = null;
  let problem: string | null = null;
  /** It was away since the last answer. */
  let wasAway = false;
  redis.on('ready', checkServer);
  if (redis.status === 'ready') checkServer();
  const stopPolling = every(pollMs, poll);

  function checkServer(): void {
    wasAway = true;
    void poll();
  }

  /** A server that does not answer is the breaker's business; the last answer holds until then. */
  async function poll(): Promise<void> {
    if (redis.status !== 'ready') return;
    try {
      const description = await describe();
      options.onAnswer?.();
      judge(description);
    } catch (error) {
      if (!wasAway || runId === null) log.warn({ err: error }, 'redis does not describe itself');
      wasAway = true;
    }
  }

  async function describe(): Promise<Description> {
    const reply: unknown = await redis.eval(describeLua, 2, key, streamKey);
    const [info, streamBytes]: unknown[] = Array.isArray(reply) ? reply : [];
    return { info: String(info), streamBytes: Number(streamBytes) };
  }

  function judge({ info, streamBytes }: Description): void {
    const seen = findProblem(info, allowEviction);
    const isNews = noteRunId(readField(info, 'run_id')) || seen !== problem;
    problem = seen;
    isFit = problem === null;
    hasHeadroom = hasMemoryLeft(info);
    isStreamFull = streamBytes > streamCapBytes;
    if (isNews) tell(info);
  }

  function tell(info: string): void {
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

  /** True for another process than before. One that hides which it is, or does not say, may be any after a reconnect. */
  function noteRunId(seen: string): boolean {
    const isFirst = runId === null;
    const isSame = seen === runId && (seen !== '' || !wasAway);
    runId = seen;
    wasAway = false;
    if (!isFirst && !isSame) onRestart();
    return !isSame;
  }

  return {
    ready,
    isFit: () => isFit,
    hasHeadroom: () => hasHeadroom,
    isStreamFull: () => isStreamFull,
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
