/** The one logger: JSON lines, buffered, with secrets redacted by path. Everything said about a request is one line from settle. */
import { openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type DestinationStream, type Logger, pino } from 'pino';
import { createLogWriter } from './log-writer.ts';

export type { Logger } from 'pino';

export type LoggerOptions = {
  level: string;
  /** File descriptor or path; 1 is stdout. */
  destination?: number | string;
  /** For a person at a terminal. JSON all the same where the printer is not installed, as in production. */
  isPretty?: boolean;
};

const redactedPaths = [
  'authorization',
  'cookie',
  'password',
  'secret',
  'token',
  'apiKey',
  'headers.authorization',
  'headers.cookie',
  'headers["x-api-key"]',
  'headers["set-cookie"]',
  // The Redis client hangs the command that failed on its error, and AUTH has the password for an argument.
  'err.command.args',
  // A Cluster's own error carries that of the last node that was asked.
  'err.lastNodeError.command.args',
];

/** Lines wait in memory for up to a second or 8 KB: a write per request would cost more than the request's own bookkeeping. */
export function createLogger(options: LoggerOptions): { log: Logger; flush: () => void } {
  const pretty = options.isPretty === true ? openPrettyPrinter() : null;
  const { destination = 1 } = options;
  const writer = createLogWriter(typeof destination === 'string' ? openSync(destination, 'a') : destination);
  const log = pino(
    {
      level: options.level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: redactedPaths, censor: '[redacted]' },
    },
    pretty ?? writer,
  );
  const flush = (): void => writer.flush();
  // The last lines before a crash are the ones that somebody will look for.
  if (destination === 1) process.once('exit', flush);
  return { log, flush };
}

/** A dependency of development only, so its absence is no error. */
function openPrettyPrinter(): DestinationStream | null {
  try {
    const print: unknown = createRequire(import.meta.url)('pino-pretty');
    return typeof print === 'function' ? (print({ sync: true, ignore: 'hostname,pid' }) as DestinationStream) : null;
  } catch {
    return null;
  }
}
