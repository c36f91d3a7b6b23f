/**
 * The numbered measures M1 to M17 and what they are held against: gate, goal and moonshot are ratios inside one run,
 * or absolute where the specification says so. An empty value says why. Pure. Spec: performance 6.
 */
import type { BenchRecord, LatencyRun } from './record.ts';
import { countedRows, cpuPerEvent, cpuPerRequest, perRoundRatios, streamFigures, unaryFigures } from './rounds.ts';
import { slope, summarize } from './statistics.ts';

export type Figure = {
  id: string;
  metric: string;
  value: number | null;
  unit: string;
  /** Thresholds: gate, goal, moonshot. Empty: only shown. */
  marks: readonly number[];
  better: 'lower' | 'higher';
  /** Why there is no value. */
  missing: string;
};

const governed = 'tollgate-governed';
const plain = 'tollgate-plain';
const floor = 'bare-dispatch';
const peer = 'portkey';
const notMeasured = 'not measured in this run';

type Wanted = Pick<Figure, 'id' | 'metric' | 'value' | 'marks'> & Partial<Figure>;

const figure = (wanted: Wanted): Figure => ({
  unit: '',
  better: 'lower',
  missing: notMeasured,
  ...wanted,
});

const median = (values: readonly number[]): number | null => summarize(values)?.median ?? null;

function ratio(numerator: number | null | undefined, denominator: number | null | undefined): number | null {
  return numerator === null || numerator === undefined || !denominator ? null : numerator / denominator;
}

function minus(left: number | null | undefined, right: number | null | undefined): number | null {
  return left === null || left === undefined || right === null || right === undefined ? null : left - right;
}

function medianOf(runs: readonly LatencyRun[], subject: string, read: (run: LatencyRun) => number): number | null {
  return median(runs.filter((run) => run.subject === subject).map(read));
}

function unaryTargets(record: BenchRecord): Figure[] {
  const rows = countedRows(record.unary, smallestBody(record));
  const against = (base: string): number | null =>
    median(perRoundRatios(rows, { subject: governed, base, value: cpuPerRequest }));
  const own = unaryFigures(rows, governed);
  const bare = unaryFigures(rows, plain);
  const rate = own.requestsPerSecond?.median;
  const missingPlain = reason(record, plain, 'unary');
  const missingPeer = reason(record, peer, 'unary');
  return [
    figure({ id: 'M1', metric: 'CPU per request, governed / P', value: against(floor), marks: [2.1, 1.75, 1.55] }),
    figure({
      id: 'M2',
      metric: 'CPU per request, governed / K',
      value: against(peer),
      marks: [0.14, 0.125, 0.1],
      missing: missingPeer,
    }),
    figure({
      id: 'M3',
      metric: 'governance tax: share of throughput',
      value: minus(1, ratio(rate, bare.requestsPerSecond?.median)),
      marks: [0.4, 0.3, 0.2],
      missing: missingPlain,
    }),
    figure({
      id: 'M3',
      metric: 'governance tax: CPU per request',
      value: minus(own.cpuUs?.median, bare.cpuUs?.median),
      unit: 'us',
      marks: [35, 22, 15],
      missing: missingPlain,
    }),
    figure({
      id: 'M4',
      metric: 'maximum requests/s, governed / K',
      value: ratio(rate, unaryFigures(rows, peer).requestsPerSecond?.median),
      marks: [7, 8, 10],
      better: 'higher',
      missing: missingPeer,
    }),
    figure({ id: 'M5', metric: 'CPU per request, governed / N', value: against('nginx'), marks: [5, 4.2, 3.7] }),
  ];
}

