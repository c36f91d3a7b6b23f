/**
 * `npm run bench`: what one request costs, ours against nginx, bare Node and the leading Node gateway, as CPU
 * microseconds. This file reads the command line, builds the rig, writes the record and prints the report; the order of
 * the measurements is in tournament.ts. It never fails because of a time or a ratio.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { compareTable } from './compare.ts';
import { readCommit, readMachine } from './machine.ts';
import { parseOptions, usage, type Options } from './options.ts';
import { createCpuReader } from './process-cpu.ts';
import { createProcesses, pinProcess } from './processes.ts';
import type { BenchRecord } from './record.ts';
import { renderReport } from './report.ts';
import type { Rig } from './rig.ts';
import { chooseSubjects } from './subjects/index.ts';
import { installMissingTools, missingToolsSentence, searchPath } from './tools.ts';
import { connections, runTournament } from './tournament.ts';

const outDirectory = join(import.meta.dirname, 'out');
const committedRecord = join(import.meta.dirname, 'RESULTS.json');

const say = (message: string): void => {
  process.stderr.write(`bench: ${message}\n`);
};

type Run = { rig: Rig; end(): Promise<void> };

function createRun(): Run {
  const isPinned = availableParallelism() > 1;
  const [subjectCore, loadCore] = isPinned ? [0, 1] : [null, null];
  // Children inherit the mask; whatever starts without a core of its own stays with the load.
  if (loadCore !== null) pinProcess(process.pid, loadCore);
  const processes = createProcesses();
  const scratchDirectory = mkdtempSync(join(tmpdir(), 'tollgate-bench-'));
  const undoes: (() => Promise<void>)[] = [];
  const rig: Rig = {
    processes,
    cpu: createCpuReader(),
    subjectCore,
    loadCore,
    scratchDirectory,
    settleMs: 350,
    random: Math.random,
    say,
    onEnd: (undo) => undoes.push(undo),
  };
  return {
    rig,
    async end() {
      await Promise.all(undoes.splice(0).map((undo) => undo()));
      await processes.stopAll();
      rmSync(scratchDirectory, { recursive: true, force: true });
    },
  };
}

/** A run that is broken off leaves no process, no database and no scratch folder behind. */
function endOnSignal(run: Run): void {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => {
      run.end().then(
        () => process.exit(code),
        () => process.exit(code),
      );
    });
  }
}

function save(record: BenchRecord, report: string, options: Options): void {
  const directory = join(outDirectory, record.date.replaceAll(/[:.]/g, '-'));
  mkdirSync(directory, { recursive: true });
  const text = `${JSON.stringify(record, null, 1)}\n`;
  writeFileSync(join(directory, 'record.json'), text);
  writeFileSync(join(directory, 'report.md'), `${report}\n`);
  if (options.jsonFile !== null) writeFileSync(options.jsonFile, text);
  say(`raw rounds in ${relative(process.cwd(), directory)}`);
}

function readCommittedRecord(): BenchRecord | null {
  try {
    // Written by save() above and by nothing else.
    return JSON.parse(readFileSync(committedRecord, 'utf8')) as BenchRecord;
  } catch {
    // Not there yet.
    return null;
  }
}

async function measure(options: Options): Promise<BenchRecord> {
  const subjects = chooseSubjects(options.only, options.kind);
  const run = createRun();
  endOnSignal(run);
  try {
    const { rig } = run;
    const machine = readMachine({ subjectCore: rig.subjectCore, loadCore: rig.loadCore });
    const date = new Date().toISOString();
    const commit = readCommit();
    const measured = await runTournament(rig, subjects, options);
    const { kind, rounds, seconds } = options;
    return { format: 1, date, ...commit, kind, rounds, seconds, connections, machine, ...measured };
  } finally {
    await run.end();
  }
}

function readOptions(): Options | string {
  try {
    const options = parseOptions(process.argv.slice(2));
    if (options === null) return usage;
    chooseSubjects(options.only, options.kind);
    return options;
  } catch (error) {
    process.exitCode = 2;
    return `${error instanceof Error ? error.message : String(error)}\n\n${usage}`;
  }
}

async function main(): Promise<void> {
  const options = readOptions();
  if (typeof options === 'string') {
    (process.exitCode === 2 ? process.stderr : process.stdout).write(options);
    return;
  }
  process.env['PATH'] = searchPath(process.env['PATH'] ?? '');
  installMissingTools(say);
  const missing = missingToolsSentence();
  if (missing !== '') {
    process.stderr.write(`${missing}\n`);
    process.exitCode = 1;
    return;
  }
  // Before the run: --json may overwrite it.
  const committed = readCommittedRecord();
  const record = await measure(options);
  const report = renderReport(record);
  save(record, report, options);
  process.stdout.write(`${report}\n`);
  if (!options.compares) return;
  const table =
    committed === null ? 'There is no committed bench/RESULTS.json to compare with.' : compareTable(record, committed);
  process.stdout.write(`\n${table}\n`);
}

await main();
