/**
 * The coverage gate: each source file has a floor of its own, so that a well-tested room cannot pay for an untested
 * file. Takes tap's `json-summary` report and the paths of the sources; gives the files that fall short.
 */
/** Lines by path. A file that no test loaded is absent; one of types alone is loaded by the architecture test. */
export type LineCoverage = ReadonlyMap<string, { total: number; covered: number }>;

export type Shortfall = { path: string; percent: number; floorPercent: number };

/** A file that cannot be measured, or not yet; the reason is for the reader who wonders. */
export type CoverageException = { path: string; reason: string };

export const coverageExceptions: readonly CoverageException[] = [];

const strictFloorPercent = 95;
const floorPercent = 80;
const strictRooms = ['providers/', 'src/admission/', 'src/gateway/', 'src/usage/'];

export function floorOf(path: string): number {
  return strictRooms.some((room) => path.startsWith(room)) ? strictFloorPercent : floorPercent;
}

export function findShortfalls(paths: readonly string[], coverage: LineCoverage): Shortfall[] {
  return paths
    .map((path) => {
      const lines = coverage.get(path) ?? { total: 1, covered: 0 };
      return { path, percent: (100 * lines.covered) / Math.max(1, lines.total), floorPercent: floorOf(path) };
    })
    .filter(({ percent, floorPercent: floor }) => percent < floor);
}

/** Complaints, ready to print. An exception without need or without a reason is one, so that the list stays true. */
export function judgeCoverage(
  shortfalls: readonly Shortfall[],
  exceptions: readonly CoverageException[] = coverageExceptions,
): string[] {
  const excused = new Set(exceptions.map(({ path }) => path));
  const short = new Set(shortfalls.map(({ path }) => path));
  return [
    ...shortfalls
      .filter(({ path }) => !excused.has(path))
      .map(({ path, percent, floorPercent: floor }) => `${path}: ${percent.toFixed(1)} % of lines, ${floor} % wanted`),
    ...exceptions
      .filter(({ path }) => !short.has(path))
      .map(({ path }) => `${path}: is an exception, but does not need to be one any more`),
    ...exceptions
      .filter(({ reason }) => reason.trim() === '')
      .map(({ path }) => `${path}: is an exception without a reason`),
  ];
}

/** Reads tap's report; its keys are absolute paths, ours are relative to `root`. */
export function readCoverageSummary(json: string, root: string): LineCoverage {
  const summary = JSON.parse(json) as Record<string, { lines?: { total: number; covered: number } }>;
  return new Map(
    Object.entries(summary).flatMap(([path, { lines }]) =>
      path.startsWith(`${root}/`) && lines !== undefined ? [[path.slice(root.length + 1), lines]] : [],
    ),
  );
}