function latencyTargets(record: BenchRecord): Figure[] {
  const added = (runs: readonly LatencyRun[], subject: string, read: (run: LatencyRun) => number): number | null =>
    minus(medianOf(runs, subject, read), medianOf(runs, 'direct', read));
  const p50 = ({ p50Us }: LatencyRun): number => p50Us;
  const p99 = ({ p99Us }: LatencyRun): number => p99Us;
  const own = added(record.latency, governed, p50);
  return [
    figure({ id: 'M6', metric: 'added latency p50, one connection', value: own, unit: 'us', marks: [500, 350, 250] }),
    figure({
      id: 'M6',
      metric: 'the same, governed / P',
      value: ratio(own, added(record.latency, floor, p50)),
      marks: [3, 2.2, 1.8],
    }),
    figure({
      id: 'M7',
      metric: 'added p99 at half of our maximum rate, governed / P',
      value: ratio(added(record.fixedRate, governed, p99), added(record.fixedRate, floor, p99)),
      marks: [2.5, 2, 1.5],
    }),
  ];
}

function streamTargets(record: BenchRecord): Figure[] {
  const [own, bare, none] = [governed, floor, 'direct'].map((subject) => streamFigures(record.streams, subject));
  const addedTtft = minus(own?.ttftP50Us?.median, none?.ttftP50Us?.median);
  const against = (base: string): number | null =>
    median(perRoundRatios(record.streams, { subject: governed, base, value: cpuPerEvent }));
  const bytesOf = (id: string): number | null => record.subjects.find((row) => row.id === id)?.idleStreamBytes ?? null;
  return [
    figure({ id: 'M8', metric: 'added time to first token p50', value: addedTtft, unit: 'us', marks: [600, 400, 300] }),
    figure({
      id: 'M8',
      metric: 'the same, governed / P',
      value: ratio(addedTtft, minus(bare?.ttftP50Us?.median, none?.ttftP50Us?.median)),
      marks: [3, 2.2, 1.8],
    }),
    figure({
      id: 'M9',
      metric: 'added gap between events p99',
      value: minus(own?.gapP99Us?.median, none?.gapP99Us?.median),
      unit: 'us',
      marks: [50, 30, 15],
    }),
    figure({ id: 'M10', metric: 'CPU per event, governed / P', value: against(floor), marks: [1.15, 1, 0.92] }),
    figure({ id: 'M10', metric: 'CPU per event, governed / N', value: against('nginx'), marks: [2.3, 2.1, 1.9] }),
    figure({
      id: 'M12',
      metric: 'memory per idle open stream',
      value: ratio(bytesOf(governed), 1e3),
      unit: 'KB',
      marks: [40, 30, 20],
    }),
    figure({
      id: 'M12',
      metric: 'the same, governed / P',
      value: ratio(bytesOf(governed), bytesOf(floor)),
      marks: [1.5, 1.3, 1.1],
    }),
  ];
}

/** CPU microseconds per further KB of request body, from about 4 KB up. */
export function bodySlope(record: BenchRecord, subject: string): number | null {
  const sizes = [...new Set(record.unary.map(({ bodyBytes }) => bodyBytes))].filter((bytes) => bytes >= 3_000);
  const points = sizes.flatMap((bytes) => {
    const y = unaryFigures(countedRows(record.unary, bytes), subject).cpuUs?.median;
    return y === undefined ? [] : [{ x: bytes / 1000, y }];
  });
  return slope(points);
}

function backingTargets(record: BenchRecord): Figure[] {
  const rows = countedRows(record.unary, smallestBody(record)).filter(({ subject }) => subject === governed);
  const perRequest = (name: string): number | null =>
    median(rows.flatMap(({ backing, requests }) => (backing[name] === undefined ? [] : [backing[name] / requests])));
  const noRedis = 'limits were kept in the process, without Redis';
  const noPostgres = 'Postgres runs where its CPU cannot be read';
  return [
    figure({
      id: 'M13',
      metric: 'Redis script calls per request, 64 connections',
      value: perRequest('redisScriptCalls'),
      marks: [0.15, 0.08, 0.04],
      missing: noRedis,
    }),
    figure({
      id: 'M13',
      metric: 'Redis CPU per request',
      value: perRequest('redisCpuUs'),
      unit: 'us',
      marks: [45, 30, 20],
      missing: noRedis,
    }),
    figure({
      id: 'M15',
      metric: 'Postgres CPU per row',
      value: perRequest('postgresCpuUs'),
      unit: 'us',
      marks: [60, 40, 20],
      missing: noPostgres,
    }),
  ];
}

