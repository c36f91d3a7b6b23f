import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createLogWriter } from '../../src/platform/log-writer.ts';
import { parseObject } from '../support/json-at.ts';

type Done = (error: NodeJS.ErrnoException | null, written: number) => void;

const busy = (): NodeJS.ErrnoException => Object.assign(new Error('EAGAIN'), { code: 'EAGAIN' });
const full = (): NodeJS.ErrnoException => Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });

/** A file that answers as it is told; without an order it takes everything. */
function createFile() {
  const orders: (number | NodeJS.ErrnoException | 'never')[] = [];
  let text = '';
  let calls = 0;
  let wake = () => {};
  function take(bytes: Buffer): number {
    calls += 1;
    const order = orders.shift() ?? bytes.length;
    if (order instanceof Error) throw order;
    const written = order === 'never' ? 0 : Math.min(order, bytes.length);
    text += bytes.subarray(0, written).toString('latin1');
    return written;
  }
  return {
    orders,
    text: () => text,
    calls: () => calls,
    async until(isSo: () => boolean): Promise<void> {
      // The writer's own timer keeps no process alive.
      const hold = setInterval(() => undefined, 1000);
      while (!isSo()) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      clearInterval(hold);
    },
    files: {
      write(_fd: number, bytes: Buffer, done: Done): void {
        const isStuck = orders[0] === 'never';
        setImmediate(() => {
          try {
            const written = take(bytes);
            if (!isStuck) done(null, written);
          } catch (error) {
            done(error as NodeJS.ErrnoException, 0);
          }
          wake();
        });
      },
      writeSync: (_fd: number, bytes: Buffer): number => take(bytes),
    },
  };
}

function open(t: Test, flags: string): { fd: number; read: () => string } {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-log-'));
  const path = join(folder, 'log');
  closeSync(openSync(path, 'w'));
  const fd = openSync(path, flags);
  t.teardown(() => {
    closeSync(fd);
    rmSync(folder, { recursive: true, force: true });
  });
  return { fd, read: () => readFileSync(path, 'utf8') };
}

const piece = `${'x'.repeat(8191)}\n`;

t.test('gathers lines and writes them together after a while', async (t) => {
  const file = createFile();
  const writer = createLogWriter(1, { files: file.files, waitMs: 1 });
  writer.write('one\n');
  writer.write('two\n');
  await file.until(() => file.text() !== '');
  t.equal(file.text(), 'one\ntwo\n');
  t.equal(file.calls(), 1);
  writer.write('three\n');
  await file.until(() => file.text().endsWith('three\n'));
  t.equal(file.calls(), 2);
});

t.test('writes at once what is large enough, and what came meanwhile after it', async (t) => {
  const file = createFile();
  const writer = createLogWriter(1, { files: file.files, waitMs: 1 });
  writer.write(piece);
  writer.write('two\n');
  writer.write(piece);
  await file.until(() => file.calls() === 2);
  t.equal(file.text(), `${piece}two\n${piece}`);
  writer.write('last\n');
  await file.until(() => file.text().endsWith('last\n'));
});

t.test('a file that takes a part of it gets the rest, and a busy one gets it later', async (t) => {
  const file = createFile();
  file.orders.push(5000, busy(), 100, busy());
  const writer = createLogWriter(1, { files: file.files, waitMs: 1 });
  writer.write(piece);
  writer.write('two\n');
  await file.until(() => file.text().endsWith('two\n'));
  t.equal(file.text(), `${piece}two\n`);
});

t.test('a full disk loses what it does not take and nothing else', async (t) => {
  const file = createFile();
  file.orders.push(full());
  const writer = createLogWriter(1, { files: file.files, waitMs: 1 });
  writer.write('lost\n');
  await file.until(() => file.calls() === 1);
  writer.write('kept\n');
  await file.until(() => file.text() !== '');
  t.equal(file.text(), 'kept\n');
});

t.test('a flush writes everything before it returns, however the file takes it', (t) => {
  const file = createFile();
  const writer = createLogWriter(1, { files: file.files });
  writer.write('one\n');
  writer.write('two\n');
  file.orders.push(3, busy(), 2);
  writer.flush();
  t.equal(file.text(), 'one\ntwo\n');
  const calls = file.calls();
  writer.flush();
  t.equal(file.calls(), calls, 'nothing is left');
  t.end();
});

t.test('a flush gives up on a full disk, and on a reader that never reads', (t) => {
  const file = createFile();
  const writer = createLogWriter(1, { files: file.files });
  writer.write('one\n');
  file.orders.push(full());
  writer.flush();
  t.equal(file.calls(), 1);
  writer.write('two\n');
  file.orders.push(...Array.from({ length: 1000 }, busy));
  writer.flush();
  t.ok(file.calls() < 200);
  t.equal(file.text(), '');
  t.end();
});

t.test('holds a bounded number of lines for a reader that is stuck, and tells how many are lost', (t) => {
  const file = createFile();
  file.orders.push('never');
  const writer = createLogWriter(1, { files: file.files });
  for (let count = 0; count < 1000; count += 1) writer.write(piece);
  file.orders.length = 0;
  writer.flush();
  const lines = file.text().trimEnd().split('\n');
  t.ok(lines.length > 500 && lines.length < 520, `${lines.length} lines`);
  const notice = parseObject(lines.at(-1) ?? '');
  // The first one is on its way to the file for ever.
  t.same(notice, { level: 'warn', lost: 1000 - lines.length, msg: 'log lines lost' });
  t.end();
});

t.test('writes to a real file', async (t) => {
  const { fd, read } = open(t, 'a');
  const writer = createLogWriter(fd, { waitMs: 1 });
  writer.write('é😀\n');
  while (read() === '') await new Promise((resolve) => setTimeout(resolve, 1));
  writer.write('two\n');
  writer.flush();
  t.equal(read(), 'é😀\ntwo\n');
});

t.test('does not fail on a file that cannot be written to', async (t) => {
  const { fd, read } = open(t, 'r');
  const writer = createLogWriter(fd, { waitMs: 1 });
  writer.write(piece);
  await new Promise((resolve) => setTimeout(resolve, 10));
  writer.write(piece);
  t.doesNotThrow(() => writer.flush());
  t.equal(read(), '');
});

t.test('keeps no process alive', (t) => {
  const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = timers();
  const writer = createLogWriter(1, { files: createFile().files });
  writer.write('one\n');
  t.equal(timers(), before);
  writer.flush();
  t.end();
});
