import t from 'tap';
import { createTapReader, describeRun, findUnrun } from '../../scripts/tap-results.ts';

const output = `TAP version 14
1..3
# Subtest: test/a.test.ts
    # Subtest: does one thing
        # seed 7
        # books: 1: rows expected 2, found 2
        ok 1 - should be equal
        1..1
    ok 1 - does one thing # time=1ms
    
    ok 2 - bare
    1..2
    # time=12ms
ok 1 - test/a.test.ts # time=1200.5ms

# Subtest: test/b.test.ts
    # Subtest: does another
        not ok 1 - should be equal
          ---
          compare: ===
          ...
    not ok 1 - does another # time=3ms
    
    ok 2 - does the rest # time=1ms
    1..2
not ok 2 - test/b.test.ts # time=30ms
  ---
  exitCode: 1
  ...

# Subtest: test/c.test.ts
    1..0 # no tests found
not ok 3 - test/c.test.ts # time=40ms
  ---
  exitCode: 7
  ...

# { total: 4, pass: 2, fail: 2 }
# time=1583.711ms
Bail out! enough
`;

function read(text: string) {
  const printed: string[] = [];
  const reader = createTapReader((line) => printed.push(line));
  for (const line of text.split('\n')) reader.takeLine(line);
  return { results: reader.finish(), printed };
}

t.test('counts the tests of each file and a crash as one failed test', (t) => {
  t.same(read(output).results, [
    { path: 'test/a.test.ts', isOk: true, tests: 2, failed: 0, durationMs: 1200.5 },
    { path: 'test/b.test.ts', isOk: false, tests: 2, failed: 1, durationMs: 30 },
    { path: 'test/c.test.ts', isOk: false, tests: 1, failed: 1, durationMs: 40 },
  ]);
  t.end();
});

t.test('prints a line for a file that passed, what it counted, and the details of one that failed', (t) => {
  t.same(read(output).printed, [
    'ok   test/a.test.ts (2 tests, 1.2 s)',
    '     books: 1: rows expected 2, found 2',
    'FAIL test/b.test.ts (2 tests, 0.0 s)',
    '        not ok 1 - should be equal',
    '          ---',
    '          compare: ===',
    '          ...',
    '    not ok 1 - does another # time=3ms',
    'FAIL test/c.test.ts (1 test, 0.0 s)',
    '  ---',
    '  exitCode: 7',
    '  ...',
    'Bail out! enough',
  ]);
  t.end();
});

t.test('complains when a test file did not run, or held no test', (t) => {
  const results = [
    { path: 'test/a.test.ts', isOk: true, tests: 2, failed: 0, durationMs: 1 },
    { path: 'test/b.test.ts', isOk: true, tests: 0, failed: 0, durationMs: 1 },
  ];
  t.same(findUnrun(['test/a.test.ts'], results), []);
  t.same(findUnrun(['test/a.test.ts', 'test/b.test.ts', 'test/c.test.ts'], results), [
    'test/b.test.ts holds no test',
    'test/c.test.ts did not run',
  ]);
  t.same(findUnrun([], []), ['no test file was found']);
  t.end();
});

t.test('says in one line what ran and on what', (t) => {
  const services = [
    { name: 'Postgres', version: '15.3', origin: 'found' },
    { name: 'Redis', version: '7.0.15', origin: 'started' },
  ];
  t.equal(
    describeRun(read(output).results, { isOk: false, services, seconds: 12.4 }),
    'npm test failed: 5 tests in 3 files, 3 passed, 2 failed, 12 s; Postgres 15.3 (found), Redis 7.0.15 (started)',
  );
  t.end();
});
