/** What every measurement needs: the cores, the clock of the kernel, a scratch folder, and a way to say what goes on. */
import type { CpuReader } from './process-cpu.ts';
import type { Processes } from './processes.ts';
import type { RunningSubject, Subject } from './subjects/subject.ts';

export type Rig = {
  processes: Processes;
  cpu: CpuReader;
  /** null on a machine with one core: nothing is pinned there. */
  subjectCore: number | null;
  loadCore: number | null;
  scratchDirectory: string;
  /** Pause before a reading, so that what a request leaves behind (a row, a log line) is inside its own round. */
  settleMs: number;
  random: () => number;
  say: (message: string) => void;
  /** Undone at the end of the run, however it ends. */
  onEnd: (undo: () => Promise<void>) => void;
};

/** A subject on its way through the run; `failure` takes it out of everything that follows. */
export type Entrant = {
  subject: Subject;
  running: RunningSubject | null;
  failure: string | null;
  fidelity: 'bytes' | 'content' | null;
  /** Why a measurement of it was lost; the next one is tried all the same. */
  lastProblem: string | null;
};

export type LiveEntrant = Entrant & { running: RunningSubject };

export function isLive(entrant: Entrant): entrant is LiveEntrant {
  return entrant.running !== null && entrant.failure === null;
}

export function liveOnes(entrants: readonly Entrant[]): LiveEntrant[] {
  return entrants.filter((entrant) => isLive(entrant));
}

export function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replaceAll(/\s+/g, ' ').slice(0, 400);
}

/** Runs one measurement of a subject. What it throws costs that subject this measurement, and nobody else anything. */
export async function attempt(rig: Rig, entrant: LiveEntrant, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    entrant.lastProblem = `fails: ${reasonOf(error)}`;
    rig.say(`${entrant.subject.id} ${entrant.lastProblem}`);
  }
}
