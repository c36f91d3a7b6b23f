#!/usr/bin/env node
/** The command line: one table of commands, each imported only when it runs. `serve` is what no command means. */
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';
import type { Command, CommandIo } from './commands/command.ts';

type Entry = { summary: string; load: () => Promise<Command> };

const commands: Record<string, Entry> = {
  serve: {
    summary: 'start the gateway',
    load: async () => (await import('./commands/serve.ts')).serve,
  },
  migrate: {
    summary: 'bring the database schema up to date',
    load: async () => (await import('./commands/table.ts')).migrate,
  },
  keys: {
    summary: 'create, list and revoke API keys',
    load: async () => (await import('./commands/table.ts')).keys,
  },
  users: {
    summary: 'create and list users',
    load: async () => (await import('./commands/table.ts')).users,
  },
  ledger: {
    summary: 'show usage records without a row, and try them again',
    load: async () => (await import('./commands/table.ts')).ledger,
  },
  credentials: {
    summary: "keep an account's own provider keys",
    load: async () => (await import('./commands/table.ts')).credentials,
  },
  config: {
    summary: 'write, check and print the configuration',
    load: async () => (await import('./commands/table.ts')).config,
  },
  healthcheck: {
    summary: 'ask the gateway on this machine whether it is alive',
    load: async () => (await import('./commands/healthcheck.ts')).healthcheck,
  },
};

const io: CommandIo = {
  stdout: (said) => process.stdout.write(said),
  stderr: (said) => process.stderr.write(said),
  readStdin: () => text(process.stdin),
};

process.exitCode = await run(process.argv.slice(2));

async function run(words: readonly string[]): Promise<number> {
  const [first] = words;
  if (first === '--help' || first === '-h' || first === 'help') {
    io.stdout(overview());
    return 0;
  }
  const isNamed = first !== undefined && !first.startsWith('-');
  const name = isNamed ? first : 'serve';
  const entry = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (entry === undefined) {
    io.stderr(`There is no command ${JSON.stringify(name)}.\n\n${overview()}`);
    return 2;
  }
  const command = await entry.load();
  try {
    const { values, positionals } = parseArgs({
      args: isNamed ? words.slice(1) : [...words],
      options: { ...command.options, help: { type: 'boolean', short: 'h' } },
      allowPositionals: true,
    });
    if (values['help'] === true) {
      io.stdout(help(name, command));
      return 0;
    }
    return await command.run({ positionals, values: scalars(values), io });
  } catch (error) {
    const isUsage = error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS');
    io.stderr(
      `${error instanceof Error ? error.message : String(error)}\n${isUsage ? `\n${help(name, command)}` : ''}`,
    );
    return isUsage ? 2 : 1;
  }
}

function scalars(values: Readonly<Record<string, unknown>>): Record<string, string | boolean | undefined> {
  const entries = Object.entries(values).flatMap(([name, value]) =>
    typeof value === 'string' || typeof value === 'boolean' ? [[name, value] as const] : [],
  );
  return Object.fromEntries(entries);
}

function overview(): string {
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(13)}${summary}\n`);
  return `Usage: tollgate [command] [options]\n\n${lines.join('')}\ntollgate <command> --help tells more.\n`;
}

function help(name: string, command: Command): string {
  const examples = command.examples.map((example) => `  ${example}\n`).join('');
  return `${command.summary}\n\nUsage: tollgate ${command.usage}\n\nExamples:\n${examples}`.replace(/\(name\)/g, name);
}
