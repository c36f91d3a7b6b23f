/**
 * `tollgate config`: write a first configuration, check one, show where each value comes from, print the schema.
 * Takes the names that the composition root knows; gives data on stdout and an exit code. It overwrites no file and
 * shows no secret.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import type { KnownProviders } from '../config/endpoints.ts';
import { loadConfig, projectConfigDirectory } from '../config/load.ts';
import { hint } from '../config/nearest-name.ts';
import { ConfigError, formatProblem } from '../config/report.ts';
import { renderGatewaySchema } from '../config/schema.ts';
import { redacted } from '../config/secret.ts';
import type { GatewayConfig } from '../config/types.ts';
import type { Command, Invocation } from './command.ts';

/** The environment and the folder are the process's own unless a caller says otherwise. */
export type ConfigCommandOptions = KnownProviders & {
  environment?: Readonly<Record<string, string | undefined>>;
  workingDirectory?: string;
};

type Run = (invocation: Invocation, options: ConfigCommandOptions) => number;

const subcommands: Readonly<Record<string, Run>> = { init, check, print, schema };
const usage = 'config init|check|print|schema [--config FILE] [--redact] [--json]';

export function createConfigCommand(known: ConfigCommandOptions): Command {
  return {
    summary: 'Write, check and explain the configuration',
    usage,
    examples: ['tollgate config check', 'tollgate config print --redact'],
    options: {
      config: { type: 'string' },
      redact: { type: 'boolean' },
      json: { type: 'boolean' },
    },
    run(invocation) {
      const [name = '', ...rest] = invocation.positionals;
      const subcommand = Object.hasOwn(subcommands, name) ? subcommands[name] : undefined;
      if (subcommand !== undefined && rest.length === 0) return Promise.resolve(subcommand(invocation, known));
      const guess = subcommand === undefined && name !== '' ? hint(name, Object.keys(subcommands)) : '';
      invocation.io.stderr(`usage: tollgate ${usage}${guess}\n`);
      return Promise.resolve(2);
    },
  };
}

function load({ values }: Invocation, { environment, workingDirectory, ...known }: ConfigCommandOptions) {
  const flags = { config: typeof values['config'] === 'string' ? values['config'] : undefined };
  return loadConfig({ ...known, environment, workingDirectory, flags });
}

/** Findings are what a check is for, so they are data and go to stdout. */
function check(invocation: Invocation, options: ConfigCommandOptions): number {
  const { io, values } = invocation;
  let problems: ConfigError['problems'] = [];
  let warnings: readonly string[] = [];
  try {
    ({ warnings } = load(invocation, options));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    ({ problems } = error);
  }
  const isOk = problems.length === 0;
  if (values['json'] === true) {
    io.stdout(`${JSON.stringify({ ok: isOk, problems, warnings })}\n`);
  } else {
    for (const problem of problems) io.stdout(`${formatProblem(problem)}\n`);
    for (const warning of warnings) io.stdout(`warning  ${warning}\n`);
    io.stderr(isOk ? 'The configuration is valid.\n' : `${countOf(problems.length, 'problem')}.\n`);
  }
  return isOk ? 0 : 1;
}

const countOf = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

function print(invocation: Invocation, options: ConfigCommandOptions): number {
  const { io, values } = invocation;
  let config: GatewayConfig;
  try {
    config = load(invocation, options);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    io.stderr(`${error.message}\n`);
    return 1;
  }
  const rows = [...config.origins].map(([path, { value, origin }]) => ({
    path,
    value: values['redact'] === true && isTelling(value, origin) ? redacted : value,
    origin,
  }));
  io.stdout(values['json'] === true ? `${JSON.stringify(rows)}\n` : renderTable(rows));
  return 0;
}

/** Secrets are hidden anyway; `--redact` also hides what would tell a stranger about the place. */
const isTelling = (value: string, origin: string): boolean =>
  origin === 'flag' || origin.startsWith('env ') || value.includes('://') || value.startsWith('/');

type Row = { path: string; value: string; origin: string };

/** Line breaks inside a value would break the table, and a terminal would obey escape sequences. */
function renderTable(rows: readonly Row[]): string {
  const plain = rows.map(({ path, value, origin }) => [path, JSON.stringify(value).slice(1, -1), origin] as const);
  const width = (column: 0 | 1): number => Math.min(60, Math.max(0, ...plain.map((row) => row[column].length)));
  const [pathWidth, valueWidth] = [width(0), width(1)];
  return plain
    .map(([path, value, origin]) => `${path.padEnd(pathWidth)}  ${value.padEnd(valueWidth)}  ${origin}\n`)
    .join('');
}

function schema({ io }: Invocation): number {
  io.stdout(renderGatewaySchema());
  return 0;
}

function init({ io, values }: Invocation, options: ConfigCommandOptions): number {
  const workingDirectory = options.workingDirectory ?? process.cwd();
  const named = typeof values['config'] === 'string' ? values['config'] : join('config', 'gateway.yaml');
  const configPath = resolve(workingDirectory, named);
  const files = [
    { path: configPath, mode: 0o644, text: () => readFileSync(join(projectConfigDirectory, 'gateway.yaml'), 'utf8') },
    { path: join(dirname(configPath), 'gateway.schema.json'), mode: 0o644, text: renderGatewaySchema },
    { path: join(workingDirectory, '.env'), mode: 0o600, text: () => renderEnvironmentFile(options) },
  ];
  const results = files.map((file) => ({ ...file, isWritten: writeNew(file) }));
  const pathsOf = (isWritten: boolean): string[] =>
    results.filter((file) => file.isWritten === isWritten).map(({ path }) => relative(workingDirectory, path));
  if (values['json'] === true) {
    io.stdout(`${JSON.stringify({ written: pathsOf(true), kept: pathsOf(false) })}\n`);
  } else {
    for (const path of pathsOf(true)) io.stderr(`wrote ${path}\n`);
    for (const path of pathsOf(false)) io.stderr(`kept  ${path}, it was there before\n`);
  }
  return 0;
}

/** The flag `wx` lets the file system decide, so not even a race overwrites a secret that data already depends on. */
function writeNew({ path, mode, text }: { path: string; mode: number; text: () => string }): boolean {
  mkdirSync(dirname(path), { recursive: true });
  try {
    writeFileSync(path, text(), { flag: 'wx', mode });
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

function renderEnvironmentFile({ providerIds, keylessProviderIds }: KnownProviders): string {
  const keys = providerIds
    .filter((id) => !keylessProviderIds.includes(id))
    .map((id) => `# ${id.toUpperCase().replaceAll('-', '_')}_API_KEY=`);
  return [
    '# Keep this file secret and out of version control. Every API key becomes void when TOLLGATE_SECRET changes.',
    `TOLLGATE_SECRET=${randomBytes(32).toString('hex')}`,
    '# A provider is on when its key is set.',
    ...keys,
    '',
  ].join('\n');
}
