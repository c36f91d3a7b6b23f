/** The registry: one line per provider. Everything else that knows a provider's name lives in that provider's own file. */
import type { ProviderAdapter } from '../src/contract/provider.ts';
import { alibaba } from './alibaba.ts';
import { anthropic } from './anthropic.ts';
import { azureOpenai } from './azure-openai.ts';
import { bedrock } from './bedrock.ts';
import { cerebras } from './cerebras.ts';
import { cohere } from './cohere.ts';
import { deepseek } from './deepseek.ts';
import { demo } from './demo.ts';
import { fireworks } from './fireworks.ts';
import { google } from './google.ts';
import { groq } from './groq.ts';
import { heroku } from './heroku.ts';
import { huggingface } from './huggingface.ts';
import { lmstudio } from './lmstudio.ts';
import { mistral } from './mistral.ts';
import { moonshot } from './moonshot.ts';
import { nvidia } from './nvidia.ts';
import { ollama } from './ollama.ts';
import { openai } from './openai.ts';
import { openrouter } from './openrouter.ts';
import { perplexity } from './perplexity.ts';
import { snowflake } from './snowflake.ts';
import { together } from './together.ts';
import { vertex } from './vertex.ts';
import { vllm } from './vllm.ts';
import { xai } from './xai.ts';
import { zai } from './zai.ts';

export { createDeclaredProvider, dialects, type DeclaredProvider, type Dialect } from './declared.ts';

export const registry = {
  openai,
  anthropic,
  google,
  vertex,
  'azure-openai': azureOpenai,
  bedrock,
  together,
  groq,
  mistral,
  deepseek,
  xai,
  fireworks,
  openrouter,
  perplexity,
  cohere,
  cerebras,
  nvidia,
  huggingface,
  moonshot,
  zai,
  alibaba,
  snowflake,
  heroku,
  ollama,
  vllm,
  lmstudio,
  demo,
} satisfies Record<string, ProviderAdapter>;

export type ProviderId = keyof typeof registry;
