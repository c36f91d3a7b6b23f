/**
 * Loaded into a gateway ahead of its program (`node --import`), so that the program itself knows nothing of it: kills
 * the process, as `kill -9` does, at the one point that FAILPOINT names, on the way of the first request whose model
 * name holds FAILPOINT_MARK. What it recognises steps by are the connection's name and the ids inside a script call, not
 * their layout. Spec: reliability 3.
 */
import { writeSync } from 'node:fs';
import { type Command, Pipeline, Redis } from 'ioredis';
import { Client } from 'pg';
import { Pool } from 'undici';

/** In the order of the crash-point table. */
export const failpoints = [
  'before the tick is flushed',
  'tick executed',
  'tick replied, before fan-out',
  'upstream connect, before MARK',
  'MARK done',
  'headers received',
  'mid-stream',
  'last byte sent, before SETTLE',
  'SETTLE executed',
  'drain INSERT committed, before XACK',
  'XACK before XDEL',
  'Postgres dies mid-transaction',
  /** Kills nothing: keeps the usage stream unread until SIGUSR2, so that a test can lose what is in it. */
  'drain stalled',
] as const;

export type Failpoint = (typeof failpoints)[number];

/** Of the usage stream: the size at which the product closes admission, and a size that a test can reach. */
const [productCap, testCap] = ['1000000', process.env['FAILPOINT_STREAM_CAP']];

/** In the output of the process that dies. */
export const firedLine = (point: Failpoint, details: object = {}): string =>
  `failpoint ${point} ${JSON.stringify(details)}\n`;

/** Loaded by the test for the names alone, it does nothing. */
const point = failpoints.find((name) => name === process.env['FAILPOINT']);
const mark = process.env['FAILPOINT_MARK'] ?? '';
if (point !== undefined) arm(point);
if (testCap !== undefined) lowerStreamCap(testCap);

function arm(armed: Failpoint): void {
  watchScriptCalls(armed);
  watchUpstream(armed);
  watchInserts(armed);
  if (armed === 'drain stalled') stallReaders();
}

function die(details: object = {}): void {
  if (point === undefined) return;
  // Past every buffer of the process, which has no further turn.
  writeSync(1, firedLine(point, details));
  process.kill(process.pid, 'SIGKILL');
}

const textOf = (args: readonly unknown[]): string[] =>
  args.flat().map((arg) => (Buffer.isBuffer(arg) ? arg.toString('latin1') : String(arg)));

type Step = 'ADMIT' | 'MARK' | 'SETTLE' | 'HEARTBEAT';
/** By request id. */
const admitted = new Set<string>();
let firstDataAtMs = Infinity;
/** A running stream tells of its progress every five seconds. */
const progressToldMs = 6_000;

function stepOf(connection: string | undefined, args: readonly string[]): Step | null {
  const marked = args.find((arg) => arg.includes(mark));
  const id = /"requestId":"([^"]+)"/.exec(marked ?? '')?.[1];
  if (marked === undefined || id === undefined) {
    if (!args.some((arg) => admitted.has(arg))) return null;
    return connection === 'tollgate-background' ? 'HEARTBEAT' : 'MARK';
  }
  if (marked.includes('"status":"not_dispatched"')) return null;
  if (admitted.has(id)) return 'SETTLE';
  admitted.add(id);
  return 'ADMIT';
}

const diesBefore: Partial<Record<Failpoint, Step>> = {
  'before the tick is flushed': 'ADMIT',
  'upstream connect, before MARK': 'MARK',
  'last byte sent, before SETTLE': 'SETTLE',
};
/** With the reply in the process and nobody told. */
const diesAtReply: Partial<Record<Failpoint, Step>> = {
  'tick executed': 'ADMIT',
  'MARK done': 'MARK',
  'SETTLE executed': 'SETTLE',
  'mid-stream': 'HEARTBEAT',
};

type Method = (this: unknown, ...args: unknown[]) => unknown;

function wrap(owner: object, name: string, around: (method: Method) => Method): void {
  Object.assign(owner, { [name]: around(Reflect.get(owner, name) as Method) });
}

function watchScriptCalls(armed: Failpoint): void {
  wrap(
    Redis.prototype,
    'sendCommand',
    (sendCommand) =>
      function send(command, stream) {
        const call = command as Command;
        if (call.name === 'evalsha' || call.name === 'eval')
          watchScriptCall(armed, call, (this as Redis).options.connectionName);
        return sendCommand.call(this, command, stream);
      },
  );
}

