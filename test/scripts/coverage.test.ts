import t from 'tap';
import {
  coverageExceptions,
  findShortfalls,
  floorOf,
  judgeCoverage,
  readCoverageSummary,
} from '../../scripts/coverage.ts';

t.test('asks more of the rooms where a mistake costs money', (t) => {
  for (const path of ['providers/a.ts', 'src/admission/a.ts', 'src/gateway/a.ts', 'src/usage/b/a.ts']) {
    t.equal(floorOf(path), 95, path);
  }
  for (const path of ['src/main.ts', 'src/contract/a.ts', 'src/usage.ts']) t.equal(floorOf(path), 80, path);
  t.end();
});

t.test('finds a file below its floor when another one is above it', (t) => {
  const paths = ['src/usage/a.ts', 'src/usage/b.ts', 'src/http/c.ts'];
  const coverage = new Map([
    ['src/usage/a.ts', { total: 100, covered: 94 }],
    ['src/usage/b.ts', { total: 100, covered: 95 }],
    ['src/http/c.ts', { total: 100, covered: 80 }],
  ]);
  t.same(findShortfalls(paths, coverage), [{ path: 'src/usage/a.ts', percent: 94, floorPercent: 95 }]);
  t.end();
});

t.test('counts a file that no test loaded as uncovered', (t) => {
  t.same(findShortfalls(['src/http/unloaded.ts'], new Map()), [
    { path: 'src/http/unloaded.ts', percent: 0, floorPercent: 80 },
  ]);
  t.end();
});

t.test('lists what falls short, and exceptions that are idle or say no reason', (t) => {
  const shortfalls = [
    { path: 'src/a.ts', percent: 12.34, floorPercent: 80 },
    { path: 'src/b.ts', percent: 0, floorPercent: 80 },
    { path: 'src/d.ts', percent: 0, floorPercent: 80 },
  ];
  const exceptions = [
    { path: 'src/b.ts', reason: 'it runs in a process that is killed' },
    { path: 'src/c.ts', reason: 'it was hard once' },
    { path: 'src/d.ts', reason: ' ' },
  ];
  t.same(judgeCoverage(shortfalls, exceptions), [
    'src/a.ts: 12.3 % of lines, 80 % wanted',
    'src/c.ts: is an exception, but does not need to be one any more',
    'src/d.ts: is an exception without a reason',
  ]);
  t.same(judgeCoverage([], []), []);
  t.end();
});

t.test('gives a reason for each exception of the repository', (t) => {
  t.same(
    coverageExceptions.filter(({ reason }) => reason.trim() === ''),
    [],
  );
  t.end();
});

t.test('reads paths below the root from the report of tap', (t) => {
  const lines = (covered: number) => ({ lines: { total: 10, covered, skipped: 0, pct: covered * 10 } });
  const report = { total: lines(9), '/here/src/a.ts': lines(7), '/elsewhere/src/b.ts': lines(3) };
  t.same([...readCoverageSummary(JSON.stringify(report), '/here').keys()], ['src/a.ts']);
  t.match(readCoverageSummary(JSON.stringify(report), '/here').get('src/a.ts'), { total: 10, covered: 7 });
  t.end();
});
