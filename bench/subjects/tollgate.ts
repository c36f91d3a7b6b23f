/**
 * Starts our own gateway the way an operator does: `node src/main.ts serve` with a configuration file and variables.
 * The configuration is the one of the repository with every limit raised until nothing is refused, so that each check
 * is still made. Its log goes to a file.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { answers200, freePort, waitUntil } from '../network.ts';
import type { RunningProcess } from '../processes.ts';
import { firstReply } from './first-reply.ts';
import type { SubjectEnvironment } from './subject.ts';

const root = join(import.meta.dirname, '..', '..');
const program = join(root, 'src', 'main.ts');
const configDirectory = join(root, 'config');

export type GatewayLaunch = {
  upstreamPort: number;
  databaseUrl: string | null;
  redisUrl: string | null;
  apiKey: string;
  /** Further words after `serve`. */
  words: readonly string[];
};

export type RunningGateway = { port: number; owner: RunningProcess; firstReplyMs: number };

/** What `serve` says of itself; null while there is no such command. A mode counts from the day its flag is in here. */
export function serveHelp(): string | null {
  if (!existsSync(program)) return null;
  const help = spawnSync(process.execPath, [program, 'serve', '--help'], { encoding: 'utf8', timeout: 20_000 });
  return help.status === 0 ? `${help.stdout}${help.stderr}` : null;
}

/** JSON is YAML too. The file is copied beside its catalogue, which it names by a relative path. */
function writeConfig(directory: string): string {
  mkdirSync(directory, { recursive: true });
  const file = join(configDirectory, 'gateway.yaml');
  // The repository's own file; `config check` has validated it.
  const config = parse(readFileSync(file, 'utf8')) as { tiers: Record<string, object> };
  const limits = { rpm: 1_000_000_000, tpm: 10_000_000_000, concurrency: 100_000 };
  const tiers = Object.fromEntries(
    Object.entries(config.tiers).map(([name, tier]) => [name, { ...tier, ...limits, models: '*' }]),
  );
  copyFileSync(join(configDirectory, 'models.yaml'), join(directory, 'models.yaml'));
  const target = join(directory, 'gateway.yaml');
  writeFileSync(target, JSON.stringify({ ...config, tiers }, null, 2));
  return target;
}

function gatewayEnvironment(launch: GatewayLaunch, dataDirectory: string): Record<string, string> {
  return {
    NODE_ENV: 'production',
    HOST: '127.0.0.1',
    TOLLGATE_SECRET: randomBytes(32).toString('hex'),
    TOLLGATE_BOOTSTRAP_KEY: launch.apiKey,
    TOLLGATE_DATA: dataDirectory,
    OPENAI_API_KEY: 'dummy',
    OPENAI_BASE_URL: `http://127.0.0.1:${launch.upstreamPort}/v1`,
    ...(launch.databaseUrl === null ? {} : { DATABASE_URL: launch.databaseUrl }),
    ...(launch.redisUrl === null ? {} : { REDIS_URL: launch.redisUrl }),
  };
}

export function migrate(databaseUrl: string): void {
  const migrated = spawnSync(process.execPath, [program, 'migrate', 'up'], {
    cwd: root,
    encoding: 'utf8',
    timeout: 60_000,
    env: { PATH: process.env['PATH'], DATABASE_URL: databaseUrl, TOLLGATE_SECRET: randomBytes(32).toString('hex') },
  });
  if (migrated.status !== 0) throw new Error(`migrate up failed: ${migrated.stdout}${migrated.stderr}`.trim());
}

export async function startGateway(
  { processes, core, scratchDirectory }: SubjectEnvironment,
  launch: GatewayLaunch,
): Promise<RunningGateway> {
  const port = await freePort();
  const directory = join(scratchDirectory, `tollgate-${port}`);
  const config = writeConfig(directory);
  const startedAtMs = performance.now();
  const owner = processes.start(
    process.execPath,
    [program, 'serve', '--port', String(port), '--config', config, ...launch.words],
    {
      core,
      environment: gatewayEnvironment(launch, join(directory, 'data')),
      logFile: join(directory, 'gateway.log'),
    },
  );
  await waitUntil(() => answers200({ port, path: '/readyz' }), owner, 60_000);
  const headers = { authorization: `Bearer ${launch.apiKey}` };
  const firstReplyMs = await firstReply({ port, headers, owner, startedAtMs });
  return { port, owner, firstReplyMs };
}
