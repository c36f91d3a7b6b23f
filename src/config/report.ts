/**
 * Where every step of loading notes what it found: problems, warnings, and the origin of each value. Collecting instead
 * of throwing is what lets one start show all mistakes at once. It must never be given a secret's text.
 */
export type Path = readonly (string | number)[];

/** A line of 0 means that the place is not in a file: the environment or the command line. */
export type Place = { file: string; line: number; column: number };

export type ConfigProblem = Place & { message: string };

export const environmentPlace: Place = { file: 'environment', line: 0, column: 0 };
export const commandLinePlace: Place = { file: 'command line', line: 0, column: 0 };

export class ConfigError extends Error {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super(problems.map(formatProblem).join('\n'));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

export const formatPlace = ({ file, line, column }: Place): string => (line === 0 ? file : `${file}:${line}:${column}`);

export const formatProblem = (problem: ConfigProblem): string => `${formatPlace(problem)}  ${problem.message}`;

/** `tiers.pro.models[1]`; a name with dots is quoted, because `models.gpt-4.1` would read as three steps. */
export function formatPath(path: Path): string {
  return path
    .map((step, index) => {
      if (typeof step === 'number') return `[${step}]`;
      if (!/^[\w-]+$/.test(step)) return `[${JSON.stringify(step)}]`;
      return index === 0 ? step : `.${step}`;
    })
    .join('');
}

export type Report = {
  problems(): readonly ConfigProblem[];
  warnings(): readonly string[];
  origins(): ReadonlyMap<string, { value: string; origin: string }>;
  refuse(place: Place, path: Path, text: string): void;
  warn(place: Place, path: Path, text: string): void;
  record(path: Path, value: string, origin: string): void;
};

const describe = (path: Path, text: string): string => (path.length === 0 ? text : `${formatPath(path)}: ${text}`);

export function createReport(): Report {
  const problems: ConfigProblem[] = [];
  const warnings: string[] = [];
  const origins = new Map<string, { value: string; origin: string }>();
  return {
    problems: () => inReadingOrder(problems),
    warnings: () => [...warnings],
    origins: () => new Map(origins),
    refuse({ file, line, column }, path, text) {
      problems.push({ file, line, column, message: describe(path, text) });
    },
    warn(place, path, text) {
      warnings.push(formatProblem({ ...place, message: describe(path, text) }));
    },
    record(path, value, origin) {
      origins.set(formatPath(path), { value, origin });
    },
  };
}

/** By file in order of appearance, then top to bottom, as one walks through the editor. */
function inReadingOrder(problems: readonly ConfigProblem[]): ConfigProblem[] {
  const files = [...new Set(problems.map(({ file }) => file))];
  return problems.toSorted(
    (left, right) =>
      files.indexOf(left.file) - files.indexOf(right.file) || left.line - right.line || left.column - right.column,
  );
}
