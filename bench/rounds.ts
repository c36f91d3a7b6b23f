/** From raw rounds to figures: which rounds count, and medians of per-round ratios. Pure. Spec: performance 5.1. */
import type { StreamRound, UnaryRound } from './record.ts';
import { quantile, summarize, type Summary } from './statistics.ts';

export const witness = 'direct';
export const floor = 'bare-dispatch';

export type Verdict = {
  kept: readonly number[];
  dropped: readonly { round: number; reason: string }[];
  /** No round passed, so every round is used and the figures only indicate. */
  isIndicative: boolean;
};

const witnessDrift = 0.05;
const rigLimit = 0.85;
const mockBound = 0.9;
const foreignLimit = 0.05;

const requestsPerSecond = (row: UnaryRound): number => (row.requests * 1e6) / row.durationUs;

function witnessComplaint(row: UnaryRound, medianRate: number, medianP99Us: number): string | null {
  const drift = requestsPerSecond(row) / medianRate - 1;
  if (Math.abs(drift) > witnessDrift) return `direct moved ${(drift * 100).toFixed(1)} %`;
  if (row.p99Us > medianP99Us * 2) return `direct p99 went from ${medianP99Us} to ${row.p99Us} us`;
  return null;
}

/** A subject that is wrong in most of its rounds is broken, not noisy: it must not take everyone's rounds with it. */
function brokenSubjects(rows: readonly UnaryRound[]): Set<string> {
  const subjects = new Set(rows.map(({ subject }) => subject));
  return new Set(
    [...subjects].filter((subject) => {
      const own = rows.filter((row) => row.subject === subject);
      return own.filter(({ badReplies }) => badReplies > 0).length * 2 > own.length;
    }),
  );
}

/** Rows of one body size. Drops a round when `direct` moves by more than 5 %, its p99 doubles, or a reply is wrong. */
export function judgeRounds(rows: readonly UnaryRound[]): Verdict {
  const witnesses = rows.filter(({ subject }) => subject === witness);
  const medianRate = quantile(witnesses.map(requestsPerSecond), 0.5);
  const medianP99Us = quantile(
    witnesses.map(({ p99Us }) => p99Us),
    0.5,
  );
  const broken = brokenSubjects(rows);
  const numbers = [...new Set(rows.map(({ round }) => round))].sort((left, right) => left - right);
  const dropped = numbers.flatMap((round) => {
    const own = rows.filter((row) => row.round === round);
    const wrong = own.find(({ badReplies, subject }) => badReplies > 0 && !broken.has(subject));
    const witnessRow = own.find(({ subject }) => subject === witness);
    const reason =
      wrong === undefined
        ? witnessRow && witnessComplaint(witnessRow, medianRate, medianP99Us)
        : `${wrong.subject} gave ${wrong.badReplies} wrong replies`;
    return reason === null || reason === undefined ? [] : [{ round, reason }];
  });
  const kept = numbers.filter((number) => !dropped.some(({ round }) => round === number));
  return kept.length === 0 ? { kept: numbers, dropped, isIndicative: true } : { kept, dropped, isIndicative: false };
}

export type UnaryFigures = {
  cpuUs: Summary | null;
  /** Against P, round by round. */
  ratio: Summary | null;
  requestsPerSecond: Summary | null;
  p50Us: Summary | null;
  p99Us: Summary | null;
  /**
   * `rig-limited`: the load's core was above 85 %; `mock-bound`: within 10 % of the mock's own ceiling; and how much of
   * the subject's core went to strangers, when that is enough to matter.
   */
  marks: readonly string[];
  badReplies: number;
};

type CpuRow = { round: number; subject: string; cpuUs: number | null };

/** The subject's cost per unit, divided by the base's in the same round; rounds without both sides are left out. */
export function perRoundRatios<Row extends CpuRow>(
  rows: readonly Row[],
  { subject, base, value }: { subject: string; base: string; value: (row: Row) => number | null },
): number[] {
  return rows
    .filter((row) => row.subject === subject)
    .flatMap((row) => {
      const other = rows.find((candidate) => candidate.subject === base && candidate.round === row.round);
      const own = value(row);
      const divisor = other === undefined ? null : value(other);
      return own === null || divisor === null || divisor === 0 ? [] : [own / divisor];
    });
}

export const cpuPerRequest = (row: UnaryRound): number | null =>
  row.cpuUs === null || row.requests === 0 ? null : row.cpuUs / row.requests;

export const cpuPerEvent = (row: StreamRound): number | null =>
  row.cpuUs === null || row.events === 0 ? null : row.cpuUs / row.events;

const present = (value: number | null): value is number => value !== null;

/** Of the rounds that count, for one subject and one body size. */
export function unaryFigures(rows: readonly UnaryRound[], subject: string): UnaryFigures {
  const own = rows.filter((row) => row.subject === subject);
  const ceilings = new Map(
    rows.filter((row) => row.subject === witness).map((row) => [row.round, requestsPerSecond(row)]),
  );
  const isBound = own.some((row) => requestsPerSecond(row) >= (ceilings.get(row.round) ?? Infinity) * mockBound);
  const loadBusy = quantile(own.map(({ loadCoreBusy }) => loadCoreBusy).filter(present), 0.5);
  const foreign = quantile(own.map(({ foreignShare }) => foreignShare).filter(present), 0.5);
  return {
    cpuUs: summarize(own.map(cpuPerRequest).filter(present)),
    ratio: summarize(perRoundRatios(rows, { subject, base: floor, value: cpuPerRequest })),
    requestsPerSecond: summarize(own.map(requestsPerSecond)),
    p50Us: summarize(own.map(({ p50Us }) => p50Us)),
    p99Us: summarize(own.map(({ p99Us }) => p99Us)),
    marks: [
      ...(loadBusy > rigLimit ? ['rig-limited'] : []),
      ...(isBound && subject !== witness ? ['mock-bound'] : []),
      ...(foreign > foreignLimit && subject !== witness
        ? [`${Math.round(foreign * 100)} % of its core to others`]
        : []),
    ],
    badReplies: own.reduce((sum, { badReplies }) => sum + badReplies, 0),
  };
}

/** Rows of one body size, without the rounds that were dropped. */
export function countedRows(rows: readonly UnaryRound[], bodyBytes: number): readonly UnaryRound[] {
  const sized = rows.filter((row) => row.bodyBytes === bodyBytes);
  const { kept } = judgeRounds(sized);
  return sized.filter(({ round }) => kept.includes(round));
}

export type StreamFigures = {
  cpuUsPerEvent: Summary | null;
  ratio: Summary | null;
  ttftP50Us: Summary | null;
  gapP99Us: Summary | null;
};

export function streamFigures(rows: readonly StreamRound[], subject: string): StreamFigures {
  const good = rows.filter(({ badReplies }) => badReplies === 0);
  const own = good.filter((row) => row.subject === subject);
  return {
    cpuUsPerEvent: summarize(own.map(cpuPerEvent).filter(present)),
    ratio: summarize(perRoundRatios(good, { subject, base: floor, value: cpuPerEvent })),
    ttftP50Us: summarize(own.map(({ ttftP50Us }) => ttftP50Us)),
    gapP99Us: summarize(own.map(({ gapP99Us }) => gapP99Us)),
  };
}