function watchScriptCall(armed: Failpoint, command: Command, connection: string | undefined): void {
  const args = textOf(command.args);
  if (armed === 'tick replied, before fan-out') dieBeforeFanOut(command, args);
  const step = stepOf(connection, args);
  if (step === null) return;
  if (diesBefore[armed] === step) die();
  const isEarly = armed === 'mid-stream' && performance.now() - firstDataAtMs < progressToldMs;
  if (diesAtReply[armed] === step && !isEarly) dieAtReply(command);
}

function dieAtReply(command: Command, details: object = {}): void {
  command.resolve = () => die(details);
}

/** Only with a call that carries both kinds: that its settlements are done and its admissions are not is the point. */
function dieBeforeFanOut(command: Command, args: readonly string[]): void {
  const records = args.filter((arg) => arg.includes(mark));
  const markersOf = (status: string): string[] =>
    records.flatMap((record) =>
      record.includes(`"status":"${status}"`) ? (/"model":"[^"@]*@([^"]+)"/.exec(record)?.[1] ?? []) : [],
    );
  const details = { admitted: markersOf('orphaned'), settled: markersOf('ok') };
  if (details.admitted.length > 0 && details.settled.length > 0) void command.promise.then(() => die(details));
}

function lowerStreamCap(cap: string): void {
  wrap(
    Redis.prototype,
    'sendCommand',
    (sendCommand) =>
      function send(command, stream) {
        const { args } = command as Command;
        if ((command as Command).name === 'evalsha')
          for (const [at, arg] of args.entries()) if (arg === productCap) args[at] = cap;
        return sendCommand.call(this, command, stream);
      },
  );
}

function watchUpstream(armed: Failpoint): void {
  wrap(
    Pool.prototype,
    'dispatch',
    (dispatch) =>
      function send(options, handler) {
        if (String((options as { body: unknown }).body).includes(mark)) watchReply(armed, handler as object);
        return dispatch.call(this, options, handler);
      },
  );
}

function watchReply(armed: Failpoint, handler: object): void {
  wrap(
    handler,
    'onResponseStart',
    (onResponseStart) =>
      function start(...args) {
        if (armed === 'headers received') die();
        return onResponseStart.apply(this, args);
      },
  );
  wrap(
    handler,
    'onResponseData',
    (onResponseData) =>
      function take(...args) {
        firstDataAtMs = Math.min(firstDataAtMs, performance.now());
        return onResponseData.apply(this, args);
      },
  );
}

let isCommitted = false;

function watchInserts(armed: Failpoint): void {
  wrap(
    Client.prototype,
    'query',
    (query) =>
      function ask(...args) {
        const isInsert = String(args[0]).includes('insert into usage_events');
        if (!isInsert || !textOf(args).some((arg) => arg.includes(mark))) return query.apply(this, args);
        const run = async (...words: unknown[]): Promise<unknown> => query.apply(this, words);
        return insertMarked(armed, run, args);
      },
  );
  wrap(
    Pipeline.prototype,
    'sendCommand',
    (sendCommand) =>
      function queue(command, ...rest) {
        const { name } = command as Command;
        if (isCommitted && name === 'xack') {
          if (armed === 'drain INSERT committed, before XACK') die();
          if (armed === 'XACK before XDEL') dieAtReply(command as Command);
        }
        if (isCommitted && name === 'xdel' && armed === 'XACK before XDEL') return this;
        return sendCommand.call(this, command, ...rest);
      },
  );
}

type Run = (...words: unknown[]) => Promise<unknown>;

async function insertMarked(armed: Failpoint, run: Run, args: readonly unknown[]): Promise<unknown> {
  if (armed === 'Postgres dies mid-transaction') {
    await run('begin');
    await run(...args);
    await run('select pg_terminate_backend(pg_backend_pid())').catch(() => die());
  }
  const result = await run(...args);
  isCommitted = true;
  return result;
}

function stallReaders(): void {
  const { promise: released, resolve } = Promise.withResolvers<void>();
  process.once('SIGUSR2', () => resolve());
  wrap(
    Redis.prototype,
    'xreadgroup',
    (xreadgroup) =>
      async function read(...args) {
        await released;
        return xreadgroup.apply(this, args);
      },
  );
}
