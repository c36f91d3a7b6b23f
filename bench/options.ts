/** The command line of `npm run bench`, and what each kind of run does. */
import { parseArgs } from 'node:util';
import type { StreamPlan } from './stream-rounds.ts';

export type Options = {
  kind: 'smoke' | 'full';
  rounds: number;
  seconds: number;
  warmUpSeconds: number;
  /** Requests that each process answers before anything counts. */
  firstWarmUp: { requests: number; patienceSeconds: number };
  /** Further body sizes, with fewer and shorter rounds. */
  bodies: readonly number[];
  streams: StreamPlan;
  /** Latency, fixed rate, bad keys, idle streams, repeated starts. */
  isThorough: boolean;
  /** null: the choice of the kind of run. */
  only: readonly string[] | null;
  compares: boolean;
  jsonFile: string | null;
};

export const usage = `usage: npm run bench -- [options]

  --smoke        three short rounds in under a minute: shows that the benchmark works
  --rounds N     rounds of the unary comparison (7)
  --seconds N    seconds of each timed load (10)
  --only a,b     these subjects alone, with direct: nginx, bare-dispatch, portkey, tollgate-governed, tollgate-plain
  --compare      sets the run against the committed bench/RESULTS.json
  --json FILE    writes the record there as well (bench/RESULTS.json is the committed one)
  --help
`;

export const smallBodyBytes = 200;

const smoke = {
  kind: 'smoke',
  warmUpSeconds: 0,
  firstWarmUp: { requests: 12_000, patienceSeconds: 4 },
  bodies: [],
  streams: {
    rounds: 3,
    // As many events a second as in the full run, from streams that are half as long.
    streams: 50,
    shape: { gapMs: 10, deltas: 64 },
    burstSeconds: 1,
    warmUpMs: 800,
    windowMs: 1_200,
  },
  isThorough: false,
} as const;

const full = {
  kind: 'full',
  warmUpSeconds: 3,
  firstWarmUp: { requests: 20_000, patienceSeconds: 15 },
  bodies: [4_000, 32_000, 300_000],
  streams: {
    rounds: 5,
    streams: 100,
    shape: { gapMs: 20, deltas: 64 },
    burstSeconds: 5,
    warmUpMs: 2_000,
    windowMs: 6_000,
  },
  isThorough: true,
} as const;

function wholeNumber(text: string | undefined, name: string, fallback: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} wants a whole number from 1 up, not "${text}"`);
  return value;
}

/** null: help was asked for. Throws a sentence about a mistake. */
export function parseOptions(args: readonly string[]): Options | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      smoke: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      only: { type: 'string' },
      compare: { type: 'boolean', default: false },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  const kind = values.smoke ? smoke : full;
  const seconds = wholeNumber(values.seconds, 'seconds', values.smoke ? 1 : 10);
  return {
    ...kind,
    rounds: wholeNumber(values.rounds, 'rounds', values.smoke ? 3 : 7),
    seconds,
    warmUpSeconds: Math.min(kind.warmUpSeconds, seconds),
    only: values.only === undefined ? null : values.only.split(',').map((id) => id.trim()),
    compares: values.compare,
    jsonFile: values.json ?? null,
  };
}
