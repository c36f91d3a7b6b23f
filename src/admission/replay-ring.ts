/**
 * Remembers the settlements of the last minute, so that those a server lost with its last writes can be sent again.
 * A settlement that was not lost answers DUP, which costs nothing. Must stay within its bytes: the oldest go first.
 * Spec: reliability 2.4, replay ring.
 */
import type { TickBatcher } from './tick-batcher.ts';
import type { TickOperation } from './tick-operations.ts';

export type SettledOperation = { batcher: TickBatcher; operation: TickOperation };

export type ReplayRingOptions = { nowMs: () => number; keepMs?: number; keepCharacters?: number };

export interface ReplayRing {
  remember(settled: SettledOperation): void;
  /** Sends again what went through `from`, by way of `through`. False when the server stopped answering. */
  replay(from: TickBatcher, through: TickBatcher): Promise<boolean>;
  size(): number;
}

type Entry = SettledOperation & { atMs: number; characters: number };

const operationsPerStep = 256;

export function createReplayRing(options: ReplayRingOptions): ReplayRing {
  const { nowMs, keepMs = 60_000, keepCharacters = 32 * 1024 * 1024 } = options;
  let entries: Entry[] = [];
  let first = 0;
  let characters = 0;

  function remember({ batcher, operation }: SettledOperation): void {
    let own = 0;
    for (const argument of operation.args) own += argument.length;
    characters += own;
    entries.push({ batcher, operation, atMs: nowMs(), characters: own });
    forgetOld();
  }

  function forgetOld(): void {
    const oldestMs = nowMs() - keepMs;
    for (let entry = entries[first]; entry !== undefined; entry = entries[first]) {
      if (entry.atMs >= oldestMs && characters <= keepCharacters) break;
      characters -= entry.characters;
      first += 1;
    }
    if (first < 1024 || first < entries.length / 2) return;
    entries = entries.slice(first);
    first = 0;
  }

  async function replay(from: TickBatcher, through: TickBatcher): Promise<boolean> {
    const wanted = entries.slice(first).filter(({ batcher }) => batcher === from);
    for (let start = 0; start < wanted.length; start += operationsPerStep) {
      const step = wanted.slice(start, start + operationsPerStep);
      const replies = await Promise.all(step.map(({ operation }) => through.submit(operation)));
      if (replies.some(({ kind }) => kind === 'unsent' || kind === 'ambiguous')) return false;
    }
    return true;
  }

  return { remember, replay, size: () => entries.length - first };
}
