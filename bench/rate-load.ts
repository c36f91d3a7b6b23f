/**
 * Open-loop load, a process of its own: requests leave on a schedule whether or not the last ones have come back, each
 * on a connection of its own as long as it is under way. A slow answer delays nobody, so no latency is left out.
 * Prints one JSON line.
 */
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { quantile } from './statistics.ts';
import { createReplyReader } from './stream-reader.ts';

export type RateLoad = {
  port: number;
  /** The whole request, head and body. */
  request: string;
  requestsPerSecond: number;
  warmUpMs: number;
  windowMs: number;
};

export type RateResult = { requestsPerSecond: number; p50Us: number; p99Us: number; badReplies: number };

type Line = { ask(): void; socket: Socket };

const drainMs = 2_000;

function openLine(
  load: RateLoad,
  { idle, onReply }: { idle: Line[]; onReply: (status: number, sentAtMs: number) => void },
): Line {
  const reader = createReplyReader({ keepsBody: false });
  const socket = connect({ port: load.port, host: '127.0.0.1', noDelay: true });
  let sentAtMs = 0;
  const line: Line = {
    socket,
    ask() {
      sentAtMs = performance.now();
      socket.write(load.request);
    },
  };
  socket.on('error', () => onReply(0, sentAtMs));
  socket.on('data', (piece: Buffer) => {
    if (!reader.push(piece).isComplete) return;
    onReply(reader.status(), sentAtMs);
    reader.reset();
    idle.push(line);
  });
  return line;
}

async function main(load: RateLoad): Promise<void> {
  const idle: Line[] = [];
  const lines = new Set<Line>();
  const durationsUs: number[] = [];
  const countsFrom = performance.now() + load.warmUpMs;
  const endsAt = countsFrom + load.windowMs;
  let sent = 0;
  let badReplies = 0;
  const onReply = (status: number, sentAtMs: number): void => {
    if (status !== 200) badReplies += 1;
    if (sentAtMs >= countsFrom) durationsUs.push((performance.now() - sentAtMs) * 1000);
  };
  const startedAt = performance.now();
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const now = Math.min(performance.now(), endsAt);
      for (const due = ((now - startedAt) * load.requestsPerSecond) / 1000; sent < due; sent += 1) {
        const line = idle.pop() ?? openLine(load, { idle, onReply });
        lines.add(line);
        line.ask();
      }
      if (performance.now() < endsAt) return;
      clearInterval(timer);
      setTimeout(resolve, Math.min(drainMs, load.windowMs));
    }, 1);
  });
  const result: RateResult = {
    requestsPerSecond: (durationsUs.length * 1000) / load.windowMs,
    p50Us: quantile(durationsUs, 0.5),
    p99Us: quantile(durationsUs, 0.99),
    // What is still out after the drain never came back in time.
    badReplies: badReplies + (lines.size - idle.length),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  for (const { socket } of lines) socket.destroy();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  // The only writer of this argument is clients.ts, next door.
  await main(JSON.parse(process.argv[2] ?? '{}') as RateLoad);
}
