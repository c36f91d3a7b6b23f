/** The row of a request whose process died: an estimate when it had gone upstream, nothing to pay when it had not. */
import type { AdmitRequest } from '../contract/admission.ts';
import { usageRank, type UsageRecord } from '../contract/flow.ts';

export type Abandoned = Pick<AdmitRequest, 'record' | 'outputPicoUsd'>;

/** `progressTokens` counts input and delivered output together; what exceeds the input estimate is output. */
export function orphanRecord(abandoned: Abandoned, progressTokens: number): UsageRecord {
  const { record } = abandoned;
  const delivered = Math.max(record.usage.completionTokens, progressTokens - record.usage.promptTokens);
  const further = delivered - record.usage.completionTokens;
  return {
    ...record,
    rank: usageRank.orphan,
    status: 'orphaned',
    usageSource: 'estimated',
    usage: { ...record.usage, completionTokens: delivered },
    costPicoUsd: record.costPicoUsd + further * (abandoned.outputPicoUsd ?? 0),
  };
}

export function notDispatchedRecord(record: UsageRecord): UsageRecord {
  return {
    ...record,
    rank: usageRank.void,
    status: 'not_dispatched',
    usageSource: 'estimated',
    usage: { promptTokens: 0, cachedTokens: 0, cacheWriteTokens: 0, completionTokens: 0, reasoningTokens: 0 },
    costPicoUsd: 0,
  };
}

/** What an orphan owes the token buckets. */
export const orphanTokens = (record: UsageRecord, progressTokens: number): number =>
  Math.max(progressTokens, record.usage.promptTokens + record.usage.completionTokens);
