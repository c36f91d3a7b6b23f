/** The record of one run: everything that was measured, round by round, so that every figure can be worked out again. */
import type { Backing } from './subjects/subject.ts';

export type UnaryRound = {
  round: number;
  subject: string;
  bodyBytes: number;
  connections: number;
  requests: number;
  durationUs: number;
  /** Of the subject's process tree; null for `direct`, which has none. */
  cpuUs: number | null;
  p50Us: number;
  p99Us: number;
  /** Replies that were not 2xx, socket errors, and failed checks of the whole reply before and after. */
  badReplies: number;
  /** Share of the time that the load's core was busy. */
  loadCoreBusy: number | null;
  /** Share of the subject's core that went to anything but the subject. */
  foreignShare: number | null;
  /** What databases spent on these requests, by name. */
  backing: Backing;
};

export type LatencyRun = { subject: string; repeat: number; p50Us: number; p99Us: number; requestsPerSecond: number };

export type StreamRound = {
  round: number;
  subject: string;
  streams: number;
  gapMs: number;
  events: number;
  cpuUs: number | null;
  badReplies: number;
  ttftP50Us: number;
  ttftP99Us: number;
  gapP50Us: number;
  gapP99Us: number;
};

export type StartRun = { subject: string; storage: 'databases' | 'embedded'; firstReplyMs: number; idleBytes: number };

export type SubjectRecord = {
  id: string;
  title: string;
  /** Why there is nothing to measure: `not built yet`, `fails: …`; null when it ran. */
  unary: string | null;
  streams: string | null;
  /** Do the caller's bytes arrive as the upstream sent them, or only the same content? */
  fidelity: 'bytes' | 'content' | null;
  idleBytes: number | null;
  loadedBytes: number | null;
  idleStreamBytes: number | null;
  firstReplyMs: number | null;
  notes: readonly string[];
};

/** Requests sent one by one, how many were answered with 200, and how many rows the ledger gained. */
export type GovernedCheck = { subject: string; asked: number; answered: number; rows: number };

/** Every answer has its row. One that was refused late (a limit store that did not answer in time) may leave a void row more. */
export function ledgerHolds({ asked, answered, rows }: GovernedCheck): boolean {
  return rows >= answered && rows <= asked;
}

export type BadKeyRun = { subject: string; requests: number; cpuUs: number };

export type MachineRecord = {
  cpuModel: string;
  cores: number;
  memoryBytes: number;
  kernel: string;
  node: string;
  tools: Readonly<Record<string, string>>;
  subjectCore: number | null;
  loadCore: number | null;
};

export type BenchRecord = {
  format: 1;
  date: string;
  commit: string;
  isDirty: boolean;
  kind: 'smoke' | 'full';
  rounds: number;
  seconds: number;
  connections: number;
  machine: MachineRecord;
  subjects: readonly SubjectRecord[];
  unary: readonly UnaryRound[];
  latency: readonly LatencyRun[];
  fixedRate: readonly LatencyRun[];
  streams: readonly StreamRound[];
  starts: readonly StartRun[];
  governed: readonly GovernedCheck[];
  badKey: readonly BadKeyRun[];
};
