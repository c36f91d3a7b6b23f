/** The one logger: JSON lines, buffered, with secrets redacted by path. Everything said about a request is one line from settle. */
import { pino, type Logger } from 'pino';

export type { Logger } from 'pino';

export type LoggerOptions = {
  level: string;
  /** File descriptor or path; 1 is stdout. */
  destination?: number | string;
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
    destination,
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
