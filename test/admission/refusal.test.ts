import t from 'tap';
import { refusalError, type Refusal } from '../../src/admission/refusal.ts';

const rejected: Refusal = {
  outcome: 'rejected',
  rule: 'requests',
  scope: 'account:a',
  limit: 10,
  used: 10,
  requested: 1,
  waitMs: 1798,
  buckets: [{ rule: 'requests', scope: 'account:a', limit: 10, remaining: 0, windowMs: 60_000 }],
};

t.test('names the limit, the use, the request and the wait when requests are limited', (t) => {
  const error = refusalError(rejected);
  t.match(error, { status: 429, type: 'requests', code: 'rate_limit_exceeded', param: null });
  t.match(error.message, /requests per min .*account: Limit 10, Used 10, Requested 1\. Please try again in 1\.798s\.$/);
  t.same(error.headers, {
    'x-ratelimit-limit-requests': '10',
    'x-ratelimit-remaining-requests': '0',
    'x-ratelimit-reset-requests': '1m0s',
    'retry-after': '2',
    'retry-after-ms': '1798',
  });
  t.end();
});

t.test('has the type of its kind when tokens or running requests are limited', (t) => {
  const tokens = refusalError({ ...rejected, rule: 'tokens', scope: 'key:k' });
  t.match(tokens, { status: 429, type: 'tokens', code: 'rate_limit_exceeded' });
  t.match(tokens.message, /tokens per min .*API key/);
  const running = refusalError({ ...rejected, rule: 'concurrency', limit: 2, used: 2, waitMs: 1000 });
  t.match(running, { status: 429, type: 'requests', code: 'rate_limit_exceeded' });
  t.match(running.message, /running at the same time: Limit 2, Used 2, Requested 1\. Please try again in 1s\.$/);
  t.end();
});

t.test('asks the SDK not to retry when the wait is over a minute or does not help', (t) => {
  t.equal(refusalError({ ...rejected, waitMs: 60_000 }).headers['x-should-retry'], undefined);
  const long = refusalError({ ...rejected, waitMs: 60_001 });
  t.match(long.headers, { 'x-should-retry': 'false', 'retry-after': '61' });
  const never = refusalError({ ...rejected, waitMs: null });
  t.equal(never.headers['x-should-retry'], 'false');
  t.equal(never.headers['retry-after'], undefined);
  t.notMatch(never.message, /try again/);
  t.end();
});

t.test('is a 400 without a retry when the request can never fit', (t) => {
  const error = refusalError({ outcome: 'never', rule: 'tokens', scope: 'key:k', limit: 100, requested: 101 });
  t.match(error, { status: 400, code: 'request_exceeds_limit', headers: {} });
  t.match(error.message, /Limit 100, Requested 101/);
  t.end();
});

t.test('is a 503 with a retry after a second when the limits cannot be checked', (t) => {
  const reasons = ['limits_unavailable', 'store_full', 'journal_full'] as const;
  for (const reason of reasons) {
    const error = refusalError({ outcome: 'unavailable', reason });
    t.match(error, { status: 503, type: 'server_error', code: reason, headers: { 'retry-after': '1' } });
    t.equal(error.headers['x-should-retry'], undefined);
  }
  t.match(refusalError({ outcome: 'finished' }), { status: 503, code: 'limits_unavailable' });
  t.end();
});
