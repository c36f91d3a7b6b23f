/**
 * The page of providers: what switches each on, where it is, what it must be told beside its key. Read off the registry:
 * `node scripts/providers.ts` writes docs/reference/providers.md, and a test keeps the two equal.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { registry } from '../providers/index.ts';
import type { ProviderAdapter } from '../src/contract/provider.ts';

export const pagePath = join(import.meta.dirname, '../docs/reference/providers.md');

const prefixOf = (id: string): string => id.toUpperCase().replaceAll('-', '_');

function settingsOf({ id, settings = {} }: ProviderAdapter): string {
  return Object.entries(settings)
    .map(([name, { description, isRequired }]) => {
      const variable = `${prefixOf(id)}_${name.toUpperCase()}`;
      return `\`${name}\` (\`${variable}\`${isRequired ? ', required' : ''}): ${description.replace(/\.$/, '')}`;
    })
    .join('<br>');
}

export function providersPage(): string {
  const adapters: readonly ProviderAdapter[] = Object.values(registry);
  const rows = adapters
    .filter((adapter) => adapter.answer === undefined)
    .map((adapter) => {
      const key = adapter.needsKey
        ? `\`${prefixOf(adapter.id)}_API_KEY\``
        : `none; \`${prefixOf(adapter.id)}_BASE_URL\``;
      return `| ${adapter.name} | \`${adapter.id}\` | ${key} | ${adapter.baseUrl} | ${settingsOf(adapter)} |`;
    });
  return `${[
    '# Providers',
    '',
    'Written by `node scripts/providers.ts` from the registry; a test fails when the two differ. A provider is on when what',
    'the third column names is in the environment, or when its entry in `gateway.yaml` has a `key`; one that needs no key is',
    'on when it has an entry at all. Settings are written under `settings:` of the entry, or in the environment. A local',
    'server at a private address that is named in `gateway.yaml` needs `allow_private: true`.',
    '',
    '```yaml',
    'providers:',
    '  groq: { key: "${file:/run/secrets/groq}" }',
    '  azure-openai: { key: "${AZURE_KEY}", settings: { resource: acme-eu, api_version: 2024-10-21 } }',
    '  ollama: { base_url: http://127.0.0.1:11434/v1, allow_private: true }',
    '```',
    '',
    'A model is `<id>/<name at the provider>`, such as `groq/llama-3.3-70b-versatile`; at Azure OpenAI the name is that of the',
    'deployment. What becomes of each parameter is in [fidelity.md](fidelity.md).',
    '',
    '| provider | id | switched on by | base URL | settings |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n')}\n`;
}

if (import.meta.main) writeFileSync(pagePath, providersPage());