function otherTargets(record: BenchRecord): Figure[] {
  const small = unaryFigures(countedRows(record.unary, smallestBody(record)), governed).cpuUs?.median;
  const flood = record.badKey.find(({ subject }) => subject === governed);
  const starts = (storage: string): number | null =>
    median(
      record.starts
        .filter((run) => run.subject === governed && run.storage === storage)
        .map((run) => run.firstReplyMs / 1000),
    );
  const idle = (storage: string): number | null =>
    median(
      record.starts
        .filter((run) => run.subject === governed && run.storage === storage)
        .map((run) => run.idleBytes / 1e6),
    );
  return [
    figure({
      id: 'M11',
      metric: 'CPU per KB of body, governed / P',
      value: ratio(bodySlope(record, governed), bodySlope(record, floor)),
      marks: [1.6, 1.35, 1.15],
    }),
    figure({
      id: 'M16',
      metric: 'CPU per 401 / CPU per governed success',
      value: ratio(flood && flood.cpuUs / flood.requests, small),
      marks: [0.4, 0.35, 0.25],
    }),
    figure({
      id: 'M17',
      metric: 'idle memory, with databases',
      value: idle('databases'),
      unit: 'MB',
      marks: [110, 90, 70],
    }),
    figure({
      id: 'M17',
      metric: 'cold start to first 200, with databases',
      value: starts('databases'),
      unit: 's',
      marks: [1.5, 1, 0.5],
    }),
    figure({ id: 'M17', metric: 'idle memory, embedded', value: idle('embedded'), unit: 'MB', marks: [400, 300, 200] }),
    figure({
      id: 'M17',
      metric: 'cold start to first 200, embedded',
      value: starts('embedded'),
      unit: 's',
      marks: [5, 3, 2],
    }),
  ];
}

/** Why a subject has no figure. */
function reason(record: BenchRecord, id: string, side: 'unary' | 'streams'): string {
  const subject = record.subjects.find((row) => row.id === id);
  return subject === undefined ? 'not asked for' : (subject[side] ?? notMeasured);
}

export function smallestBody(record: BenchRecord): number {
  return Math.min(...record.unary.map(({ bodyBytes }) => bodyBytes));
}

/** Our own failure explains an empty cell better than anything that follows from it. */
function explained(figures: readonly Figure[], failure: string): Figure[] {
  return figures.map((row) => (row.value === null && failure !== notMeasured ? { ...row, missing: failure } : row));
}

/** A smoke run shows that these can be had; it is too short for the others. */
const smokeIds = ['M1', 'M3', 'M10', 'M13'];

/** In the order of the specification. */
export function targetFigures(record: BenchRecord): Figure[] {
  const unaryFailure = reason(record, governed, 'unary');
  const requests = [
    ...unaryTargets(record),
    ...latencyTargets(record),
    ...backingTargets(record),
    ...otherTargets(record),
  ];
  const figures = [
    ...explained(requests, unaryFailure),
    ...explained(streamTargets(record), reason(record, governed, 'streams')),
    figure({
      id: 'M14',
      metric: 'over-admission',
      value: null,
      marks: [],
      missing: 'a property that the tests prove, not the benchmark',
    }),
  ];
  const number = ({ id }: Figure): number => Number(id.slice(1));
  return figures
    .filter(({ id }) => record.kind === 'full' || smokeIds.includes(id))
    .sort((left, right) => number(left) - number(right));
}

export function verdictOf({ value, marks, better }: Figure): string {
  if (value === null || marks.length === 0) return '';
  const isMet = (mark: number | undefined): boolean =>
    mark !== undefined && (better === 'lower' ? value <= mark : value >= mark);
  const [gate, goal, moonshot] = marks;
  if (isMet(moonshot)) return 'moonshot';
  if (isMet(goal)) return 'goal';
  return isMet(gate) ? 'gate' : 'below the gate';
}
