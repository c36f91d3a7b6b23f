/**
 * Reads tap's raw output while it comes: which test files ran, how many tests each of them held, and what went wrong.
 * tap's own reporters redraw the screen, which is garbage in a log file, and say nothing about a file that never ran.
 */

export type FileResult = { path: string; isOk: boolean; tests: number; failed: number; durationMs: number };

export type TapReader = {
  takeLine: (line: string) => void;
  /** Says what tap added after the last file, and gives the files. */
  finish: () => readonly FileResult[];
};

const filePoint = /^(not )?ok \d+ - (\S+\.test\.ts)\b(?:.*# time=([\d.]+)ms)?/;
const testPoint = /^ {4}(not )?ok \d+\b/;
/** What a fault scenario counted: for a reader to check, also when it passed. */
const booksComment = /^\s*# (books: .*)$/;
/** Passing points, plans, counts and blank lines say nothing about a failure. */
const noise =
  /^\s*(?:ok \d+\b.*|\d+\.\.\d+.*|# Subtest: .*|# time=.*|TAP version \d+)?$|^# (?:\{|No coverage|ERROR: incomplete)|^json-summary report: /;

/** `print` gets a line for each file, followed by the details of one that failed. */
export function createTapReader(print: (line: string) => void): TapReader {
  const results: FileResult[] = [];
  let details: string[] = [];
  let books: string[] = [];
  let tests = 0;
  let failed = 0;
  let hasCrashed = false;
  let isInFileDiagnostics = false;

  function endFile(isOk: boolean, path: string, durationMs: number): void {
    // A file that crashes or times out fails although each of its tests that ran may have passed.
    hasCrashed = !isOk && failed === 0;
    const crashes = hasCrashed ? 1 : 0;
    const result = { path, isOk, tests: tests + crashes, failed: failed + crashes, durationMs };
    results.push(result);
    print(`${isOk ? 'ok  ' : 'FAIL'} ${path} (${count(result.tests, 'test')}, ${(durationMs / 1000).toFixed(1)} s)`);
    books.forEach(print);
    if (!isOk) details.forEach(print);
    details = [];
    books = [];
    tests = 0;
    failed = 0;
  }

  return {
    takeLine(line) {
      const file = filePoint.exec(line);
      if (file !== null) {
        endFile(file[1] === undefined, file[2] ?? '', Number(file[3] ?? 0));
        return;
      }
      // How the process of the last file ended; that matters only when no test of it tells what failed.
      if (line === '  ---') isInFileDiagnostics = true;
      if (isInFileDiagnostics) {
        if (hasCrashed) print(line);
        if (line === '  ...') isInFileDiagnostics = false;
        return;
      }
      const comment = booksComment.exec(line)?.[1];
      if (comment !== undefined) books.push(`     ${comment}`);
      const test = testPoint.exec(line);
      if (test !== null) tests += 1;
      if (test?.[1] !== undefined) failed += 1;
      if (!noise.test(line)) details.push(line);
    },
    finish() {
      details.forEach(print);
      return results;
    },
  };
}

/** What must not happen in silence: a test file that exists and did not run, or ran without a test in it. */
export function findUnrun(expectedPaths: readonly string[], results: readonly FileResult[]): string[] {
  const ran = new Map(results.map((result) => [result.path, result]));
  if (expectedPaths.length === 0) return ['no test file was found'];
  return expectedPaths.flatMap((path) => {
    const result = ran.get(path);
    if (result === undefined) return [`${path} did not run`];
    return result.tests === 0 ? [`${path} holds no test`] : [];
  });
}

/** The last line of a run. */
export function describeRun(
  results: readonly FileResult[],
  options: {
    isOk: boolean;
    services: readonly { name: string; version: string; origin: string }[];
    seconds: number;
  },
): string {
  const tests = results.reduce((sum, result) => sum + result.tests, 0);
  const failed = results.reduce((sum, result) => sum + result.failed, 0);
  const services = options.services.map(({ name, version, origin }) => `${name} ${version} (${origin})`).join(', ');
  return (
    `npm test ${options.isOk ? 'passed' : 'failed'}: ${count(tests, 'test')} in ${count(results.length, 'file')}, ` +
    `${tests - failed} passed, ${failed} failed, ${options.seconds.toFixed(0)} s; ${services}`
  );
}

const count = (amount: number, noun: string): string => `${amount} ${noun}${amount === 1 ? '' : 's'}`;
