import * as fc from 'fast-check';
import t, { type Test } from 'tap';
import { parseUsageRecord } from '../../src/usage/stream-record.ts';
import { usageRecord } from '../support/usage-record.ts';

function parseValid(t: Test, text: string) {
  const parsed = parseUsageRecord(text, null);
  if ('record' in parsed) return parsed.record;
  t.fail(parsed.reason);
  return usageRecord();
}

t.test('gives the record back as it went in', (t) => {
  for (const record of [
    usageRecord(),
    usageRecord({ provider: null, upstreamModel: null, ttftMs: null, errorCode: 'x', attempts: [], rank: 0 }),
  ]) {
    t.strictSame(parseValid(t, JSON.stringify(record)), record);
    t.match(parseUsageRecord(JSON.stringify(record), record.requestId.toUpperCase()), { record: {} });
  }
  t.end();
});

t.test('says what is wrong when money or identity hang on it', (t) => {
  const record = usageRecord();
  const wrong: [string, unknown][] = [
    ['the record is not a JSON object', '[1]'],
    ['the record is not a JSON object', '{"half'],
    ['the record is not a JSON object', 'null'],
    ['the record has a wrong requestId', { ...record, requestId: 'no uuid' }],
    ['the record has a wrong requestId', { ...record, requestId: '018bcfe5-687b-4000-8000-00000000000a' }],
    ['the record has a wrong requestId', { ...record, requestId: 'ffffffff-ffff-7000-8000-00000000000a' }],
    ['the record has a wrong requestId', { ...record, requestId: `${record.requestId}\0` }],
    ['the record has a wrong accountId', { ...record, accountId: '' }],
    ['the record has a wrong keyId', { ...record, keyId: 7 }],
    ['the record has a wrong rank', { ...record, rank: 4 }],
    ['the record has a wrong costPicoUsd', { ...record, costPicoUsd: -1 }],
    ['the record has a wrong costPicoUsd', { ...record, costPicoUsd: Number.NaN }],
    ['the record has a wrong costPicoUsd', JSON.stringify(record).replace('1234567890123', '1e400')],
    ['the record has a wrong costPicoUsd', { ...record, costPicoUsd: 1e20 }],
    ['the record has a wrong usage', { ...record, usage: null }],
    ['the record has a wrong tier', { ...record, tier: null }],
    ['the record has a wrong status', { ...record, status: 200 }],
    ['the record has 300000 characters', 'x'.repeat(300_000)],
  ];
  for (const [reason, value] of wrong) {
    t.same(parseUsageRecord(typeof value === 'string' ? value : JSON.stringify(value), null), { reason });
  }
  t.same(parseUsageRecord(null, record.requestId), { reason: 'the entry has no record' });
  t.same(parseUsageRecord(JSON.stringify(record), usageRecord().requestId), {
    reason: 'the record has a wrong id beside it',
  });
  t.end();
});

t.test('mends what an upstream counted wrong', (t) => {
  const text = JSON.stringify(usageRecord())
    .replace('"promptTokens":100', '"promptTokens":1e400')
    .replace('"cachedTokens":40', '"cachedTokens":-3')
    .replace('"completionTokens":20', '"completionTokens":null')
    .replace('"durationMs":2100', '"durationMs":2.6')
    .replace('"attempts":[', '"attempts":[5,{},');
  const record = parseValid(t, text);
  t.match(record, {
    usage: { promptTokens: 0x7fff_ffff, cachedTokens: 0, completionTokens: 0, reasoningTokens: 7 },
    durationMs: 3,
  });
  t.same(record.attempts[0], { provider: '', model: '', status: 0, errorCode: null, durationMs: 0 });
  t.equal(record.attempts.length, 2);
  t.end();
});

t.test('takes the moment from the id when the record says another', (t) => {
  const record = usageRecord();
  t.equal(parseValid(t, JSON.stringify({ ...record, startedAtMs: 5 })).startedAtMs, record.startedAtMs);
  const upperCase = { ...record, requestId: record.requestId.toUpperCase() };
  t.equal(parseValid(t, JSON.stringify(upperCase)).requestId, record.requestId);
  t.end();
});

t.test('makes text storable when it is not', (t) => {
  const record = parseValid(
    t,
    JSON.stringify(
      usageRecord({
        model: 'a\0b\ud800',
        upstreamModel: '\u{1F600}'.repeat(5_000),
        errorCode: `x${'\u{1F600}'.repeat(300)}`,
      }),
    ),
  );
  t.equal(record.model, 'a\uFFFDb\uFFFD');
  t.equal(record.upstreamModel?.length, 512);
  t.ok(record.errorCode?.isWellFormed(), 'also where the cut went through a pair');
  t.end();
});

t.test('never throws, whatever stands in an entry', (t) => {
  const field = fc.constantFrom(...Object.keys(usageRecord()));
  fc.assert(
    fc.property(field, fc.jsonValue(), (name, value) => {
      const parsed = parseUsageRecord(JSON.stringify({ ...usageRecord(), [name]: value }), null);
      return 'record' in parsed || parsed.reason.startsWith('the record has a wrong ');
    }),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => 'reason' in parseUsageRecord(text, null)),
    { numRuns: 100 },
  );
  t.end();
});
