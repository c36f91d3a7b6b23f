import t from 'tap';
import { errorCatalogue, gatewayError, type ErrorName } from '../../src/contract/errors.ts';
import type { AttemptResult } from '../../src/gateway/attempt.ts';
import type { Ending } from '../../src/gateway/flow.ts';
import { isWorthAnotherTarget, withRetryAdvice } from '../../src/gateway/retry.ts';

const failure = (kind: ErrorName, changes: Partial<AttemptResult> = {}): AttemptResult => ({
  error: gatewayError(kind, { message: 'no' }),
  ending: 'upstream_failed',
  hasStarted: false,
  upstreamStatus: 500,
  isDispatched: true,
  usage: null,
  outputTokens: 0,
  firstByteAtMs: null,
  isLeaseLost: false,
  ...changes,
});

t.test('tries the next target for what may be better there', (t) => {
  for (const kind of [
    'upstreamRateLimited',
    'upstreamServerError',
    'upstreamOverloaded',
    'upstreamUnreachable',
    'upstreamTimeout',
    'upstreamAuthentication',
    'upstreamBadReply',
    'upstreamTruncated',
    'modelNotFound',
  ] as const) {
    t.ok(isWorthAnotherTarget(failure(kind)), kind);
  }
  t.end();
});

t.test('tries no other target for what is wrong with the request itself', (t) => {
  for (const kind of [
    'invalidRequest',
    'upstreamRejected',
    'unsupportedParameter',
    'invalidValue',
    'contextLengthExceeded',
    'contentFilter',
    'unprocessable',
    'internal',
  ] as const) {
    t.notOk(isWorthAnotherTarget(failure(kind)), kind);
  }
  t.end();
});

t.test('tries no other target once the caller has seen a byte, has gone, or has run out of time', (t) => {
  t.notOk(isWorthAnotherTarget(failure('upstreamServerError', { hasStarted: true })));
  t.notOk(isWorthAnotherTarget(failure('upstreamServerError', { error: null })));
  const endings: Ending[] = [
    'client_abort',
    'client_stall',
    'total_timeout',
    'drained',
    'revoked',
    'capped',
    'lease_lost',
    'complete',
    'refused',
  ];
  for (const ending of endings) t.notOk(isWorthAnotherTarget(failure('upstreamTimeout', { ending })), ending);
  t.ok(isWorthAnotherTarget(failure('upstreamTimeout', { ending: 'upstream_timeout' })));
  t.end();
});

const nowMs = Date.parse('2030-01-01T00:00:00.000Z');
const advice = (kind: ErrorName, headers: Record<string, string>): Readonly<Record<string, string>> =>
  withRetryAdvice(gatewayError(kind, { message: 'no' }), headers, { nowMs }).headers;
const hopeless = { 'x-should-retry': 'false' };
const busyKinds = ['upstreamRateLimited', 'upstreamOverloaded', 'upstreamServerError'] as const;

t.test('hands a known wait on when an SDK would obey it', (t) => {
  for (const kind of busyKinds) {
    t.same(advice(kind, { 'retry-after': '30' }), { 'retry-after': '30', 'retry-after-ms': '30000' }, kind);
    t.same(advice(kind, { 'retry-after-ms': '1500' }), { 'retry-after': '2', 'retry-after-ms': '1500' }, kind);
    t.same(advice(kind, { 'retry-after': '60' }), { 'retry-after': '60', 'retry-after-ms': '60000' }, kind);
  }
  t.same(
    advice('upstreamRateLimited', { 'retry-after': '9', 'retry-after-ms': '700' }),
    { 'retry-after': '1', 'retry-after-ms': '700' },
    'the exact one wins',
  );
  t.same(advice('upstreamRateLimited', { 'retry-after': '0.5' }), { 'retry-after': '1', 'retry-after-ms': '500' });
  t.end();
});

t.test('reads a wait that is given as a date', (t) => {
  const headers = (date: string) => advice('upstreamRateLimited', { 'retry-after': date });
  t.same(headers('Tue, 01 Jan 2030 00:00:20 GMT'), { 'retry-after': '20', 'retry-after-ms': '20000' });
  t.same(headers('Mon, 31 Dec 2029 23:00:00 GMT'), { 'retry-after': '1', 'retry-after-ms': '1' }, 'already over');
  t.same(headers('Tue, 01 Jan 2030 02:00:00 GMT'), hopeless);
  t.end();
});

t.test('c84 tells the SDKs to leave it when the wait is unknown or too long', (t) => {
  for (const headers of [
    {},
    { 'retry-after': '61' },
    { 'retry-after': '-1' },
    { 'retry-after': '' },
    { 'retry-after': 'soon' },
    { 'retry-after': '0x10' },
    { 'retry-after-ms': '60001' },
    { 'retry-after-ms': 'NaN' },
    { 'retry-after-ms': '' },
  ]) {
    for (const kind of busyKinds) t.same(advice(kind, headers), hopeless, `${kind} ${JSON.stringify(headers)}`);
  }
  t.end();
});

t.test("c83 never hands the provider's own advice on", (t) => {
  t.same(advice('upstreamRateLimited', { 'x-should-retry': 'true' }), hopeless);
  t.same(advice('upstreamRateLimited', { 'x-should-retry': 'false', 'retry-after': '1' }), {
    'retry-after': '1',
    'retry-after-ms': '1000',
  });
  t.end();
});

t.test('says that a failure which cannot heal is not worth a retry', (t) => {
  for (const kind of ['upstreamAuthentication', 'upstreamBadReply'] as const) {
    t.same(advice(kind, { 'retry-after': '1' }), hopeless, kind);
  }
  t.end();
});

t.test('says nothing on a 4xx of the caller, and leaves the rest of the error as it was', (t) => {
  for (const [kind, { status }] of Object.entries(errorCatalogue) as [ErrorName, { status: number }][]) {
    if (status < 500 && kind !== 'upstreamRateLimited') t.same(advice(kind, { 'retry-after': '1' }), {}, kind);
  }
  const error = gatewayError('upstreamRateLimited', {
    message: 'slow down',
    code: 'tokens_per_day',
    headers: { 'retry-after': '7' },
    extra: { hint: 1 },
  });
  const advised = withRetryAdvice(error, { 'retry-after': '30' });
  t.same(advised.toBody(), error.toBody());
  t.equal(advised.headers['retry-after'], '7', "the adapter's own reading wins");
  const inBody = withRetryAdvice(error, {});
  t.same(inBody.headers, { 'retry-after': '7', 'retry-after-ms': '7000' }, 'a wait that only the adapter saw is known');
  t.end();
});
