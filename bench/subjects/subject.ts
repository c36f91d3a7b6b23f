/** What the benchmark knows of a thing under test. Adding a peer is one file with one of these, and a line in index.ts. */
import type { Processes } from '../processes.ts';

export type Purpose = {
  /** Port of the mock upstream on 127.0.0.1; it answers below `/v1`. */
  upstreamPort: number;
  /** `embedded`: no outside database, where the subject has such a mode. */
  storage: 'databases' | 'embedded';
};

export type SubjectEnvironment = {
  processes: Processes;
  /** Where the subject is pinned; null on a machine with one core. */
  core: number | null;
  /** Where everything else runs. */
  loadCore: number | null;
  scratchDirectory: string;
  say: (message: string) => void;
  /** Undone at the end of the run, however it ends: databases, servers. */
  onEnd: (undo: () => Promise<void>) => void;
};

/** CPU that the subject causes in other processes, and other counters, since they began. */
export type Backing = Readonly<Record<string, number>>;

export type RunningSubject = {
  port: number;
  headers: Readonly<Record<string, string>>;
  /** Roots of the process trees to count; empty when nothing of the subject runs (direct). */
  pids: readonly number[];
  /** From the start of the process to the first 200. */
  firstReplyMs: number | null;
  /** What was on in this run, in words for the report. */
  notes: readonly string[];
  backing?(): Promise<Backing>;
  /** Rows in the ledger, where there is one. */
  ledgerRows?(): Promise<number>;
  stop(): Promise<void>;
};

export type Subject = {
  id: string;
  title: string;
  /** Has an embedded mode, measured for cold start and memory. */
  hasEmbeddedMode: boolean;
  /** null when it cannot exist here; the text goes into the table. Anything it throws is reported as `fails`. */
  start(environment: SubjectEnvironment, purpose: Purpose): Promise<RunningSubject | { unavailable: string }>;
};
