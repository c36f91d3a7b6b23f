/** Starts the load programs that are our own, on the load's core, and reads the JSON lines they print. */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chatPath } from './mock/replies.ts';
import { pinned } from './processes.ts';
import type { RateLoad, RateResult } from './rate-load.ts';
import type { StreamLoad, StreamReport, StreamWindow } from './stream-load.ts';
import type { RunningSubject } from './subjects/subject.ts';

export function rawRequest(running: RunningSubject, body: string): string {
  const headers = {
    host: `127.0.0.1:${running.port}`,
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    ...running.headers,
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return `POST ${chatPath} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n${body}`;
}

function startClient(file: string, load: StreamLoad | RateLoad, core: number | null): ChildProcess {
  const [command, words] = pinned(process.execPath, [join(import.meta.dirname, file), JSON.stringify(load)], core);
  return spawn(command, words, { stdio: ['pipe', 'pipe', 'inherit'] });
}

async function readLines(client: ChildProcess, onLine: (line: string) => Promise<void>): Promise<void> {
  if (client.stdout === null) throw new Error('the client has no output');
  for await (const line of createInterface({ input: client.stdout })) await onLine(line);
}

/** Follows one streaming client to its end; `onOpen` runs at the moment its window opens, and may end its stdin. */
export async function runStreamLoad(
  load: StreamLoad,
  {
    core,
    patienceMs,
    onOpen,
  }: { core: number | null; patienceMs: number; onOpen: (release: () => void) => Promise<void> },
): Promise<StreamWindow> {
  const client = startClient('stream-load.ts', load, core);
  const patience = setTimeout(() => client.kill(), patienceMs);
  let window: StreamWindow | null = null;
  await readLines(client, async (line) => {
    const report = JSON.parse(line) as StreamReport;
    if (report.at === 'open') await onOpen(() => client.stdin?.end());
    else window = report;
  });
  clearTimeout(patience);
  if (window === null) throw new Error(`${load.streams} streams did not all open in ${patienceMs} ms`);
  return window;
}

export async function runRateLoad(load: RateLoad, core: number | null): Promise<RateResult> {
  let result: RateResult | null = null;
  await readLines(startClient('rate-load.ts', load, core), (line) => {
    result = JSON.parse(line) as RateResult;
    return Promise.resolve();
  });
  if (result === null) throw new Error('the fixed-rate client ended without a report');
  return result;
}
