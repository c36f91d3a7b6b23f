/** Runs a command as `main.ts` does: words in, what it said and its exit code out. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Test } from 'tap';
import type { Command } from '../../src/commands/command.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { GatewayConfig } from '../../src/config/types.ts';

export type Outcome = { code: number; stdout: string; stderr: string };

const tiers = `
tiers:
  free: { price: 0,  rpm: 10,  concurrency: 2,  history: 7d,  models: "*" }
  pro:  { price: 49, rpm: 100, concurrency: 10, history: 30d, models: "*" }
`;

export async function runCommand(command: Command, words: readonly string[], stdin = ''): Promise<Outcome> {
  const { values, positionals } = parseArgs({ args: [...words], options: command.options, allowPositionals: true });
  const said = { stdout: '', stderr: '' };
  const code = await command.run({
    positionals,
    values: Object.fromEntries(
      Object.entries(values).filter((entry): entry is [string, string | boolean] => !Array.isArray(entry[1])),
    ),
    io: {
      stdout: (text) => void (said.stdout += text),
      stderr: (text) => void (said.stderr += text),
      readStdin: () => Promise.resolve(stdin),
    },
  });
  return { code, ...said };
}

/** A real configuration of two tiers over the given environment, in a folder of its own. */
export function commandConfig(t: Test, environment: Readonly<Record<string, string>>): GatewayConfig {
  const folder = t.testdir({});
  writeFileSync(join(folder, 'gateway.yaml'), tiers);
  return loadConfig({
    environment: {
      TOLLGATE_DATA: join(folder, 'data'),
      TOLLGATE_SECRET: 'a secret of thirty-two characters',
      ...environment,
    },
    flags: { config: join(folder, 'gateway.yaml') },
    workingDirectory: folder,
    providerIds: [],
    dialects: [],
  });
}
