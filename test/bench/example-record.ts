/** A record as a run would write it, with round numbers: P costs 40 us, ours 60, K 600. */
import type { BenchRecord, StreamRound, SubjectRecord, UnaryRound } from '../../bench/record.ts';

export function unaryRow(
  round: number,
  subject: string,
  cpuUsPerRequest: number | null,
  changes: Partial<UnaryRound> = {},
): UnaryRound {
  const requests = cpuUsPerRequest === null ? 60_000 : Math.round(1e6 / cpuUsPerRequest);
  return {
    round,
    subject,
    bodyBytes: 200,
    connections: 64,
    requests,
    durationUs: 1e6,
    cpuUs: cpuUsPerRequest === null ? null : cpuUsPerRequest * requests,
    p50Us: 1000,
    p99Us: 2000,
    badReplies: 0,
    loadCoreBusy: 0.5,
    foreignShare: 0,
    backing: {},
    ...changes,
  };
}

export function streamRow(round: number, subject: string, cpuUsPerEvent: number | null): StreamRound {
  const events = 10_000;
  return {
    round,
    subject,
    streams: 100,
    gapMs: 20,
    events,
    cpuUs: cpuUsPerEvent === null ? null : cpuUsPerEvent * events,
    badReplies: 0,
    ttftP50Us: cpuUsPerEvent === null ? 100 : 400,
    ttftP99Us: 900,
    gapP50Us: 20_000,
    gapP99Us: 20_100,
  };
}

export function subjectRow(id: string, changes: Partial<SubjectRecord> = {}): SubjectRecord {
  return {
    id,
    title: `title of ${id}`,
    unary: null,
    streams: null,
    fidelity: 'bytes',
    idleBytes: 90e6,
    loadedBytes: 120e6,
    idleStreamBytes: 20_000,
    firstReplyMs: 300,
    notes: [`note of ${id}`],
    ...changes,
  };
}

export function exampleRecord(changes: Partial<BenchRecord> = {}): BenchRecord {
  const costs = { direct: null, 'bare-dispatch': 40, 'tollgate-governed': 60, portkey: 600 };
  return {
    format: 1,
    date: '2026-01-02T03:04:05.678Z',
    commit: 'abcdef123456',
    isDirty: false,
    kind: 'full',
    rounds: 3,
    seconds: 1,
    connections: 64,
    machine: {
      cpuModel: 'Example CPU',
      cores: 2,
      memoryBytes: 8e9,
      kernel: '6.0',
      node: 'v26.10.0',
      tools: { wrk: '4.1.0' },
      subjectCore: 0,
      loadCore: 1,
    },
    subjects: [
      subjectRow('direct'),
      subjectRow('bare-dispatch'),
      subjectRow('tollgate-plain', { unary: 'not built yet', streams: 'not built yet' }),
      subjectRow('tollgate-governed'),
      subjectRow('portkey', { streams: 'fails: status 500 for a stream', fidelity: 'content' }),
    ],
    unary: [1, 2, 3].flatMap((round) => Object.entries(costs).map(([id, cost]) => unaryRow(round, id, cost))),
    latency: [],
    fixedRate: [],
    streams: [1, 2, 3].flatMap((round) => [
      streamRow(round, 'direct', null),
      streamRow(round, 'bare-dispatch', 30),
      streamRow(round, 'tollgate-governed', 33),
    ]),
    starts: [{ subject: 'tollgate-governed', storage: 'embedded', firstReplyMs: 2500, idleBytes: 250e6 }],
    governed: [{ subject: 'tollgate-governed', asked: 5000, answered: 5000, rows: 5000 }],
    badKey: [],
    ...changes,
  };
}
