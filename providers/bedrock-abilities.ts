/**
 * What a model of Bedrock's can do. Its ids come under many names (regions before them, versions behind, profiles around),
 * so the family is read off the name; what the catalogue says of the exact id comes first. Spec: fidelity 4.3, 5.4.
 */
import type { ModelAbilities } from '../src/contract/flow.ts';
import type { AdapterTarget } from '../src/contract/provider.ts';
import { abilitiesOf, outputTokensOf, type ClaudeAbilities } from './anthropic-abilities.ts';

/** How an effort is said: not at all, as Claude's thinking, as gpt-oss has it, or as Nova has it. */
export type EffortForm = 'none' | 'claude' | 'gpt-oss' | 'nova';

export type ConverseModel = {
  abilities: ClaudeAbilities;
  /** Infinity: not known. */
  maxOutputTokens: number;
  effortForm: EffortForm;
  /** False: it can be made to call some tool, but none by its name. */
  takesNamedTool: boolean;
  /** Where a cache point may stand. */
  cachePoints: 'everywhere' | 'not-in-tools' | 'nowhere';
  /** Members of `additionalModelRequestFields` that say `top_k`. */
  topK: (value: number) => { top_k: number } | { inferenceConfig: { topK: number } };
};

type Family = { name: RegExp; maxOutputTokens?: number; abilities: ModelAbilities; hasCache?: false };

const older: ModelAbilities = { thinking: 'none', sampling: 'both', topK: true, jsonSchema: false, strictTools: false };
const budget: ModelAbilities = { ...older, thinking: 'budget', canStopThinking: true, forcedTool: 'unless-thinking' };
const prefill = true;

/** The first that fits; a Claude that none fits is taken for the newest. */
const claudes: readonly Family[] = [
  {
    name: /claude-(?:v\d|instant|3-(?:haiku|sonnet|opus))/,
    maxOutputTokens: 4096,
    abilities: { ...older, prefill },
    hasCache: false,
  },
  { name: /claude-3-5/, maxOutputTokens: 8192, abilities: { ...older, prefill } },
  { name: /claude-(?:3-7-sonnet|sonnet-4-\d{8})/, maxOutputTokens: 64_000, abilities: { ...budget, prefill } },
  { name: /claude-opus-4-(?:1-)?\d{8}/, maxOutputTokens: 32_000, abilities: { ...budget, prefill } },
  {
    name: /claude-\w+-4-5/,
    maxOutputTokens: 64_000,
    abilities: { ...budget, prefill, sampling: 'one', jsonSchema: true, strictTools: true },
  },
  {
    name: /claude-(?:fable|mythos|(?:opus|sonnet)-5-5)/,
    abilities: { forcedTool: 'never' },
  },
  { name: /claude-(?:opus-4-[78]|(?:opus|sonnet|haiku)-5)/, abilities: { canStopThinking: true } },
  {
    name: /claude-\w+-4-6/,
    abilities: {
      canStopThinking: true,
      efforts: ['low', 'medium', 'high', 'max'],
      sampling: 'both',
      topK: true,
    },
  },
];

/** What is left unsaid to a model that nobody knows is for the provider to refuse. */
const unknown: ClaudeAbilities = {
  thinking: 'none',
  canStopThinking: false,
  efforts: [],
  sampling: 'both',
  topK: true,
  jsonSchema: false,
  strictTools: false,
  forcedTool: 'accepted',
  inlineSystem: false,
  prefill: true,
};

/** Vendors whose models take no choice of a tool but their own. */
const choosesItself =
  /(?:^|[./])(?:meta|deepseek|writer|openai|qwen|minimax|moonshot(?:ai)?|zai|ai21|cohere|google|nvidia)\./;
/** Those that answer by a schema. */
const knowsSchemas =
  /(?:^|[./])(?:openai\.gpt-oss|qwen\.qwen3|minimax\.|moonshot(?:ai)?\.kimi|zai\.|google\.gemma-3|nvidia\.nemotron|deepseek\.v3|mistral\.(?:ministral|magistral|voxtral|mistral-large-3))/;

const isMistral = /(?:^|[./])mistral\./;

const flatTopK = (value: number): { top_k: number } => ({ top_k: value });

function claude(target: AdapterTarget): ConverseModel {
  const family = claudes.find(({ name }) => name.test(target.upstreamModel.toLowerCase()));
  return {
    // Nothing of Converse's stands for a system message inside the conversation.
    abilities: {
      ...abilitiesOf({ ...target, model: null }),
      ...family?.abilities,
      ...own(target),
      inlineSystem: false,
    },
    maxOutputTokens: target.model?.maxOutputTokens || family?.maxOutputTokens || outputTokensOf(target),
    effortForm: 'claude',
    takesNamedTool: true,
    cachePoints: family?.hasCache === false ? 'nowhere' : 'everywhere',
    topK: flatTopK,
  };
}

const own = ({ model }: AdapterTarget): ModelAbilities => model?.abilities ?? {};

export function modelOf(target: AdapterTarget): ConverseModel {
  const name = target.upstreamModel.toLowerCase();
  if (name.includes('claude')) return claude(target);
  const isNova = name.includes('amazon.nova');
  const known: ModelAbilities = {
    ...(choosesItself.test(name) ? { forcedTool: 'never' } : {}),
    ...(knowsSchemas.test(name) ? { jsonSchema: true } : {}),
  };
  return {
    abilities: { ...unknown, ...known, ...own(target), inlineSystem: false },
    maxOutputTokens: target.model?.maxOutputTokens || Infinity,
    effortForm: name.includes('openai.gpt-oss') ? 'gpt-oss' : name.includes('amazon.nova-2') ? 'nova' : 'none',
    takesNamedTool: !isMistral.test(name),
    cachePoints: isNova ? 'not-in-tools' : choosesItself.test(name) || isMistral.test(name) ? 'nowhere' : 'everywhere',
    topK: isNova ? (value) => ({ inferenceConfig: { topK: value } }) : flatTopK,
  };
}
