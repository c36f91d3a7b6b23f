/** What a command of the `tollgate` program is. `main.ts` holds the table; each command is imported only when it runs. */
import type { ParseArgsOptionsConfig } from 'node:util';

/** Data goes to stdout, everything said to a person to stderr. */
export type CommandIo = {
  stdout(text: string): void;
  stderr(text: string): void;
  /** All of the standard input: for secrets, which belong neither into a shell's history nor into a list of processes. */
  readStdin(): Promise<string>;
};

export type Invocation = {
  /** Words after the command's name. */
  positionals: readonly string[];
  values: Readonly<Record<string, string | boolean | undefined>>;
  io: CommandIo;
};

export type Command = {
  summary: string;
  usage: string;
  examples: readonly string[];
  options: ParseArgsOptionsConfig;
  /** Gives the exit code: 0 ok, 1 failed, 2 usage. */
  run(invocation: Invocation): Promise<number>;
};
