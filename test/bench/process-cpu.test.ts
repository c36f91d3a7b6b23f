import { existsSync } from 'node:fs';
import t from 'tap';
import {
  busyShare,
  createCpuReader,
  parseCoreTimes,
  parseProcessStat,
  parseResidentBytes,
  treeOf,
  treeTicks,
} from '../../bench/process-cpu.ts';

const stat = (pid: number, name: string, parent: number): string =>
  `${pid} (${name}) S ${parent} 7234 7234 0 -1 4194560 2410 30484 0 27 11 2 24 13 20 0 1 0 98290 5124096 954 18446744073709551615`;

t.test(
  'parseProcessStat adds user and system time of the process and of its ended children when it reads a line',
  (t) => {
    t.same(parseProcessStat(stat(42, 'node', 7)), { pid: 42, parentPid: 7, ticks: 11 + 2 + 24 + 13 });
    t.end();
  },
);

t.test('parseProcessStat counts fields from the last bracket when a name holds spaces and brackets', (t) => {
  t.same(parseProcessStat(stat(42, 'nginx: worker) R (x', 7)), { pid: 42, parentPid: 7, ticks: 50 });
  t.end();
});

t.test('parseProcessStat gives null when there is no line', (t) => {
  t.equal(parseProcessStat(''), null);
  t.equal(parseProcessStat('42 (node) S 7'), null);
  t.end();
});

t.test('treeTicks counts descendants and nobody else when a child is listed before its parent', (t) => {
  const processes = [
    { pid: 30, parentPid: 20, ticks: 4 },
    { pid: 20, parentPid: 10, ticks: 2 },
    { pid: 10, parentPid: 1, ticks: 1 },
    { pid: 11, parentPid: 1, ticks: 100 },
  ];
  t.equal(treeTicks(processes, [10]), 7);
  t.same([...treeOf(processes, [20])], [20, 30]);
  t.equal(treeTicks(processes, []), 0);
  t.end();
});

t.test('parseCoreTimes reads one core when core 1 and core 10 both exist', (t) => {
  const text =
    'cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 9 9 9 9 9 9 9 9 0 0\ncpu1 100 5 20 800 30 3 2 40 0 0\ncpu10 1 1 1 1 1 1 1 1 0 0\n';
  t.same(parseCoreTimes(text, 1), { totalTicks: 1000, busyTicks: 170 });
  t.equal(parseCoreTimes(text, 7), null);
  t.end();
});

t.test('busyShare is the busy part of the time between two readings when time has passed', (t) => {
  const before = { busyTicks: 100, totalTicks: 1000 };
  t.equal(busyShare(before, { busyTicks: 190, totalTicks: 1100 }), 0.9);
  t.equal(busyShare(before, before), null);
  t.equal(busyShare(null, before), null);
  t.end();
});

t.test('parseResidentBytes turns kB into bytes when the line is there', (t) => {
  t.equal(parseResidentBytes('VmPeak:\t  9 kB\nVmRSS:\t  120 kB\n'), 122_880);
  t.equal(parseResidentBytes('Name:\tkthreadd\n'), 0);
  t.end();
});

t.test('the reader sees this very process when the system has /proc, and nothing when it has not', (t) => {
  const reader = createCpuReader();
  const hasProc = existsSync('/proc/self/stat');
  t.equal(reader.treeUs([process.pid]) > 0, hasProc);
  t.equal(reader.residentBytes([process.pid]) > 1e6, hasProc);
  t.equal(reader.treeUs([]), 0);
  t.end();
});
