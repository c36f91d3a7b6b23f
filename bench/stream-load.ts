/**
 * The streaming client, a process of its own: keeps so many streams open over raw sockets, each asking again as soon
 * as its stream has ended. It warms up, says `open`, counts for the window, says `closed` with what it saw, one JSON
 * line each. With `holds` it opens every stream, says `open`, and keeps them until its stdin ends.
 */
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { quantile } from './statistics.ts';
import { createReplyReader } from './stream-reader.ts';

export type StreamLoad = {
  port: number;
  /** The whole request, head and body. */
  request: string;
  streams: number;
  gapMs: number;
  eventsPerStream: number;
  warmUpMs: number;
  windowMs: number;
  holds: boolean;
};

export type StreamWindow = {
  events: number;
  streamsEnded: number;
  badReplies: number;
  socketErrors: number;
  ttftP50Us: number;
  ttftP99Us: number;
  gapP50Us: number;
  gapP99Us: number;
};

export type StreamReport = { at: 'open' } | ({ at: 'closed' } & StreamWindow);

type Tally = {
  isCounting: boolean;
  events: number;
  streamsEnded: number;
  badReplies: number;
  socketErrors: number;
  ttftUs: number[];
  gapUs: number[];
};

const nowUs = (): number => performance.now() * 1000;

function runStream(load: StreamLoad, tally: Tally, onFirstEvent: () => void): Socket {
  const reader = createReplyReader({ keepsBody: false });
  let askedAtUs = 0;
  let lastEventAtUs = 0;
  let events = 0;
  const socket = connect({ port: load.port, host: '127.0.0.1', noDelay: true });
  const askAgain = (): void => {
    events = 0;
    askedAtUs = nowUs();
    socket.write(load.request);
  };
  socket.on('connect', askAgain);
  socket.on('error', () => {
    tally.socketErrors += 1;
  });
  socket.on('data', (piece: Buffer) => {
    const reading = reader.push(piece);
    if (reading.events > 0) {
      const at = nowUs();
      if (events === 0) onFirstEvent();
      if (tally.isCounting) {
        tally.events += reading.events;
        if (events === 0) tally.ttftUs.push(at - askedAtUs);
        else tally.gapUs.push(at - lastEventAtUs);
      }
      events += reading.events;
      lastEventAtUs = at;
    }
    if (!reading.isComplete) return;
    if (tally.isCounting) {
      tally.streamsEnded += 1;
      if (reader.status() !== 200 || events !== load.eventsPerStream) tally.badReplies += 1;
    }
    reader.reset();
    askAgain();
  });
  return socket;
}

function report(line: StreamReport): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function main(load: StreamLoad): Promise<void> {
  const tally: Tally = {
    isCounting: false,
    events: 0,
    streamsEnded: 0,
    badReplies: 0,
    socketErrors: 0,
    ttftUs: [],
    gapUs: [],
  };
  const opened = Promise.withResolvers<void>();
  let streamsWithAnEvent = 0;
  const onFirstEvent = (): void => {
    streamsWithAnEvent += 1;
    if (streamsWithAnEvent === load.streams) opened.resolve();
  };
  // Starts are spread over the life of a stream (holding: 1 ms apart), or all would ask and tick in step.
  const spacingMs = load.holds ? 1 : (load.gapMs * load.eventsPerStream) / load.streams;
  const sockets: Socket[] = [];
  for (let index = 0; index < load.streams; index += 1) {
    setTimeout(() => sockets.push(runStream(load, tally, onFirstEvent)), index * spacingMs);
  }
  const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  await (load.holds ? opened.promise : wait(load.warmUpMs));
  tally.isCounting = true;
  report({ at: 'open' });
  if (load.holds) await new Promise((resolve) => process.stdin.resume().once('end', resolve));
  else await wait(load.windowMs);
  tally.isCounting = false;
  report({
    at: 'closed',
    events: tally.events,
    streamsEnded: tally.streamsEnded,
    badReplies: tally.badReplies,
    socketErrors: tally.socketErrors,
    ttftP50Us: quantile(tally.ttftUs, 0.5),
    ttftP99Us: quantile(tally.ttftUs, 0.99),
    gapP50Us: quantile(tally.gapUs, 0.5),
    gapP99Us: quantile(tally.gapUs, 0.99),
  });
  for (const socket of sockets) socket.destroy();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  // The only writer of this argument is clients.ts, next door.
  await main(JSON.parse(process.argv[2] ?? '{}') as StreamLoad);
}
