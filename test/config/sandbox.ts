/** A working directory of one test, with the names that a composition root would pass in. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { loadConfig } from '../../src/config/load.ts';
import { ConfigError, formatProblem } from '../../src/config/report.ts';
import type { GatewayConfig } from '../../src/config/types.ts';

export const known = {
  providerIds: ['acme', 'big-cloud', 'demo', 'local-llm'],
  keylessProviderIds: ['demo', 'local-llm'],
  dialects: ['openai-compat', 'openai-exact'],
  settings: {
    'big-cloud': {
      region: { description: 'a region such as eu-west-1', isRequired: true, pattern: /^[a-z0-9-]+$/ },
      project: { description: 'a project', isRequired: false, pattern: /^\w+$/ },
    },
  },
};

export const tinyCatalogue = [
  'as_of: { acme: 2025-09-30 }',
  'models:',
  '  acme/one: { name: One, context: 128k, max_output: 16k, input: [text], output: [text], parameters: [stop], price: { in: 2.50, out: 10 }, created: 2024-05-13 }',
  '',
].join('\n');

export type Sandbox = {
  directory: string;
  write(path: string, text: string): string;
  load(environment?: Record<string, string>, flags?: { config?: string; port?: string; host?: string }): GatewayConfig;
  /** The lines that a failed start would print. */
  problems(environment?: Record<string, string>, flags?: { config?: string; port?: string; host?: string }): string[];
};

export function createSandbox(t: { teardown(callback: () => void): void }): Sandbox {
  const directory = mkdtempSync(join(tmpdir(), 'tollgate-config-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const sandbox: Sandbox = {
    directory,
    write(path, text) {
      const target = join(directory, path);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, text);
      return target;
    },
    load: (environment = {}, flags = {}) => loadConfig({ ...known, environment, flags, workingDirectory: directory }),
    problems(environment, flags) {
      try {
        sandbox.load(environment, flags);
        return [];
      } catch (error) {
        if (error instanceof ConfigError) return error.problems.map(formatProblem);
        throw error;
      }
    },
  };
  sandbox.write('config/models.yaml', tinyCatalogue);
  sandbox.write('config/gateway.yaml', '');
  return sandbox;
}
