/**
 * A small file whose content may change while we run, as a mounted secret does. It is looked at every few seconds; one
 * that is gone, empty or no longer readable leaves what was read before.
 */
import { readFileSync } from 'node:fs';
import type { Logger } from './logger.ts';

export interface WatchedFile {
  /** Without white space at both ends. */
  text(): string;
  close(): void;
}

const defaultIntervalMs = 5_000;

export function watchTextFile(
  path: string,
  { initial, log, intervalMs = defaultIntervalMs }: { initial: string; log: Logger; intervalMs?: number },
): WatchedFile {
  let current = initial;
  let isReadable = true;
  // Read, not watched: mounts swap symbolic links, and network folders tell nobody.
  const timer = setInterval(() => {
    try {
      const text = readFileSync(path, 'utf8').trim();
      if (text === '') throw new Error('the file is empty');
      isReadable = true;
      if (text === current) return;
      current = text;
      log.info({ file: path }, 'a file that holds a key has changed and was read again');
    } catch (error) {
      if (isReadable)
        log.warn(
          { file: path, err: error },
          'a file that holds a key cannot be read; the key read before stays in use',
        );
      isReadable = false;
    }
  }, intervalMs);
  timer.unref();
  return {
    text: () => current,
    close: () => {
      clearInterval(timer);
    },
  };
}
