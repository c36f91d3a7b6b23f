/**
 * A provider that keeps its own books: an OpenAI-shaped server in the test's process, and one ledger line per attempt.
 * What it does is in the model's name, and so is who asked: `ok-50@acme.17` is request 17 of the key `acme`, answered
 * after 50 ms. The ledger is what the gateway's rows are held against, so it takes nothing from the gateway but that name.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';

export type LedgerLine = {
  /** `<key>.<number>`: what joins it to the driver's log and to the row. */
  marker: string;
  key: string;
  startedAtMs: number;
  endedAtMs: number | null;
  tokens: number;
  ended: 'open' | 'complete' | 'reset' | 'abandoned';
};

export type MockUpstream = {
  url: string;
  ledger: readonly LedgerLine[];
  /** The most that ever ran at once for this key. */
  maximumInFlight: (key: string) => number;
  /** Attempts that run now. */
  inFlight: () => number;
  /** Ends every attempt of a `hold` model. */
  release: () => void;
};

export const promptTokens = 9;

type Ask = { behaviour: readonly string[]; marker: string; key: string; isStream: boolean; wantsUsage: boolean };
type Attempt = { ask: Ask; line: LedgerLine; response: ServerResponse; end: (ended: LedgerLine['ended']) => void };

export async function startMockUpstream(t: Test): Promise<MockUpstream> {
  const ledger: LedgerLine[] = [];
  const running = new Map<string, number>();
  const highest = new Map<string, number>();
  let held = Promise.withResolvers<void>();

  function open(ask: Ask, response: ServerResponse): Attempt {
    const line: LedgerLine = {
      marker: ask.marker,
      key: ask.key,
      startedAtMs: Date.now(),
      endedAtMs: null,
      tokens: 0,
      ended: 'open',
    };
    ledger.push(line);
    const now = (running.get(ask.key) ?? 0) + 1;
    running.set(ask.key, now);
    highest.set(ask.key, Math.max(now, highest.get(ask.key) ?? 0));
    const end = (ended: LedgerLine['ended']): void => {
      if (line.ended !== 'open') return;
      line.ended = ended;
      line.endedAtMs = Date.now();
      running.set(ask.key, (running.get(ask.key) ?? 1) - 1);
    };
    response.on('close', () => end('abandoned'));
    return { ask, line, response, end };
  }

  const server = createServer((incoming, response) => {
    void readAsk(incoming).then(async (ask) => {
      if (ask === null) return;
      await answer(open(ask, response), () => held.promise);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    held.resolve();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    ledger,
    maximumInFlight: (key) => highest.get(key) ?? 0,
    inFlight: () => [...running.values()].reduce((sum, count) => sum + count, 0),
    release: () => {
      held.resolve();
      held = Promise.withResolvers();
    },
  };
}

/** null: the connection broke before the question was whole, so no provider would have worked on it. */
async function readAsk(incoming: IncomingMessage): Promise<Ask | null> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
  } catch {
    return null;
  }
  const body = JSON.parse(Buffer.concat(chunks).toString()) as {
    model: string;
    stream?: boolean;
    stream_options?: { include_usage?: boolean };
  };
  const [behaviour = '', marker = ''] = body.model.split('@');
  return {
    behaviour: behaviour.split('-'),
    marker,
    key: marker.split('.')[0] ?? '',
    isStream: body.stream === true,
    wantsUsage: body.stream_options?.include_usage === true,
  };
}

async function answer(attempt: Attempt, untilReleased: () => Promise<void>): Promise<void> {
  const [name, first = '0', second = '0'] = attempt.ask.behaviour;
  if (name === 'hang') return;
  if (name === 'hold') await untilReleased();
  if (name === 'ok') await delay(Number(first));
  if (name === 'stream' || name === 'reset') {
    await stream(attempt, { tokens: Number(first), tokensPerSecond: Number(second) });
    return;
  }
  if (attempt.ask.isStream) await stream(attempt, { tokens: 3, tokensPerSecond: 1000 });
  else complete(attempt);
}

function complete({ ask, line, response, end }: Attempt): void {
  if (line.ended !== 'open') return;
  line.tokens = 3;
  // Before the last byte leaves: once it has, the gateway may send the next request of this key.
  end('complete');
  const message = { role: 'assistant', content: 'a b c', refusal: null };
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(
    JSON.stringify({
      ...shape(ask, 'chat.completion'),
      choices: [{ index: 0, message, logprobs: null, finish_reason: 'stop' }],
      usage: usageOf(line),
    }),
  );
}

async function stream(attempt: Attempt, pace: { tokens: number; tokensPerSecond: number }): Promise<void> {
  const { ask, line, response, end } = attempt;
  const send = (choices: readonly object[], more: object = {}): void => {
    response.write(`data: ${JSON.stringify({ ...shape(ask, 'chat.completion.chunk'), choices, ...more })}\n\n`);
  };
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  send([{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }]);
  for (let sent = 0; sent < pace.tokens; sent += 1) {
    await delay(1000 / pace.tokensPerSecond);
    if (line.ended !== 'open') return;
    line.tokens += 1;
    send([{ index: 0, delta: { content: 'word' }, finish_reason: null }]);
  }
  if (ask.behaviour[0] === 'reset') {
    end('reset');
    response.socket?.resetAndDestroy();
    return;
  }
  send([{ index: 0, delta: {}, finish_reason: 'stop' }]);
  if (ask.wantsUsage) send([], { usage: usageOf(line) });
  end('complete');
  response.end('data: [DONE]\n\n');
}

const shape = (ask: Ask, object: string): object => ({
  id: `chatcmpl-${ask.marker}`,
  object,
  created: 1_700_000_000,
  model: 'mock',
});

const usageOf = ({ tokens }: LedgerLine): object => ({
  prompt_tokens: promptTokens,
  completion_tokens: tokens,
  total_tokens: promptTokens + tokens,
});
