/** Ports, waiting, and single requests whose every byte is looked at before anything is timed. */
import { Agent, request as httpRequest } from 'node:http';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningProcess } from './processes.ts';

export type Reply = { status: number; body: Buffer };

/** A port that was free a moment ago. Every subject gets its own, so a race is only with strangers. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

export async function waitForPort(port: number, owner: RunningProcess, patienceMs = 20_000): Promise<void> {
  await waitUntil(() => canConnect(port), owner, patienceMs);
}

/** Polls every 5 ms; says what the process printed when it ends or never gets there. */
export async function waitUntil(
  isReady: () => Promise<boolean>,
  owner: RunningProcess,
  patienceMs: number,
): Promise<void> {
  const giveUpAt = performance.now() + patienceMs;
  while (performance.now() < giveUpAt) {
    if (await isReady()) return;
    if (owner.hasEnded()) throw new Error(`it ended before it was ready: ${owner.lastWords()}`);
    await sleep(5);
  }
  throw new Error(`it was not ready after ${patienceMs} ms: ${owner.lastWords()}`);
}

export type Ask = {
  port: number;
  path: string;
  headers?: Readonly<Record<string, string>>;
  /** Absent: a GET. */
  body?: string;
  agent?: Agent;
  timeoutMs?: number;
};

export function ask(question: Ask): Promise<Reply> {
  const { promise, resolve, reject } = Promise.withResolvers<Reply>();
  const request = httpRequest(
    {
      host: '127.0.0.1',
      port: question.port,
      path: question.path,
      method: question.body === undefined ? 'GET' : 'POST',
      headers:
        question.body === undefined
          ? { ...question.headers }
          : {
              'content-type': 'application/json',
              'content-length': Buffer.byteLength(question.body),
              ...question.headers,
            },
      agent: question.agent ?? false,
      timeout: question.timeoutMs ?? 10_000,
    },
    (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }));
      response.on('error', reject);
    },
  );
  request.on('timeout', () => request.destroy(new Error('no answer in time')));
  request.on('error', reject);
  request.end(question.body);
  return promise;
}

/** True when the question is answered with 200; refusals and closed ports are simply not yet. */
export async function answers200(question: Ask): Promise<boolean> {
  return ask(question).then(
    ({ status }) => status === 200,
    () => false,
  );
}

/** Sends the same request so many times over so many connections; returns how many were answered with 200. */
export async function askMany(
  question: Ask,
  { total, connections }: { total: number; connections: number },
): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  let sent = 0;
  let good = 0;
  const worker = async (): Promise<void> => {
    while (sent < total) {
      sent += 1;
      if (await answers200({ ...question, agent })) good += 1;
    }
  };
  await Promise.all(Array.from({ length: connections }, worker));
  agent.destroy();
  return good;
}
