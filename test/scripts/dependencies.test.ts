import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

const root = join(import.meta.dirname, '../..');

t.test('says why each dependency is there, and names none that is gone', (t) => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<
    'dependencies' | 'devDependencies',
    Record<string, string>
  >;
  const document = readFileSync(join(root, 'docs/dependencies.md'), 'utf8');
  const explained = [...document.matchAll(/^- `([^`]+)`: \S.{10,}$/gm)].map((match) => match[1] ?? '');
  const present = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.devDependencies)];
  t.same(new Set(explained), new Set(present));
  t.equal(explained.length, present.length, 'each one once');
  t.ok(present.length > 0);
  t.end();
});
