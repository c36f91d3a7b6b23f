/** Closed-loop load: wrk with a generated Lua script that posts one body and prints one line for us to read. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chatPath } from './mock/replies.ts';
import { pinned } from './processes.ts';

export type WrkResult = {
  requests: number;
  durationUs: number;
  bytes: number;
  p50Us: number;
  p99Us: number;
  /** Not 2xx. */
  badStatus: number;
  /** Connect, read, write and time-out errors. */
  socketErrors: number;
};

export type WrkLoad = {
  port: number;
  headers: Readonly<Record<string, string>>;
  body: string;
  connections: number;
  seconds: number;
  core: number | null;
  scratchDirectory: string;
};

const marker = 'tollgate-bench';

/** Lua's own quoting of our strings: JSON's is the same for printable ASCII. */
export function wrkScript(headers: Readonly<Record<string, string>>, bodyFile: string): string {
  const headerLines = Object.entries({ 'content-type': 'application/json', ...headers }).map(
    ([name, value]) => `wrk.headers[${JSON.stringify(name)}] = ${JSON.stringify(value)}`,
  );
  return `
wrk.method = "POST"
wrk.body = assert(io.open(${JSON.stringify(bodyFile)}, "rb")):read("*a")
${headerLines.join('\n')}
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("${marker} %d %d %d %d %d %d %d\\n", summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), e.status, e.connect + e.read + e.write + e.timeout))
end
`;
}

export function parseWrkOutput(output: string): WrkResult | null {
  const line = output.split('\n').find((candidate) => candidate.startsWith(`${marker} `));
  const numbers = line?.split(' ').slice(1).map(Number) ?? [];
  const [requests, durationUs, bytes, p50Us, p99Us, badStatus, socketErrors] = numbers;
  if (numbers.some(Number.isNaN) || requests === undefined || durationUs === undefined || bytes === undefined)
    return null;
  if (p50Us === undefined || p99Us === undefined || badStatus === undefined || socketErrors === undefined) return null;
  return { requests, durationUs, bytes, p50Us, p99Us, badStatus, socketErrors };
}

export function runWrk(load: WrkLoad): Promise<WrkResult> {
  const bodyFile = join(load.scratchDirectory, 'wrk-body.json');
  const scriptFile = join(load.scratchDirectory, 'wrk.lua');
  writeFileSync(bodyFile, load.body);
  writeFileSync(scriptFile, wrkScript(load.headers, bodyFile));
  const words = [
    '--threads=1',
    `--connections=${load.connections}`,
    `--duration=${load.seconds}s`,
    '--timeout=10s',
    `--script=${scriptFile}`,
    `http://127.0.0.1:${load.port}${chatPath}`,
  ];
  const [program, programWords] = pinned('wrk', words, load.core);
  return new Promise((resolve, reject) => {
    const child = spawn(program, programWords, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const collect = (chunk: Buffer): void => {
      output += chunk.toString();
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.once('error', reject);
    child.once('close', () => {
      const result = parseWrkOutput(output);
      if (result === null) reject(new Error(`wrk did not finish: ${output.trim().slice(-500)}`));
      else resolve(result);
    });
  });
}
