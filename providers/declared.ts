/** Endpoints that are configuration alone: vLLM, Ollama, LM Studio, another gateway. The dialect is all that is known. */
import type { ProviderAdapter } from '../src/contract/provider.ts';
import { createOpenAiCompatible } from './openai-compatible.ts';
import { localFates, openAiFates } from './openai-fates.ts';

export const dialects = ['openai-compat', 'openai-exact'] as const;
export type Dialect = (typeof dialects)[number];

export type DeclaredProvider = {
  id: string;
  /** One of `dialects`. */
  dialect: string;
  baseUrl: string;
  name?: string;
  /** True: the server refuses fields newer than 2024, such as `stream_options`. */
  legacy?: boolean;
};

export function createDeclaredProvider(declared: DeclaredProvider): ProviderAdapter {
  const { id, dialect, baseUrl } = declared;
  if (!dialects.some((known) => known === dialect)) {
    throw new Error(`provider ${id}: unknown dialect ${dialect}; known are ${dialects.join(', ')}`);
  }
  const isExact = dialect === 'openai-exact';
  return createOpenAiCompatible({
    id,
    name: declared.name ?? id,
    baseUrl: baseUrl.replace(/\/+$/, ''),
    needsKey: false,
    isExact,
    fates: isExact ? openAiFates : localFates,
    supportsStreamOptions: declared.legacy !== true,
  });
}
