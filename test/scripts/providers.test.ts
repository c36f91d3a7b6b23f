/** The page of providers is the registry's own word. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { registry } from '../../providers/index.ts';
import { pagePath, providersPage } from '../../scripts/providers.ts';
import type { ProviderAdapter } from '../../src/contract/provider.ts';

t.test('the committed page is what the registry says; if not: node scripts/providers.ts', (t) => {
  t.equal(readFileSync(pagePath, 'utf8'), providersPage());
  t.end();
});

t.test('names every provider, its variable and its settings', (t) => {
  const page = providersPage();
  for (const adapter of Object.values<ProviderAdapter>(registry)) {
    const { id, settings = {} } = adapter;
    const row = page.split('\n').find((line) => line.includes(`| \`${id}\` |`)) ?? '';
    t.equal(row !== '', adapter.answer === undefined, id);
    for (const name of Object.keys(settings)) t.match(row, `\`${name}\``);
  }
  t.match(page, '`AZURE_OPENAI_API_KEY`');
  t.end();
});
