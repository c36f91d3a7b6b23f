/**
 * The few file operations that the journal needs, in one folder. An interface, so that a full or a stalled disk can be put
 * in its place. Every write is positional and whole, or it fails. Must know nothing of frames.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { join } from 'node:path';

export type DiskFile = {
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** The data is on the medium when it resolves. */
  sync(): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  /** Waits for what is under way. */
  close(): Promise<void>;
};

export type JournalDisk = {
  /** For messages. */
  pathOf(name: string): string;
  list(): readonly string[];
  sizeBytes(name: string): number;
  read(name: string): Buffer;
  /** Only before anything is written: it blocks. */
  cut(name: string, sizeBytes: number): void;
  remove(name: string): void;
  /** Fails when it is there already. */
  create(name: string): Promise<DiskFile>;
  open(name: string): Promise<DiskFile>;
  rename(from: string, to: string): Promise<void>;
};

export function openJournalDisk(folder: string): JournalDisk {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const pathOf = (name: string): string => join(folder, name);

  /** A new name is only as durable as the folder that holds it. */
  async function syncFolder(): Promise<void> {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  return {
    pathOf,
    list: () => readdirSync(folder),
    sizeBytes: (name) => statSync(pathOf(name)).size,
    read: (name) => readFileSync(pathOf(name)),
    cut: (name, sizeBytes) => truncateSync(pathOf(name), sizeBytes),
    remove: (name) => rmSync(pathOf(name), { force: true }),
    async create(name) {
      const handle = await open(pathOf(name), 'wx', 0o600);
      await syncFolder();
      return diskFile(handle);
    },
    open: async (name) => diskFile(await open(pathOf(name), 'r+')),
    async rename(from, to) {
      await rename(pathOf(from), pathOf(to));
      await syncFolder();
    },
  };
}

function diskFile(handle: FileHandle): DiskFile {
  return {
    async write(bytes, offset) {
      let written = 0;
      // A disk that fills up takes a part first and refuses the rest.
      while (written < bytes.length) {
        const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, offset + written);
        written += bytesWritten;
      }
    },
    sync: () => handle.datasync(),
    truncate: (sizeBytes) => handle.truncate(sizeBytes),
    close: () => handle.close(),
  };
}
