/** The programs that the benchmark drives: are they here, which versions, and what to install when not. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

type Tool = { program: string; debianPackage: string; versionArgs: readonly string[] };

const needed: readonly Tool[] = [
  { program: 'wrk', debianPackage: 'wrk', versionArgs: ['-v'] },
  { program: 'nginx', debianPackage: 'nginx-light', versionArgs: ['-v'] },
  { program: 'gcc', debianPackage: 'gcc libc6-dev', versionArgs: ['--version'] },
  { program: 'taskset', debianPackage: 'util-linux', versionArgs: ['--version'] },
];

/** Debian keeps nginx in /usr/sbin, which the PATH of an ordinary user leaves out. */
export function searchPath(path: string): string {
  return [path, '/usr/local/sbin', '/usr/sbin', '/sbin'].join(delimiter);
}

export function hasProgram(program: string): boolean {
  return searchPath(process.env['PATH'] ?? '')
    .split(delimiter)
    .some((directory) => {
      try {
        accessSync(join(directory, program), constants.X_OK);
        return true;
      } catch {
        // Not in this folder.
        return false;
      }
    });
}

const missingTools = (has: (program: string) => boolean): readonly Tool[] =>
  needed.filter(({ program }) => !has(program));

const installCommand = (tools: readonly Tool[]): string =>
  `apt-get install -y ${tools.map(({ debianPackage }) => debianPackage).join(' ')}`;

/** One sentence; empty when nothing is missing. */
export function missingToolsSentence(has: (program: string) => boolean = hasProgram): string {
  const missing = missingTools(has);
  if (missing.length === 0) return '';
  return `The benchmark needs ${missing.map(({ program }) => program).join(', ')}: run "${installCommand(missing)}" as root.`;
}

/** As root on Debian it helps itself, so that a fresh container needs no second command. */
export function installMissingTools(say: (message: string) => void): void {
  const missing = missingTools(hasProgram);
  if (missing.length === 0 || process.getuid?.() !== 0 || !hasProgram('apt-get')) return;
  const command = `DEBIAN_FRONTEND=noninteractive ${installCommand(missing)}`;
  say(`installing what is missing: ${command}`);
  spawnSync('sh', ['-c', `${command} || (apt-get update && ${command})`], { stdio: ['ignore', 2, 2] });
}

export function toolVersions(): Record<string, string> {
  return Object.fromEntries(
    needed.map(({ program, versionArgs }) => {
      const { stdout, stderr } = spawnSync(program, versionArgs, { encoding: 'utf8' });
      return [program, /\d+(?:\.\d+)+/.exec(`${stdout}${stderr}`)?.[0] ?? 'unknown'];
    }),
  );
}
