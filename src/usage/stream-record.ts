/**
 * One entry of the usage stream, read back into the record that it was. Takes the entry's text, gives the record or the
 * reason why there is none. What an upstream may have counted wrong is mended, what money and identity hang on is not:
 * a row that is wrong about who pays, or how much, is worse than a dead letter. It must never throw.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../contract/json.ts';
import type { Attempt, Usage, UsageRank, UsageRecord, UsageSource, UsageStatus } from '../contract/flow.ts';
import { uuidV7Milliseconds } from '../platform/uuid.ts';

export type ParsedRecord = { record: UsageRecord } | { reason: string };

const longestRecordText = 262_144;
const longestText = 512;
const mostAttempts = 64;
/** The last millisecond of the year 9999: later ones have no form that Postgres reads. */
const latestMs = 253_402_300_799_999;
/** One more than the ledger's column can hold. */
const costBoundPicoUsd = 1e20;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const uuidV7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;

export function parseUsageRecord(text: string | null, labelledId: string | null): ParsedRecord {
  if (text === null) return { reason: 'the entry has no record' };
  if (text.length > longestRecordText) return { reason: `the record has ${text.length} characters` };
  const value = parseJson(text);
  if (!isJsonObject(value)) return { reason: 'the record is not a JSON object' };
  const wrong = findWrongField(value, labelledId);
  return wrong === null ? { record: recordOf(value) } : { reason: `the record has a wrong ${wrong}` };
}

function parseJson(text: string): JsonValue | undefined {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    // Said by the caller, in the same words as for any other value that is no object.
    return undefined;
  }
}

/**
 * Status and usage source are left to the database: during a rolling update a newer version writes words that this one
 * does not know.
 */
function findWrongField(value: JsonObject, labelledId: string | null): string | null {
  const { requestId, rank, costPicoUsd } = value;
  if (!isTextLike(requestId, uuidV7) || uuidV7Milliseconds(requestId) > latestMs) return 'requestId';
  if (labelledId !== null && labelledId.toLowerCase() !== requestId.toLowerCase()) return 'id beside it';
  if (!isTextLike(value['accountId'], uuid)) return 'accountId';
  if (!isTextLike(value['keyId'], uuid)) return 'keyId';
  if (rank !== 0 && rank !== 1 && rank !== 2 && rank !== 3) return 'rank';
  if (typeof costPicoUsd !== 'number' || !(costPicoUsd >= 0 && costPicoUsd < costBoundPicoUsd)) return 'costPicoUsd';
  if (!isJsonObject(value['usage'])) return 'usage';
  return requiredTexts.find((name) => typeof value[name] !== 'string') ?? null;
}

const requiredTexts = ['tier', 'endpoint', 'model', 'status', 'usageSource'] as const;

function isTextLike(value: JsonValue | undefined, pattern: RegExp): value is string {
  return typeof value === 'string' && pattern.test(value);
}

/** Only after `findWrongField` has passed the same object. */
function recordOf(value: JsonObject): UsageRecord {
  const requestId = textOf(value['requestId']).toLowerCase();
  const usage = isJsonObject(value['usage']) ? value['usage'] : {};
  return {
    requestId,
    // Never the record's own word: two records of one request that disagreed would become two rows.
    startedAtMs: uuidV7Milliseconds(requestId),
    rank: value['rank'] as UsageRank,
    accountId: textOf(value['accountId']),
    keyId: textOf(value['keyId']),
    tier: textOf(value['tier']),
    endpoint: textOf(value['endpoint']),
    model: textOf(value['model']),
    provider: optionalTextOf(value['provider']),
    upstreamModel: optionalTextOf(value['upstreamModel']),
    stream: value['stream'] === true,
    status: textOf(value['status']) as UsageStatus,
    httpStatus: countOf(value['httpStatus']),
    errorCode: optionalTextOf(value['errorCode']),
    usageSource: textOf(value['usageSource']) as UsageSource,
    usage: {
      promptTokens: countOf(usage['promptTokens']),
      cachedTokens: countOf(usage['cachedTokens']),
      cacheWriteTokens: countOf(usage['cacheWriteTokens']),
      completionTokens: countOf(usage['completionTokens']),
      reasoningTokens: countOf(usage['reasoningTokens']),
      ...rareCounts(usage),
    },
    costPicoUsd: Number(value['costPicoUsd']),
    ...(typeof value['priceVersion'] === 'string' ? { priceVersion: storable(value['priceVersion']) } : {}),
    ttftMs: typeof value['ttftMs'] === 'number' ? countOf(value['ttftMs']) : null,
    durationMs: countOf(value['durationMs']),
    attempts: attemptsOf(value['attempts']),
  };
}

/** Of the kinds of token that few requests have. */
function rareCounts(usage: JsonObject): Partial<Usage> {
  const counts: Partial<Record<keyof Usage, number>> = {};
  for (const name of ['longCacheWriteTokens', 'audioPromptTokens', 'audioCompletionTokens'] as const)
    if (usage[name] !== undefined) counts[name] = countOf(usage[name]);
  return counts;
}

function attemptsOf(value: JsonValue | undefined): readonly Attempt[] {
  if (!Array.isArray(value)) return [];
  return value
    .slice(0, mostAttempts)
    .filter(isJsonObject)
    .map((attempt) => ({
      provider: textOf(attempt['provider']),
      model: textOf(attempt['model']),
      status: countOf(attempt['status']),
      errorCode: optionalTextOf(attempt['errorCode']),
      durationMs: countOf(attempt['durationMs']),
    }));
}

/** NaN and the infinities are null in JSON. A nonsensical count must not keep the row out of the ledger. */
function countOf(value: JsonValue | undefined): number {
  if (typeof value !== 'number') return 0;
  return Math.min(Math.max(Math.round(value) || 0, 0), 0x7fff_ffff);
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === 'string' ? storable(value) : '';
}

function optionalTextOf(value: JsonValue | undefined): string | null {
  return typeof value === 'string' ? storable(value) : null;
}

/** Postgres takes neither NUL nor half a surrogate pair, and an index takes no text of a page. The cut may split a pair. */
function storable(text: string): string {
  if (text.length <= longestText && isPlain.test(text)) return text;
  return text.slice(0, longestText).replaceAll('\0', '\uFFFD').toWellFormed();
}

const isPlain = /^[\x20-\x7e]*$/;
