/**
 * Seeded clients. Each request carries a marker of its own in the model's name, so that what a client saw, what the
 * provider did and what the ledger says of it can be laid side by side. A failure is something to write down, never to throw.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import { Agent, request } from 'undici';
import { seededRandom } from '../support/byte-feedings.ts';

export type Answer = {
  marker: string;
  gateway: string;
  /** 0: the connection broke before a status came. */
  status: number;
  code: string | null;
  headers: Readonly<Record<string, string>>;
  /** The whole reply came, and for a stream its end marker. */
  isComplete: boolean;
  /** The stream told of a failure in band. */
  hasErrorFrame: boolean;
  startedAtMs: number;
  endedAtMs: number;
};

export type Call = {
  token: string;
  marker: string;
  behaviour: string;
  stream?: boolean;
  body?: object;
  /** The client leaves then, whatever it has by that time. */
  abortAfterMs?: number;
};

export type Driver = {
  call: (gateway: string, call: Call) => Promise<Answer>;
  /** As every SDK does: a 503 is asked again, as a request of its own, until the limits have answered. */
  callUntilDecided: (gateway: string, call: Omit<Call, 'marker'> & { key: string }) => Promise<Answer>;
  /** Everything that was called, in the order of its answers. */
  log: readonly Answer[];
  /** The next marker of this key. */
  nextMarker: (key: string) => string;
  close: () => Promise<void>;
};

export function createDriver(): Driver {
  const agent = new Agent({ connections: 500, headersTimeout: 120_000, bodyTimeout: 120_000 });
  const log: Answer[] = [];
  // Of equal length, so that all requests of a test cost the same.
  let calls = 100_000;
  const nextMarker = (key: string): string => `${key}.${(calls += 1)}`;

  async function call(gateway: string, wanted: Call): Promise<Answer> {
    const answer: Answer = { ...(await ask(agent, gateway, wanted)), endedAtMs: Date.now() };
    log.push(answer);
    return answer;
  }

  return {
    log,
    nextMarker,
    call,
    async callUntilDecided(gateway, { key, ...wanted }) {
      for (;;) {
        const answer = await call(gateway, { ...wanted, marker: nextMarker(key) });
        if (answer.code !== 'limits_unavailable') return answer;
        await delay(200);
      }
    },
    close: () => agent.destroy(),
  };
}

export function chatBody(call: Call): string {
  const messages = [{ role: 'user', content: 'Hello' }];
  return JSON.stringify({
    model: `openai/${call.behaviour}@${call.marker}`,
    stream: call.stream === true,
    messages,
    ...call.body,
  });
}

async function ask(agent: Agent, gateway: string, call: Call): Promise<Omit<Answer, 'endedAtMs'>> {
  const answer = {
    marker: call.marker,
    gateway,
    status: 0,
    code: null,
    headers: {},
    isComplete: false,
    hasErrorFrame: false,
    startedAtMs: Date.now(),
  };
  let status = 0;
  try {
    const reply = await request(`${gateway}/v1/chat/completions`, {
      dispatcher: agent,
      method: 'POST',
      headers: { authorization: `Bearer ${call.token}`, 'content-type': 'application/json' },
      body: chatBody(call),
      ...(call.abortAfterMs === undefined ? {} : { signal: AbortSignal.timeout(call.abortAfterMs) }),
    });
    status = reply.statusCode;
    const text = await reply.body.text();
    const isStream = status === 200 && call.stream === true;
    return {
      ...answer,
      status,
      headers: Object.fromEntries(Object.entries(reply.headers).map(([name, value]) => [name, String(value)])),
      code: status === 200 ? null : codeOf(text),
      isComplete: isStream ? text.endsWith('data: [DONE]\n\n') : status === 200,
      hasErrorFrame: isStream && text.includes('data: {"error"'),
    };
  } catch {
    return { ...answer, status };
  }
}

function codeOf(text: string): string | null {
  try {
    const body = JSON.parse(text) as { error?: { code?: string | null } };
    return body.error?.code ?? null;
  } catch {
    return `no JSON: ${text.slice(0, 80)}`;
  }
}

export type Load = {
  driver: Driver;
  seed: number;
  clients: number;
  /** Asked at each call: gateways come and go. */
  gateways: () => readonly string[];
  keys: readonly { name: string; token: string }[];
  behaviours: readonly { behaviour: string; stream: boolean }[];
  pauseMs?: number;
  /** Of all calls, those that are abandoned within half a second, and those with a body that is none. */
  abortShare?: number;
  invalidShare?: number;
};

/**
 * Closed-loop clients that call until they are told to stop; resolves when their last answers are in. A test that fails
 * before it stops them does not leave them to the next one.
 */
export function startLoad(t: Test, load: Load): { stop: () => Promise<void> } {
  const random = seededRandom(load.seed);
  const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(random() * items.length)];
  const stopping = new AbortController();

  function pickFate(): Pick<Call, 'abortAfterMs' | 'body'> {
    const { abortShare = 0, invalidShare = 0 } = load;
    const fate = random();
    if (fate < abortShare) return { abortAfterMs: 1 + Math.floor(random() * 500) };
    return fate < abortShare + invalidShare ? { body: { messages: 'none' } } : {};
  }

  async function runClient(): Promise<void> {
    while (!stopping.signal.aborted) {
      const gateway = pick(load.gateways());
      const key = pick(load.keys);
      const kind = pick(load.behaviours);
      if (gateway !== undefined && key !== undefined && kind !== undefined) {
        const { token, name } = key;
        await load.driver.call(gateway, { token, marker: load.driver.nextMarker(name), ...kind, ...pickFate() });
      }
      await new Promise((resolve) => setTimeout(resolve, load.pauseMs ?? 5));
    }
  }

  const clients = Array.from({ length: load.clients }, runClient);
  async function stop(): Promise<void> {
    stopping.abort();
    await Promise.all(clients);
  }
  t.teardown(stop);
  return { stop };
}

export const isSoak = (): boolean => process.env['TOLLGATE_SOAK'] === '1';

let seedOfRun: number | null = null;

/** One for the whole file, the same again with TOLLGATE_FAULT_SEED; the long form takes another one each time. */
export function faultSeed(): number {
  seedOfRun ??= chooseSeed();
  return seedOfRun;
}

function chooseSeed(): number {
  const given = Number(process.env['TOLLGATE_FAULT_SEED'] ?? '');
  if (given > 0) return given;
  return isSoak() ? 1 + Math.floor(Math.random() * 1_000_000) : 62_063;
}
