/**
 * Carries the operations of one turn of the event loop to one shard in one script call.
 * Takes operations, gives each its own reply or the plain fact that there is none: `unsent` never reached the server,
 * `ambiguous` may have. Must never wait longer than its bound, counted from the enqueue, whatever the client library
 * does; must never send anything twice. Spec: reliability 2.3.
 */
import type { Cluster, Redis } from 'ioredis';
import { createBreaker } from './breaker.ts';
import { createScriptCall } from './script-call.ts';
import { urgency, type TickOperation } from './tick-operations.ts';
import type { TickScript } from './tick-script.ts';

export type TickReply =
  | { kind: 'answered'; reply: readonly unknown[] }
  /** The script refused this operation, and nothing of it was written. */
  | { kind: 'failed'; message: string }
  | { kind: 'unsent' }
  | { kind: 'ambiguous' };

export type TickBatcherOptions = {
  redis: Redis | Cluster;
  script: TickScript;
  /** The shard's first key, which routes the call. */
  key: string;
  /** The arguments before the operations, asked at each call. */
  header: () => readonly string[];
  boundMs: number;
  callsInFlight: number;
  /** Admissions beyond this are refused at once; what settles or marks is always taken. */
  queueLimit: number;
  nowMs: () => number;
  /** The shard's incarnation, told with every answer: another one than before means that its data was lost. */
  onIncarnation: (incarnation: string) => void;
  onOpen: () => void;
  onClose: () => void;
};

export interface TickBatcher {
  submit(operation: TickOperation): Promise<TickReply>;
  /** The connection is new: whether the server answers is asked at once. */
  reconnected(): void;
  stop(): void;
}

type Turn = { waiting: Waiting[]; unanswered: number; timer: NodeJS.Timeout };
type Call = { isOver: boolean; hasFailed: boolean };
type Waiting = {
  operation: TickOperation;
  resolve: (reply: TickReply) => void;
  turn: Turn;
  call: Call | null;
  isDone: boolean;
};

const operationsPerCall = 128;
const charactersPerCall = 256 * 1024;
/** Answers of a server that did not run the script. */
const notRun = /^(?:BUSY|LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|NOPERM|NOAUTH|Too many Cluster redirections)\b/;

