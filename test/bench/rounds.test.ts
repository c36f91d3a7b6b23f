import t from 'tap';
import { countedRows, judgeRounds, streamFigures, unaryFigures } from '../../bench/rounds.ts';
import { streamRow, unaryRow } from './example-record.ts';

const direct = (round: number, requests: number, p99Us = 2000) => unaryRow(round, 'direct', null, { requests, p99Us });

t.test('every round counts when direct holds still and every reply is right', (t) => {
  const rows = [direct(1, 60_000), direct(2, 61_000), direct(3, 59_000)];
  t.same(judgeRounds(rows), { kept: [1, 2, 3], dropped: [], isIndicative: false });
  t.end();
});

t.test('a round is dropped when direct moves by more than 5 % in it', (t) => {
  const { kept, dropped } = judgeRounds([direct(1, 60_000), direct(2, 56_000), direct(3, 60_000)]);
  t.same(kept, [1, 3]);
  t.same(dropped, [{ round: 2, reason: 'direct moved -6.7 %' }]);
  t.end();
});

t.test('a round is dropped when the p99 of direct doubles in it', (t) => {
  const { kept, dropped } = judgeRounds([direct(1, 60_000), direct(2, 60_000, 4001), direct(3, 60_000)]);
  t.same(kept, [1, 3]);
  t.match(dropped[0]?.reason, /p99 went from 2000 to 4001/);
  t.end();
});

t.test('a round is dropped when one reply in it is wrong', (t) => {
  const rows = [1, 2, 3].flatMap((round) => [
    direct(round, 60_000),
    unaryRow(round, 'nginx', 20, { badReplies: round === 2 ? 1 : 0 }),
  ]);
  t.same(judgeRounds(rows).kept, [1, 3]);
  t.match(judgeRounds(rows).dropped[0]?.reason, 'nginx gave 1 wrong replies');
  t.end();
});

t.test("a subject that is wrong in most rounds does not take everyone's rounds with it", (t) => {
  const rows = [1, 2, 3].flatMap((round) => [
    direct(round, 60_000),
    unaryRow(round, 'portkey', 600, { badReplies: round === 1 ? 0 : 9 }),
  ]);
  t.same(judgeRounds(rows).kept, [1, 2, 3]);
  t.equal(unaryFigures(rows, 'portkey').badReplies, 18, 'its figure says so instead');
  t.end();
});

t.test('all rounds are used and called indicative when none passes', (t) => {
  const verdict = judgeRounds([direct(1, 50_000), direct(2, 70_000)]);
  t.same(verdict.kept, [1, 2]);
  t.equal(verdict.isIndicative, true);
  t.equal(verdict.dropped.length, 2);
  t.end();
});

t.test(
  'the ratio is the median of the ratios inside rounds, not the ratio of medians, when the machine drifts',
  (t) => {
    const rows = [
      unaryRow(1, 'bare-dispatch', 40),
      unaryRow(1, 'nginx', 20),
      unaryRow(2, 'bare-dispatch', 80),
      unaryRow(2, 'nginx', 24),
      unaryRow(3, 'bare-dispatch', 50),
      unaryRow(3, 'nginx', 30),
    ];
    const { ratio, cpuUs } = unaryFigures(rows, 'nginx');
    t.same(cpuUs?.median, 24);
    t.equal(ratio?.median.toFixed(3), '0.500');
    t.equal(ratio?.count, 3);
    t.end();
  },
);

t.test('a ratio needs both sides of the same round when one is missing', (t) => {
  const rows = [unaryRow(1, 'nginx', 20), unaryRow(2, 'bare-dispatch', 40), unaryRow(3, 'direct', null)];
  t.equal(unaryFigures(rows, 'nginx').ratio, null);
  t.equal(unaryFigures(rows, 'direct').cpuUs, null, 'direct has no CPU of its own');
  t.end();
});

t.test('a row is marked when the rig or the mock was the limit, or strangers used its core', (t) => {
  const rows = [
    direct(1, 60_000),
    unaryRow(1, 'nginx', 18, { requests: 55_000, loadCoreBusy: 0.99 }),
    unaryRow(1, 'bare-dispatch', 40),
    unaryRow(1, 'portkey', 600, { foreignShare: 0.31 }),
  ];
  t.same(unaryFigures(rows, 'portkey').marks, ['31 % of its core to others']);
  t.same(unaryFigures(rows, 'nginx').marks, ['rig-limited', 'mock-bound']);
  t.same(unaryFigures(rows, 'bare-dispatch').marks, []);
  t.end();
});

t.test('countedRows gives one body size without its dropped rounds when several were run', (t) => {
  const rows = [direct(1, 60_000), direct(2, 50_000), direct(3, 60_000), { ...direct(1, 9_000), bodyBytes: 300_000 }];
  t.same(
    countedRows(rows, 200).map(({ round }) => round),
    [1, 3],
  );
  t.equal(countedRows(rows, 300_000).length, 1);
  t.end();
});

t.test('streamFigures leaves out a round with a broken stream when it works out the cost of an event', (t) => {
  const rows = [
    streamRow(1, 'bare-dispatch', 30),
    streamRow(1, 'tollgate-governed', 33),
    streamRow(2, 'bare-dispatch', 30),
    { ...streamRow(2, 'tollgate-governed', 99), badReplies: 1 },
  ];
  const figures = streamFigures(rows, 'tollgate-governed');
  t.equal(figures.cpuUsPerEvent?.median, 33);
  t.equal(figures.ratio?.median.toFixed(2), '1.10');
  t.end();
});
