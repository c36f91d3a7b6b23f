/**
 * `npm test`: every check and every test in one run, in this order: types, lint, format, tap with coverage, the
 * coverage gate. It ends with one line that says what ran. Arguments go to tap, and then coverage is not judged.
 */
import { existsSync, globSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type CommandRunner, createCommandRunner } from './command-runner.ts';
import { findShortfalls, judgeCoverage, readCoverageSummary } from './coverage.ts';
import { type Provided, ServiceError, provideServices } from './services.ts';
import { type FileResult, createTapReader, describeRun, findUnrun } from './tap-results.ts';

const root = join(import.meta.dirname, '..');
const summaryPath = join(root, '.tap/report/coverage-summary.json');
const builtTapPath = join(root, 'node_modules/@tapjs/test/test-built/dist/esm/index.js');

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** tap comes built with the TypeScript plugin that .taprc switches off; building it once here keeps parallel runs off it. */
async function prepareTap(runner: CommandRunner): Promise<boolean> {
  if (existsSync(builtTapPath) && !readFileSync(builtTapPath, 'utf8').includes('"@tapjs/typescript"')) return true;
  return runner.run('tap', ['build']);
}

/** tap looks into a directory for JavaScript only. An empty one stays as it is, so that tap complains about it. */
function expandDirectory(arg: string): string | string[] {
  if (!existsSync(arg) || !statSync(arg).isDirectory()) return arg;
  const files = globSync(join(arg, '**/*.test.ts'));
  return files.length === 0 ? arg : files;
}

async function runTap(
  runner: CommandRunner,
  args: readonly string[],
  services: readonly Provided[],
): Promise<{ isOk: boolean; results: readonly FileResult[] }> {
  rmSync(summaryPath, { force: true });
  const reader = createTapReader(say);
  const files = args.flatMap(expandDirectory);
  const coverage = args.length === 0 ? '--coverage-report=json-summary' : '--disable-coverage';
  const isOk = await runner.run('tap', ['run', '--reporter=tap', coverage, ...files], {
    environment: Object.fromEntries(services.map(({ variable, url }) => [variable, url])),
    takeLine: reader.takeLine,
  });
  return { isOk, results: reader.finish() };
}

function judgeSources(): string[] {
  if (!existsSync(summaryPath)) return ['tap wrote no coverage report'];
  const paths = globSync(['src/**/*.ts', 'providers/**/*.ts'], { cwd: root }).toSorted();
  const coverage = readCoverageSummary(readFileSync(summaryPath, 'utf8'), root);
  return judgeCoverage(findShortfalls(paths, coverage)).map((complaint) => `coverage: ${complaint}`);
}

/** What speaks against the run; nothing means success. */
function judgeRun(isOk: boolean, args: readonly string[], results: readonly FileResult[]): string[] {
  const expected = args.length === 0 ? globSync('test/**/*.test.ts', { cwd: root }) : results.map(({ path }) => path);
  const unrun = findUnrun(expected.toSorted(), results);
  if (!isOk) return [...unrun, 'Tests failed, so coverage is not judged.'];
  if (args.length === 0) return [...unrun, ...judgeSources()];
  say('Coverage is neither measured nor judged, because arguments chose what runs.');
  return unrun;
}

async function main(runner: CommandRunner, args: readonly string[]): Promise<number> {
  for (const check of ['typecheck', 'lint', 'format:check']) {
    if (await runner.run(process.execPath, ['--run', check])) continue;
    if (runner.interruptedCode() === null) say(`npm test failed at the step "${check}", before any test ran.`);
    return 1;
  }
  if (!(await prepareTap(runner))) return 1;
  const provision = await provideServices({ environment: process.env, report: say });
  try {
    const { isOk, results } = await runTap(runner, args, provision.services);
    if (runner.interruptedCode() !== null) return 1;
    const complaints = judgeRun(isOk, args, results);
    for (const complaint of complaints) say(complaint);
    say(
      describeRun(results, { isOk: complaints.length === 0, services: provision.services, seconds: process.uptime() }),
    );
    return complaints.length === 0 ? 0 : 1;
  } finally {
    await provision.stop();
  }
}

try {
  const runner = createCommandRunner(root);
  const code = await main(runner, process.argv.slice(2));
  process.exitCode = runner.interruptedCode() ?? code;
  if (runner.interruptedCode() !== null) say('Interrupted; what this run started is stopped.');
} catch (error) {
  if (!(error instanceof ServiceError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