export function createTickBatcher(options: TickBatcherOptions): TickBatcher {
  const { redis, script, key, header, boundMs, callsInFlight, queueLimit } = options;
  const queues: [Waiting[], Waiting[], Waiting[]] = [[], [], []];
  let turn: Turn | null = null;
  let openCalls = 0;
  let hasFailedThisTurn = false;
  const breaker = createBreaker({
    nowMs: options.nowMs,
    probe,
    onOpen: () => {
      giveUpQueued();
      options.onOpen();
    },
    onClose: options.onClose,
  });

  function submit(operation: TickOperation): Promise<TickReply> {
    const queue = queues[operation.urgency];
    const isFull = operation.urgency === urgency.admit && queue.length >= queueLimit;
    if (breaker.isOpen() || isFull) return Promise.resolve({ kind: 'unsent' });
    return new Promise((resolve) => {
      turn ??= startTurn();
      const waiting: Waiting = { operation, resolve, turn, call: null, isDone: false };
      turn.waiting.push(waiting);
      turn.unanswered += 1;
      queue.push(waiting);
    });
  }

  /** One timer serves all operations of a turn: they were enqueued together. */
  function startTurn(): Turn {
    const started: Turn = { waiting: [], unanswered: 0, timer: setTimeout(expireSoon, boundMs) };
    // Timers run before the sockets are read: a loop that was kept from running may have the reply at hand.
    function expireSoon(): void {
      setImmediate(() => {
        if (started.unanswered > 0) expire(started);
      });
    }
    setImmediate(() => {
      turn = null;
      sendQueued();
    });
    return started;
  }

  function expire(expired: Turn): void {
    // A call whose lateness is counted already says nothing new when its other turns expire as well.
    const calls = new Set(expired.waiting.flatMap(({ isDone, call }) => (isDone ? [] : [call])));
    if ([...calls].some((call) => call === null || !call.hasFailed)) countFailure();
    for (const call of calls) if (call !== null) endCall(Object.assign(call, { hasFailed: true }));
    for (const waiting of expired.waiting) {
      finish(waiting, waiting.call === null ? { kind: 'unsent' } : { kind: 'ambiguous' });
    }
    sendQueued();
  }

  /** What fails in one turn of the event loop is one failure: a loop that was kept from running finds it all at once. */
  function countFailure(): void {
    if (hasFailedThisTurn) return;
    hasFailedThisTurn = true;
    setImmediate(() => {
      hasFailedThisTurn = false;
    });
    breaker.recordFailure();
  }

  function sendQueued(): void {
    while (openCalls < callsInFlight) {
      const batch = takeBatch();
      if (batch.length === 0) return;
      void send(batch);
    }
  }

  function takeBatch(): Waiting[] {
    const batch: Waiting[] = [];
    let characters = 0;
    for (const queue of queues) {
      let taken = 0;
      for (const waiting of queue) {
        const isRoomLeft = batch.length < operationsPerCall && (batch.length === 0 || characters < charactersPerCall);
        if (!isRoomLeft) break;
        taken += 1;
        if (waiting.isDone) continue;
        batch.push(waiting);
        for (const argument of waiting.operation.args) characters += argument.length;
        for (const scope of waiting.operation.scopes ?? []) characters += scope.length;
      }
      queue.splice(0, taken);
    }
    return batch;
  }

  async function send(batch: readonly Waiting[]): Promise<void> {
    if (redis.status !== 'ready') {
      countFailure();
      for (const waiting of batch) finish(waiting, { kind: 'unsent' });
      return;
    }
    const call: Call = { isOver: false, hasFailed: false };
    openCalls += 1;
    for (const waiting of batch) waiting.call = call;
    try {
      const replies = await run(batch);
      for (const [index, waiting] of batch.entries()) finish(waiting, readReply(replies[index]));
    } catch (error) {
      if (!call.hasFailed) countFailure();
      const kind = error instanceof Error && notRun.test(error.message) ? 'unsent' : 'ambiguous';
      for (const waiting of batch) finish(waiting, { kind });
    }
    endCall(call);
    sendQueued();
  }

  async function run(batch: readonly Waiting[]): Promise<readonly unknown[]> {
    const [incarnation, ...replies] = asList(await runScript([key, ...header(), ...packBatch(batch)]));
    if (typeof incarnation === 'string' && incarnation !== '') options.onIncarnation(incarnation);
    return replies;
  }

  async function runScript(args: readonly string[]): Promise<unknown> {
    try {
      return await redis.sendCommand(createScriptCall('evalsha', script.sha, args));
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
      return redis.sendCommand(createScriptCall('eval', script.text, args));
    }
  }

  async function probe(): Promise<boolean> {
    if (redis.status !== 'ready') return false;
    const { promise: tooLate, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), boundMs);
    const answer = run([]).then(
      () => true,
      () => false,
    );
    const hasAnswered = await Promise.race([answer, tooLate]);
    clearTimeout(timer);
    return hasAnswered;
  }

  function giveUpQueued(): void {
    for (const queue of queues) for (const waiting of queue.splice(0)) finish(waiting, { kind: 'unsent' });
  }

  function endCall(call: Call): void {
    if (call.isOver) return;
    call.isOver = true;
    openCalls -= 1;
  }

  return { submit, reconnected: () => breaker.probeNow(), stop: () => breaker.stop() };
}

/** The scopes of all operations, each once, and then the operations, which name them by number. */
function packBatch(batch: readonly Waiting[]): string[] {
  const numbers = new Map<string, number>();
  const words: string[] = [];
  for (const { operation } of batch) {
    for (const argument of operation.args) words.push(argument);
    if (operation.scopes === undefined) continue;
    let named = '';
    for (const scope of operation.scopes) {
      const number = numbers.get(scope) ?? numbers.size + 1;
      numbers.set(scope, number);
      named += `${number} `;
    }
    words.push(named);
  }
  return [String(numbers.size), ...numbers.keys(), ...words];
}

function finish(waiting: Waiting, reply: TickReply): void {
  if (waiting.isDone) return;
  waiting.isDone = true;
  waiting.turn.unanswered -= 1;
  if (waiting.turn.unanswered === 0) clearTimeout(waiting.turn.timer);
  waiting.resolve(reply);
}

function readReply(reply: unknown): TickReply {
  const words = asList(reply);
  if (words[0] === 'ERR') return { kind: 'failed', message: String(words[1]) };
  return words.length === 0 ? { kind: 'ambiguous' } : { kind: 'answered', reply: words };
}

const asList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
