/** The one logger: JSON lines, buffered, with secrets redacted by path. Everything said about a request is one line from settle. */
import { createRequire } from 'node:module';
import { type DestinationStream, type Logger, pino } from 'pino';

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
];

/** Lines wait in memory for up to a second or 4 KB: a write per request would cost more than the request's own bookkeeping. */
export function createLogger(options: LoggerOptions): { log: Logger; flush: () => void } {
  const pretty = options.isPretty === true ? openPrettyPrinter() : null;
  const destination = pino.destination({
    dest: options.destination ?? 1,
    sync: false,
    minLength: 4096,
    periodicFlush: 1000,
  });
  const log = pino(
    {
      level: options.level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: redactedPaths, censor: '[redacted]' },
    },
    pretty ?? destination,
  );
  return {
    log,
    flush() {
      // Nothing was written yet when the file is not open; flushSync would throw then.
      try {
        destination.flushSync();
      } catch {
        destination.flush();
      }
    },
  };
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
