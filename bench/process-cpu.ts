/**
 * CPU and memory as the kernel counts them, from /proc. A subject is a whole process tree: threads are inside a
 * process's own line, live children are found by their parent, and children that were waited for sit in cutime.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';

export type ProcessTimes = { pid: number; parentPid: number; ticks: number };

export type CoreTimes = { busyTicks: number; totalTicks: number };

/** One line of /proc/<pid>/stat. The command name may hold spaces and brackets, so fields count from the last bracket. */
export function parseProcessStat(line: string): ProcessTimes | null {
  const open = line.indexOf('(');
  const close = line.lastIndexOf(')');
  if (open === -1 || close < open) return null;
  const fields = line.slice(close + 2).split(' ');
  const [parentPid, ...times] = [1, 11, 12, 13, 14].map((index) => Number(fields[index]));
  const pid = Number(line.slice(0, open));
  const ticks = times.reduce((sum, time) => sum + time, 0);
  if (parentPid === undefined || !Number.isFinite(pid + parentPid + ticks)) return null;
  return { pid, parentPid, ticks };
}

/** Ticks of the given roots and of all their living descendants. */
export function treeTicks(processes: readonly ProcessTimes[], roots: readonly number[]): number {
  const members = treeOf(processes, roots);
  return processes.reduce((sum, entry) => (members.has(entry.pid) ? sum + entry.ticks : sum), 0);
}

export function treeOf(processes: readonly ProcessTimes[], roots: readonly number[]): Set<number> {
  const members = new Set(roots);
  for (let size = -1; size !== members.size;) {
    size = members.size;
    for (const { pid, parentPid } of processes) if (members.has(parentPid)) members.add(pid);
  }
  return members;
}

/** The `cpuN` line of /proc/stat: user nice system idle iowait irq softirq steal. Steal counts as busy: it was taken from us. */
export function parseCoreTimes(text: string, core: number): CoreTimes | null {
  const line = text.split('\n').find((candidate) => candidate.startsWith(`cpu${core} `));
  if (line === undefined) return null;
  const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number);
  const totalTicks = ticks.reduce((sum, value) => sum + value, 0);
  return { totalTicks, busyTicks: totalTicks - (ticks[3] ?? 0) - (ticks[4] ?? 0) };
}

/** VmRSS of /proc/<pid>/status in bytes. */
export function parseResidentBytes(status: string): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // A process may end between the listing and the read; it then has no line.
    return '';
  }
}

function listProcesses(): ProcessTimes[] {
  return (existsSync('/proc') ? readdirSync('/proc') : [])
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => parseProcessStat(readOrEmpty(`/proc/${pid}/stat`)))
    .filter((entry) => entry !== null);
}

export type CpuReader = {
  /** CPU of the process trees under these roots since they began. */
  treeUs(roots: readonly number[]): number;
  residentBytes(roots: readonly number[]): number;
  core(core: number): CoreTimes | null;
};

export function createCpuReader(): CpuReader {
  const ticksPerSecond = Number(spawnSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }).stdout) || 100;
  return {
    treeUs: (roots) => (treeTicks(listProcesses(), roots) * 1e6) / ticksPerSecond,
    residentBytes: (roots) =>
      [...treeOf(listProcesses(), roots)].reduce(
        (sum, pid) => sum + parseResidentBytes(readOrEmpty(`/proc/${pid}/status`)),
        0,
      ),
    core: (core) => parseCoreTimes(readOrEmpty('/proc/stat'), core),
  };
}

/** Share of the wall time that a core was busy between two readings. */
export function busyShare(before: CoreTimes | null, after: CoreTimes | null): number | null {
  if (before === null || after === null || after.totalTicks === before.totalTicks) return null;
  return (after.busyTicks - before.busyTicks) / (after.totalTicks - before.totalTicks);
}
