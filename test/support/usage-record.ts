/** A complete record to vary in tests. */
import { type UsageRecord, usageRank } from '../../src/contract/flow.ts';
import { createUuidV7 } from '../../src/platform/uuid.ts';

export function usageRecord(changes: Partial<UsageRecord> = {}): UsageRecord {
  const startedAtMs = changes.startedAtMs ?? 1_700_000_000_123;
  return {
    requestId: createUuidV7(startedAtMs),
    startedAtMs,
    rank: usageRank.final,
    accountId: '018bcfe5-6800-7000-8000-00000000000a',
    keyId: '018bcfe5-6800-7000-8000-00000000000b',
    tier: 'pro',
    endpoint: 'chat',
    model: 'large',
    provider: 'acme',
    upstreamModel: 'acme-large-1',
    stream: true,
    status: 'ok',
    httpStatus: 200,
    errorCode: null,
    usageSource: 'provider',
    usage: { promptTokens: 100, cachedTokens: 40, cacheWriteTokens: 5, completionTokens: 20, reasoningTokens: 7 },
    costPicoUsd: 1_234_567_890_123,
    ttftMs: 180,
    durationMs: 2_100,
    attempts: [{ provider: 'acme', model: 'acme-large-1', status: 200, errorCode: null, durationMs: 2_090 }],
    ...changes,
  };
}
