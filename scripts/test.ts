/** Every check and every test, in one run: types, lint, format, then the suites. Extra arguments go to tap. */
import { spawnSync } from 'node:child_process';

function run(command: string, args: readonly string[]): void {
  const { status } = spawnSync(command, args, { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

run('npm', ['run', '--silent', 'check']);
run('tap', ['run', ...process.argv.slice(2)]);
