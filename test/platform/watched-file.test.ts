import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pino from 'pino';
import t from 'tap';
import { watchTextFile } from '../../src/platform/watched-file.ts';

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await delay(10);
}

t.test('a mounted secret is read again, and a missing or empty one leaves the last', async (t) => {
  const path = join(t.testdir({ key: 'first\n' }), 'key');
  const lines: string[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  const file = watchTextFile(path, { initial: 'first', log, intervalMs: 20 });
  t.teardown(() => file.close());
  t.equal(file.text(), 'first');
  writeFileSync(path, 'second-secret\n');
  await until(() => file.text() === 'second-secret');
  writeFileSync(path, '\n');
  await until(() => lines.some((line) => line.includes('cannot be read')));
  t.equal(file.text(), 'second-secret');
  rmSync(path);
  await delay(60);
  t.equal(file.text(), 'second-secret');
  t.equal(lines.filter((line) => line.includes('cannot be read')).length, 1, 'said once');
  writeFileSync(path, 'third');
  await until(() => file.text() === 'third');
  t.notMatch(lines.join(''), /second-secret|third/, 'no key is logged');
});
