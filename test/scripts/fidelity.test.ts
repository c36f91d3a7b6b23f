/** The page of the fidelity contract is the adapters' own word. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { registry } from '../../providers/index.ts';
import { columns, fidelityPage, labels, pagePath } from '../../scripts/fidelity.ts';

t.test('the committed page is what the adapters say; if not: node scripts/fidelity.ts', (t) => {
  t.equal(readFileSync(pagePath, 'utf8'), fidelityPage());
  t.end();
});

t.test('has a row for every row of the tables and a column for every provider', (t) => {
  t.same(columns.map(({ id }) => id).slice(0, -1), Object.keys(registry));
  for (const { id, endpoints } of columns) {
    t.same(Object.keys(endpoints.chat?.fates ?? {}).sort(), Object.keys(labels).sort(), id);
  }
  t.notMatch(fidelityPage(), / \? \|/, 'no cell is open');
  t.end();
});
