/** The registry: one line per provider. Everything else that knows a provider's name lives in that provider's own file. */
import type { ProviderAdapter } from '../src/contract/provider.ts';
import { anthropic } from './anthropic.ts';
import { demo } from './demo.ts';
import { openai } from './openai.ts';
import { together } from './together.ts';

export { createDeclaredProvider, dialects, type DeclaredProvider, type Dialect } from './declared.ts';

export const registry = {
  openai,
  anthropic,
  together,
  demo,
} satisfies Record<string, ProviderAdapter>;

export type ProviderId = keyof typeof registry;
