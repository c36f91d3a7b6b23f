/**
 * Postgres and Redis for the tests: found, started or installed, in this order. Takes the environment and gives two
 * URLs with a `stop`; it must never skip a service in silence, never fall back when an explicit URL does not answer,
 * and never leave behind a server that it started.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { postgres } from './postgres.ts';
import { redis } from './redis.ts';
import type { Answer, RunningServer } from './server-process.ts';

export type Service = {
  name: string;
  /** The environment variable that names one. */
  variable: string;
  minimumVersion: number;
  /** What Debian and Ubuntu call it. */
  packageName: string;
  standardPort: number;
  probe(url: string): Promise<Answer>;
  standardUrls(port: number): readonly string[];
  findPrograms(directories: readonly string[]): { program: string; version: string | null }[];
  start(program: string): Promise<RunningServer>;
  /** A place of our own inside a server that belongs to somebody else. */
  isolate?(url: string): Promise<{ url: string; drop: () => Promise<void> }>;
};

export type Facts = {
  /** The explicit URL, when there is one. */
  given: { url: string; answer: Answer } | null;
  /** What answers on the standard port and is new enough. */
  found: { url: string; version: string } | null;
  /** An installed program that is new enough. */
  program: string | null;
  /** Root with apt, and not tried yet. */
  canInstall: boolean;
};

export type Step =
  | { act: 'use'; origin: 'given' | 'found'; url: string; version: string }
  | { act: 'start'; program: string }
  | { act: 'install' }
  | { act: 'stop'; problem: string; remedy: string };

/** Its message is the one sentence to print. */
export class ServiceError extends Error {}

type ServiceWords = Pick<Service, 'name' | 'variable' | 'minimumVersion' | 'packageName'>;

/** The decision for one service, from facts alone. */
export function planService(service: ServiceWords, facts: Facts): Step {
  if (facts.given !== null) {
    const { url, answer } = facts.given;
    if ('failure' in answer) {
      return {
        act: 'stop',
        problem: `${service.variable} names ${withoutPassword(url)}, which ${answer.failure}`,
        remedy: `correct or unset ${service.variable}`,
      };
    }
    return { act: 'use', origin: 'given', url, version: answer.version };
  }
  if (facts.found !== null) return { act: 'use', origin: 'found', ...facts.found };
  if (facts.program !== null) return { act: 'start', program: facts.program };
  if (facts.canInstall) return { act: 'install' };
  return {
    act: 'stop',
    problem: `no ${service.name} ${service.minimumVersion} or newer answers or is installed`,
    remedy: `install the package ${service.packageName} or set ${service.variable}`,
  };
}

/** Both decisions as one sentence when either of them stops the run; otherwise null. */
export function explainStop(steps: readonly Step[]): string | null {
  const stops = steps.filter((step) => step.act === 'stop');
  if (stops.length === 0) return null;
  const problems = stops.map((stop) => stop.problem).join(' and ');
  return `The tests cannot run because ${problems}: ${stops.map((stop) => stop.remedy).join(', and ')}.`;
}

export type Provided = {
  name: string;
  variable: string;
  url: string;
  version: string;
  origin: 'given' | 'found' | 'started' | 'installed';
  /** Of the server that was started here. */
  pid?: number | undefined;
};

export type ProvisionOptions = {
  environment: Readonly<Record<string, string | undefined>>;
  ports?: Readonly<Record<string, number>>;
  programDirectories?: readonly string[];
  /** The program that installs; null forbids it. */
  aptGet?: string | null;
  report?: (line: string) => void;
};

type Planned = { service: Service; step: Step };

/** Throws a `ServiceError`. */
export async function provideServices(
  options: ProvisionOptions,
): Promise<{ services: readonly Provided[]; stop: () => Promise<void> }> {
  const aptGet = options.aptGet === undefined ? findAptGet() : options.aptGet;
  let planned = await planServices(options, aptGet === null ? 'no' : 'possible');
  const packages = planned.flatMap(({ service, step }) => (step.act === 'install' ? [service.packageName] : []));
  if (aptGet !== null && packages.length > 0) {
    install(aptGet, packages, options);
    planned = await planServices(options, 'no');
  }
  await using started = new AsyncDisposableStack();
  const services: Provided[] = [];
  for (const { service, step } of planned) {
    const wasInstalled = packages.includes(service.packageName);
    const provided = await provide(service, step, { started, ...options });
    services.push(wasInstalled ? { ...provided, origin: 'installed' } : provided);
  }
  const owned = started.move();
  return { services, stop: () => owned.disposeAsync() };
}

