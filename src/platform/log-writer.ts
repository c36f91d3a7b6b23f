/**
 * Where log lines go: gathered in memory and written in pieces, outside the event loop. Takes an open file; gives a
 * destination for the logger. Must never block a request, never throw, never grow without bound: a log whose reader is
 * stuck or gone, or whose disk is full, loses lines and nothing else. (pino's own destination ends the process on a full
 * disk, and then tries for ever to write the rest.)
 */
import * as fs from 'node:fs';

export type LogWriter = {
  write(text: string): void;
  /** Returns when what waits is written, or cannot be. A piece that is on its way already may land behind it. */
  flush(): void;
};

export type LogWriterOptions = {
  files?: {
    write(fd: number, bytes: Buffer, done: (error: NodeJS.ErrnoException | null, written: number) => void): void;
    writeSync(fd: number, bytes: Buffer): number;
  };
  /** How long a line waits for company. */
  waitMs?: number;
};

const pieceCharacters = 8192;
/** Some ten thousand lines; a reader that is so far behind is not reading. */
const capCharacters = 4 * 1024 * 1024;
const busyMs = 20;
const flushTries = 50;

export function createLogWriter(fd: number, options: LogWriterOptions = {}): LogWriter {
  const { files = fs, waitMs = 1000 } = options;
  let waiting = '';
  let lostLines = 0;
  let isWriting = false;
  let timer: NodeJS.Timeout | null = null;

  function takeWaiting(): Buffer {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    const notice =
      lostLines === 0 ? '' : `${JSON.stringify({ level: 'warn', lost: lostLines, msg: 'log lines lost' })}\n`;
    const bytes = Buffer.from(waiting + notice);
    waiting = '';
    lostLines = 0;
    return bytes;
  }

  function writeOut(): void {
    if (isWriting) return;
    isWriting = true;
    writePiece(takeWaiting());
  }

  function writePiece(piece: Buffer): void {
    files.write(fd, piece, (error, written) => {
      const rest = error === null ? piece.subarray(written) : piece;
      if (isBusy(error)) setTimeout(() => writePiece(rest), busyMs).unref();
      else if (error === null && rest.length > 0) writePiece(rest);
      else {
        isWriting = false;
        if (waiting.length >= pieceCharacters) writeOut();
        else if (waiting !== '') wait();
      }
    });
  }

  function wait(): void {
    timer ??= setTimeout(() => {
      timer = null;
      writeOut();
    }, waitMs).unref();
  }

  return {
    write(text) {
      if (waiting.length > capCharacters) {
        lostLines += 1;
        return;
      }
      waiting += text;
      if (waiting.length >= pieceCharacters) writeOut();
      else if (!isWriting) wait();
    },
    flush() {
      let rest = takeWaiting();
      for (let tries = 0; rest.length > 0 && tries < flushTries;) {
        try {
          rest = rest.subarray(files.writeSync(fd, rest));
        } catch (error) {
          if (!isBusy(error)) return;
          tries += 1;
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, busyMs);
        }
      }
    },
  };
}

/** A pipe that is full: its reader is slow, but there. */
function isBusy(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'EAGAIN';
}
