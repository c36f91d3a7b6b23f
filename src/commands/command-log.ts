/** What rooms log while a command runs: trouble is for the person at the terminal, the rest for nobody. */
import type { CommandIo } from './command.ts';

export type CommandLog = {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
};

export function commandLog(io: CommandIo): CommandLog {
  return {
    info: () => {},
    warn: (_, message) => io.stderr(`warning: ${message}\n`),
  };
}
