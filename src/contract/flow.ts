/**
 * What travels down the corridor: who asks, which model, what was used, and the row that the ledger keeps.
 * Plain immutable data; rooms agree on it and none owns it.
 */
import type { MoneyLimits } from './budgets.ts';
import type { TierOptions } from './tier-options.ts';

/** Limits of one scope; null means that this scope does not limit it. */
export type Limits = {
  requestsPerMinute: number | null;
  tokensPerMinute: number | null;
  concurrency: number | null;
};

/** `*` or a list of public names, `provider/model` ids and patterns with `*`. */
export type ModelAllowance = '*' | readonly string[];

export type Tier = TierOptions & {
  id: string;
  /** Decimal string in USD per month, or `custom`. */
  priceUsd: string;
  limits: MoneyLimits;
  /** Days that conversations are kept; null is unlimited. */
  historyDays: number | null;
  models: ModelAllowance;
};

/** Who asks. An immutable snapshot; a change of key or tier makes a new one. */
export type Principal = {
  accountId: string;
  keyId: string;
  tier: Tier;
  keyLimits: MoneyLimits;
  keyModels: ModelAllowance;
  /** Refuses what would be dropped, whatever the request says. */
  isStrict?: boolean;
  /** Sealed keys of providers that the account brought itself, by provider. */
  ownCredentials?: Readonly<Record<string, string>>;
  authVersion: { account: number; key: number };
};

/** Either a principal, or proof that the key is bad, or the admission that we cannot know. Spec: reliability 2.4 AUTH. */
export type AuthResult =
  | { kind: 'valid'; principal: Principal }
  | { kind: 'invalid'; reason: AuthFailure }
  | { kind: 'unknown'; cause: unknown };

export type AuthFailure = 'missing' | 'malformed' | 'checksum' | 'unknown' | 'expired' | 'disabled' | 'revoked';

/** Pico-USD (1e-12) per token: USD per million tokens times 1e6, so that list prices are whole numbers. */
export type Price = {
  input: number;
  cachedInput: number;
  cacheWrite: number;
  output: number;
  reasoning: number;
  /** Written for an hour instead of minutes. Absent: as `cacheWrite`. */
  longCacheWrite?: number;
  /** Absent: as `input` and `output`. */
  audioInput?: number;
  audioOutput?: number;
  /** What the whole request costs when its prompt is longer than this. */
  above?: { promptTokens: number; price: Omit<Price, 'above'> };
};

/**
 * What a model can do beyond its parameters, from the catalogue. Absent: nothing is known, and each adapter takes the
 * newest model of its kind for granted. Spec: fidelity 4.3, 5.1, 8.
 */
export type ModelAbilities = {
  /** Not at all; with a budget in tokens; by effort; by a level. */
  thinking?: 'none' | 'budget' | 'adaptive' | 'level';
  /** False: it always thinks. */
  canStopThinking?: boolean;
  /** It thinks unless told not to. */
  thinksByDefault?: boolean;
  /** The values of `reasoning_effort` that it knows by their own names. */
  efforts?: readonly string[];
  /** `temperature` and `top_p` together; only one of them; neither. */
  sampling?: 'both' | 'one' | 'none';
  topK?: boolean;
  jsonSchema?: boolean;
  strictTools?: boolean;
  forcedTool?: 'accepted' | 'unless-thinking' | 'never';
  /** Takes system messages in the middle of the conversation. */
  inlineSystem?: boolean;
  /** Goes on from a last message of the assistant. */
  prefill?: boolean;
  /** What of an earlier answer's reasoning is sent back. */
  reasoningHistory?: 'strip' | 'content' | 'blocks' | 'details';
  /** Its text begins with `<think>`, to be told apart from the answer. */
  parseThink?: boolean;
};

/** One entry of the catalogue; `id` is `provider/upstream model`. */
export type ModelSpec = {
  id: string;
  providerId: string;
  upstreamModel: string;
  name: string;
  contextTokens: number;
  maxOutputTokens: number;
  inputModalities: readonly string[];
  outputModalities: readonly string[];
  supportedParameters: readonly string[];
  price: Price | null;
  /** Names `price` for ever: rows keep it. Absent: no price. */
  priceVersion?: string;
  abilities?: ModelAbilities;
  /** Unix seconds. */
  created: number;
};

/** Where one attempt goes. `model` is null for an upstream model that the catalogue does not know. */
export type Target = {
  providerId: string;
  upstreamModel: string;
  model: ModelSpec | null;
};

/** What a public name stands for: ordered targets, tried until one answers. */
export type Route = {
  /** As the caller wrote it. */
  publicModel: string;
  targets: readonly [Target, ...Target[]];
};

/** Canonical token counts: prompt holds all input including cache, completion all output including reasoning. Spec: fidelity 11. */
export type Usage = {
  promptTokens: number;
  cachedTokens: number;
  cacheWriteTokens: number;
  completionTokens: number;
  reasoningTokens: number;
  /** Of `cacheWriteTokens`, those written for an hour. Absent: none. */
  longCacheWriteTokens?: number;
  /** Of `promptTokens` and `completionTokens`, those that are audio. Absent: none. */
  audioPromptTokens?: number;
  audioCompletionTokens?: number;
};

export type UsageSource = 'provider' | 'estimated';

/** Void 0 < orphan 1 < partial 2 < final 3: a later record only ever improves the one row. Spec: reliability, words. */
export const usageRank = { void: 0, orphan: 1, partial: 2, final: 3 } as const;
export type UsageRank = (typeof usageRank)[keyof typeof usageRank];

export type UsageStatus =
  | 'ok'
  | 'client_abort'
  | 'upstream_error'
  | 'unknown'
  | 'orphaned'
  | 'not_dispatched'
  | 'client_stall'
  | 'total_timeout'
  | 'drained'
  | 'revoked'
  | 'capped'
  | 'lease_lost';

export type Attempt = {
  provider: string;
  model: string;
  /** HTTP status, or 0 when none came. */
  status: number;
  errorCode: string | null;
  durationMs: number;
};

/** One admitted request, one row. Ids are UUIDs; `requestId` is a version 7 whose milliseconds are `startedAtMs`. */
export type UsageRecord = {
  requestId: string;
  startedAtMs: number;
  rank: UsageRank;
  accountId: string;
  keyId: string;
  tier: string;
  endpoint: string;
  model: string;
  provider: string | null;
  upstreamModel: string | null;
  stream: boolean;
  status: UsageStatus;
  httpStatus: number;
  errorCode: string | null;
  usageSource: UsageSource;
  usage: Usage;
  costPicoUsd: number;
  /** Of the price that the cost was worked out with. Absent or null: there was none. */
  priceVersion?: string | null;
  ttftMs: number | null;
  durationMs: number;
  attempts: readonly Attempt[];
};
