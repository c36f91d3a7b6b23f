import t from 'tap';
import { compareTable } from '../../bench/compare.ts';
import { renderReport } from '../../bench/report.ts';
import { formatNumber, formatSummary, markdownTable, shorten } from '../../bench/table.ts';
import { targetFigures, verdictOf, type Figure } from '../../bench/targets.ts';
import { exampleRecord, unaryRow } from './example-record.ts';

t.test('markdownTable pads its columns and escapes bars when cells hold them', (t) => {
  const table = markdownTable(['a', 'long head'], [['1|2', 'x'], ['3']]);
  t.equal(
    table,
    ['| a    | long head |', '|------|-----------|', '| 1\\|2 | x         |', '| 3    |           |'].join('\n'),
  );
  t.end();
});

t.test('numbers keep three figures when they are printed, and say nothing when there is none', (t) => {
  t.same(
    [1.555, 15.55, 155.5, 15_550].map((value) => formatNumber(value)),
    ['1.56', '15.6', '156', '15,550'],
  );
  t.equal(formatNumber(Number.NaN), '-');
  t.equal(formatSummary({ median: 60, q1: 59, q3: 61.26, count: 7 }), '60.0 (59.0-61.3)');
  t.equal(formatSummary({ median: 1.5, q1: 1.5, q3: 1.5, count: 1 }, { digits: 2 }), '1.50');
  t.equal(formatSummary(null), '-');
  t.end();
});

t.test('a long reason is cut to fit its cell, and a short one is left alone', (t) => {
  t.equal(shorten('not built yet'), 'not built yet');
  t.equal(shorten('fails: status 500', 10), 'fails: st…');
  t.end();
});

t.test('the report names commit, machine and every subject when it is rendered, also those that did not run', (t) => {
  const report = renderReport(exampleRecord());
  for (const text of [
    'abcdef123456',
    'Example CPU',
    'Node v26.10.0',
    'all 3 rounds count',
    '5,000 rows in the ledger',
  ]) {
    t.match(report, text);
  }
  t.match(report, /\| title of tollgate-plain +\| not built yet/);
  t.match(report, /\| title of portkey +\| fails: status 500 for a stream/);
  t.match(report, /\| title of tollgate-governed +\| 60\.0 \(60\.0-60\.0\) +\| 1\.50 \(1\.50-1\.50\)/);
  t.match(report, /\| title of bare-dispatch +\| 30\.0 \(30\.0-30\.0\) +\| 1\.00/);
  t.end();
});

t.test('the report says so when an answered request has no row, or a row has no request', (t) => {
  const reportOf = (asked: number, answered: number, rows: number): string =>
    renderReport(exampleRecord({ governed: [{ subject: 'tollgate-governed', asked, answered, rows }] }));
  t.match(reportOf(5000, 5000, 4999), 'THE LEDGER DOES NOT HOLD');
  t.match(reportOf(5000, 5000, 5001), 'THE LEDGER DOES NOT HOLD');
  t.notMatch(reportOf(5000, 5000, 5000), 'THE LEDGER DOES NOT HOLD');
  t.match(reportOf(5000, 4990, 4993), '4,990 of 5,000 requests answered, 4,993 rows in the ledger, 10 refused.');
  t.end();
});

t.test('the report says so when no round passed the rule', (t) => {
  const unary = [1, 2].map((round) => unaryRow(round, 'direct', null, { requests: round * 30_000 }));
  t.match(renderReport(exampleRecord({ unary })), 'no round passed the rule');
  t.end();
});

const valueOf = (figures: readonly Figure[], id: string): number | null =>
  figures.find((row) => row.id === id)?.value ?? null;

t.test('targets are ratios inside the run when both sides were measured', (t) => {
  const figures = targetFigures(exampleRecord());
  t.equal(valueOf(figures, 'M1')?.toFixed(3), '1.500');
  t.equal(valueOf(figures, 'M2')?.toFixed(3), '0.100');
  t.equal(valueOf(figures, 'M4')?.toFixed(2), '10.00');
  t.equal(valueOf(figures, 'M8'), 300);
  t.equal(valueOf(figures, 'M10')?.toFixed(2), '1.10');
  t.end();
});

t.test('every target is listed in order and says why it is empty when it is', (t) => {
  const figures = targetFigures(exampleRecord());
  const ids = [...new Set(figures.map(({ id }) => id))];
  t.same(
    ids,
    Array.from({ length: 17 }, (_, index) => `M${index + 1}`),
  );
  for (const { id, value, missing } of figures) t.ok(value !== null || missing !== '', id);
  t.equal(figures.find(({ id }) => id === 'M3')?.missing, 'not built yet');
  t.end();
});

t.test('a smoke run lists the four measures that it is for', (t) => {
  const ids = new Set(targetFigures(exampleRecord({ kind: 'smoke' })).map(({ id }) => id));
  t.same([...ids], ['M1', 'M3', 'M10', 'M13']);
  t.end();
});

t.test('every empty target names our own failure when the gateway did not run', (t) => {
  const subjects = exampleRecord().subjects.map((row) =>
    row.id === 'tollgate-governed'
      ? { ...row, unary: 'not built yet', streams: 'not built yet', idleStreamBytes: null }
      : row,
  );
  const unary = exampleRecord().unary.filter(({ subject }) => subject !== 'tollgate-governed');
  const figures = targetFigures(exampleRecord({ subjects, unary, streams: [], starts: [] }));
  t.same(
    figures.filter(({ value }) => value !== null),
    [],
  );
  t.equal(figures.find(({ id }) => id === 'M1')?.missing, 'not built yet');
  t.end();
});

t.test('the verdict is the hardest mark that is met when lower is better and when higher is', (t) => {
  const figure = { id: 'M1', metric: '', unit: '', marks: [2.1, 1.75, 1.55], better: 'lower', missing: '' } as const;
  const verdicts = [2.2, 2.1, 1.7, 1.5].map((value) => verdictOf({ ...figure, value }));
  t.same(verdicts, ['below the gate', 'gate', 'goal', 'moonshot']);
  t.equal(verdictOf({ ...figure, marks: [7, 8, 10], better: 'higher', value: 8.5 }), 'goal');
  t.equal(verdictOf({ ...figure, value: null }), '');
  t.end();
});

t.test('compare points at a change of more than 10 % when a ratio moved, in either direction', (t) => {
  const dearer = exampleRecord({
    unary: exampleRecord().unary.map((row) =>
      row.subject === 'tollgate-governed' ? unaryRow(row.round, row.subject, 70) : row,
    ),
  });
  t.match(compareTable(dearer, exampleRecord()), /M1 .*\+16\.7 % +\| worse by more than 10 %/);
  t.match(compareTable(exampleRecord(), dearer), /M1 .*-14\.3 % +\| better by more than 10 %/);
  t.notMatch(compareTable(exampleRecord(), exampleRecord()), 'worse');
  t.end();
});