/** Throws when one of the steps is to stop. */
async function planServices(options: ProvisionOptions, installation: 'possible' | 'no'): Promise<readonly Planned[]> {
  const planned = await Promise.all(
    [postgres, redis].map(async (service) => {
      const facts = await gatherFacts(service, options);
      return { service, step: planService(service, { ...facts, canInstall: installation === 'possible' }) };
    }),
  );
  const sentence = explainStop(planned.map(({ step }) => step));
  if (sentence !== null) throw new ServiceError(sentence);
  return planned;
}

async function gatherFacts(service: Service, options: ProvisionOptions): Promise<Omit<Facts, 'canInstall'>> {
  const given = options.environment[service.variable];
  if (given !== undefined && given !== '') {
    return { given: { url: given, answer: await probe(service, given) }, found: null, program: null };
  }
  for (const url of service.standardUrls(options.ports?.[service.name] ?? service.standardPort)) {
    const answer = await probe(service, url);
    if ('version' in answer) return { given: null, found: { url, version: answer.version }, program: null };
  }
  const directories = options.programDirectories ?? standardDirectories(options.environment);
  const installed = service.findPrograms(directories).find(({ version }) => isNewEnough(service, version));
  return { given: null, found: null, program: installed?.program ?? null };
}

async function probe(service: Service, url: string): Promise<Answer> {
  const answer = await service.probe(url);
  if ('failure' in answer || isNewEnough(service, answer.version)) return answer;
  return { failure: `is ${service.name} ${answer.version} where ${service.minimumVersion} or newer is needed` };
}

const isNewEnough = (service: Service, version: string | null): boolean =>
  version !== null && Number.parseInt(version, 10) >= service.minimumVersion;

async function provide(
  service: Service,
  step: Step,
  { started, report }: { started: AsyncDisposableStack; report?: (line: string) => void },
): Promise<Provided> {
  const { name, variable } = service;
  if (step.act === 'use') {
    const { origin, url, version } = step;
    if (origin === 'given' || service.isolate === undefined) return { name, variable, origin, url, version };
    const place = await service.isolate(url);
    started.defer(place.drop);
    return { name, variable, origin, url: place.url, version };
  }
  if (step.act !== 'start') throw new Error(`${name} has no plan to run`);
  report?.(`Starting ${name} from ${step.program}`);
  try {
    const { url, version, pid, stop } = await service.start(step.program);
    started.defer(stop);
    return { name, variable, origin: 'started', url, version, pid };
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    throw new ServiceError(
      `${name} did not start from ${step.program} (${cause}): repair it, or start one and set ${variable}.`,
      { cause: error },
    );
  }
}

function findAptGet(): string | null {
  return process.getuid?.() === 0 && existsSync('/usr/bin/apt-get') ? '/usr/bin/apt-get' : null;
}

/** The packages start no service that the run relies on: what they bring is started like an installed one. */
function install(aptGet: string, packages: readonly string[], options: ProvisionOptions): void {
  options.report?.(`Installing ${packages.join(' and ')} with apt-get`);
  for (const args of [['update'], ['install', '-y', '--no-install-recommends', ...packages]]) {
    const { status } = spawnSync(aptGet, args, {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...options.environment, DEBIAN_FRONTEND: 'noninteractive' },
    });
    if (status !== 0) {
      throw new ServiceError(
        `apt-get ${args[0]} failed, so install ${packages.join(' and ')} by hand and run the tests again.`,
      );
    }
  }
}

/** Newest Postgres first: Debian keeps its programs off the PATH. */
function standardDirectories(environment: ProvisionOptions['environment']): string[] {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian)
    ? readdirSync(debian).toSorted((left, right) => Number(right) - Number(left))
    : [];
  const path = (environment['PATH'] ?? '').split(':').filter((directory) => directory !== '');
  return [
    ...versions.map((version) => join(debian, version, 'bin')),
    ...new Set([...path, '/usr/local/bin', '/usr/local/sbin', '/usr/bin', '/usr/sbin']),
  ];
}

function withoutPassword(url: string): string {
  const parsed = URL.parse(url);
  if (parsed === null) return 'something that is no URL';
  if (parsed.password !== '') parsed.password = '***';
  return parsed.href;
}
