/** Where and on what a run was made: without it a figure means nothing. */
import { spawnSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import type { MachineRecord } from './record.ts';
import { toolVersions } from './tools.ts';

function git(args: readonly string[]): string {
  return spawnSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8' }).stdout?.trim() ?? '';
}

/** `isDirty`: files that are followed differ from the commit, the last record aside. */
export function readCommit(): { commit: string; isDirty: boolean } {
  return {
    commit: git(['rev-parse', '--short=12', 'HEAD']) || 'unknown',
    isDirty: git(['status', '--porcelain', '--untracked-files=no', ':/', ':!/bench/RESULTS.json']) !== '',
  };
}

export function readMachine(pinning: { subjectCore: number | null; loadCore: number | null }): MachineRecord {
  return {
    cpuModel: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    tools: toolVersions(),
    ...pinning,
  };
}
